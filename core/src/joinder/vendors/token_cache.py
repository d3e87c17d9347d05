"""Tokens of apps (client credentials) and of grants (sessions): one each and process, fetched by one caller for all."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from joinder.behind import Behind
from joinder.clock import utc_now
from joinder.errors import PluginBug
from joinder.grants import AppCredentials, AppTokens, Grant, GrantTokens, MachineToken

ENDS_SOON = timedelta(seconds=60)
UNSTATED_LIFE = timedelta(minutes=5)
KEPT_MOST = 10_000


@dataclass
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    token: MachineToken | None = None


class TokenCache:
    """In memory only: a machine token is worth one call, and a restart fetches a new one."""

    def __init__(self, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def of(self, vendor: str, app: AppCredentials | None) -> AppTokens:
        """Returns the door a context gets. Corrected credentials are another app: they never see the old token."""
        return _no_app if app is None else _Door(self, _digest([vendor, app.type, sorted(app.secrets.items())]))

    def of_grant(self, vendor: str, grant: Grant) -> GrantTokens:
        """Returns the door to a grant's session token. A grant with another key is another one."""
        facts = sorted(grant.facts.items())
        return _Door(self, _digest([vendor, "grant", sorted(grant.secrets.items()), facts]))

    async def get(
        self, fingerprint: bytes, fetch: Callable[[], Awaitable[MachineToken]], refused: str | None = None
    ) -> str:
        entry = self._entries.setdefault(fingerprint, _Entry())
        self._entries.move_to_end(fingerprint)
        self._forget_ended()
        async with entry.lock:
            if entry.token is None or entry.token.value == refused or self._ends_soon(entry.token):
                entry.token = self._stated(await fetch())
            return entry.token.value

    def _forget_ended(self) -> None:
        """Corrected credentials leave an entry behind; one that is asked for again is fetched again."""
        while len(self._entries) > KEPT_MOST:
            self._entries.popitem(last=False)

    def _ends_soon(self, token: MachineToken) -> bool:
        return token.expires_at is not None and token.expires_at - self._now() < ENDS_SOON

    def _stated(self, token: MachineToken) -> MachineToken:
        """Gives a token without a stated life a short one."""
        return token if token.expires_at else MachineToken(value=token.value, expires_at=self._now() + UNSTATED_LIFE)


_CACHE: Behind[TokenCache] = Behind()


class _Door:
    """One app's or grant's; the others' tokens stand behind it."""

    def __init__(self, cache: TokenCache, fingerprint: bytes) -> None:
        self._fingerprint = fingerprint
        _CACHE.put(self, cache)

    async def __call__(self, fetch: Callable[[], Awaitable[MachineToken]], *, refused: str | None = None) -> str:
        return await _CACHE.of(self).get(self._fingerprint, fetch, refused)


async def _no_app(fetch: Callable[[], Awaitable[MachineToken]], *, refused: str | None = None) -> str:
    raise PluginBug("an app token was asked for, but the flow names no app credential")


def _digest(parts: list[object]) -> bytes:
    return hashlib.sha256(msgspec.json.encode(parts)).digest()
