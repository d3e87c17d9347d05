"""What is kept of accounts, grants, health, events and warnings, and opened for a call. No decisions are made here.

Imports `work` and `calls`. Begin at `held`: an enrollment opened for a vendor call.
"""
