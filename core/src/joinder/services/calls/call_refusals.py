"""Calls refused here, before they are made."""

from __future__ import annotations

from joinder.errors import RateLimited


class BudgetSpent(RateLimited):
    """Refused here, before the call: it tells nothing about the vendor or the enrollment."""


class ShareSpent(BudgetSpent):
    """There is budget left, and it is for other readers."""
