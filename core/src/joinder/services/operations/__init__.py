"""What an operator does to the installation: backup, restore and what follows, doctor, configuration.

The topmost room. Begin at `doctor`.
"""
