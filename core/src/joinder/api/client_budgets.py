"""How much a client may ask of this server, told on every answer by the fields of draft-ietf-httpapi-ratelimit-headers.

Each server counts for itself: what is shared by servers would cost a write to the database for every read.
"""

from __future__ import annotations

import math

from litestar.types import Scope

from joinder.api.problems import TooManyRequests
from joinder.services.calls.buckets import Buckets
from joinder.services.records.accounts import Caller

BROWSERS_SHARE = 10  # a browser key may ask a tenth of what a client may: it is in a page that anybody can read


class Budget:
    """So much a minute for each key, under the name that answers call it."""

    def __init__(self, name: str, per_minute: int) -> None:
        self._name, self._quota = name, per_minute
        self._buckets = Buckets(per_minute)

    def spend(self, key: str) -> dict[str, str]:
        """Takes one, and returns the fields that tell of it. Raises TooManyRequests."""
        balance = self._buckets.spend(key)
        fields = rate_limit(self._name, self._quota, balance.left, balance.full_in_s)
        if balance.wait_s > 0:
            raise TooManyRequests(math.ceil(balance.wait_s), fields)
        return fields


class ClientBudgets:
    """Requests of clients, and of the keys they gave to browsers, which leave the client's own alone."""

    def __init__(self, requests_per_minute: int) -> None:
        self._clients = Budget("requests", requests_per_minute)
        self._browsers = Budget("browser-key", max(1, requests_per_minute // BROWSERS_SHARE))

    def spend(self, caller: Caller) -> dict[str, str]:
        """Raises TooManyRequests."""
        if caller.enrollment_id is None:
            return self._clients.spend(caller.client_id)
        return self._browsers.spend(f"{caller.client_id} {caller.enrollment_id}")


def spend_request(scope: Scope, caller: Caller) -> None:
    """Takes this request from its caller's budget, once, whoever asks first. Raises TooManyRequests."""
    if "limits" not in scope["state"]:
        budgets: ClientBudgets = scope["litestar_app"].state.budgets
        scope["state"]["limits"] = budgets.spend(caller)  # every answer tells them (headers.py)


def rate_limit(name: str, quota: int, left: int, full_in_s: float) -> dict[str, str]:
    """Writes the fields: `t` seconds from now the whole quota is there again."""
    return {
        "ratelimit-policy": f'"{name}";q={quota};w=60',
        "ratelimit": f'"{name}";r={left};t={math.ceil(full_in_s)}',
    }
