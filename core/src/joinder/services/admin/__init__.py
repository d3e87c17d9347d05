"""What an admin does and sees over all accounts: lists, search, one enrollment whole, pausing, removal, keys.

Imports `events` and below. Begin at `fleet` for the whole, at `detail` for one enrollment.
"""
