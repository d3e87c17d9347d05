"""Judges what earlier versions stored by the rules of today.

Imports `readings` and below. Begin at `recheck`; `series` and `site` hold the rules, `counts` what was found.
"""
