"""What is due and whose it is: leases over all processes, due times spread out, the shape of a job.

Imports `calls` at most. Begin at `leases`; who looks for due work is `joinder/runtime/due.py`.
"""
