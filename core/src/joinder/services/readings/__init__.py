"""What is read, kept and served of sites: polls, history, intervals, live power, and why something is missing.

Imports `grants` and below. Begin at `poll` for what is fetched by itself, at `intervals` for what a caller gets.
"""
