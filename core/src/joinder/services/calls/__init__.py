"""How a vendor is called: app secrets and context, budgets, breakers, pace, one more try, what went wrong on the way.

Imports no other room. Begin at `guard`, which stands around every hook call, and `budgets`, which counts before it.
"""
