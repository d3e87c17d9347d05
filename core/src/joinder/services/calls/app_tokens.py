"""Tokens of the apps themselves (client credentials): one per app and process, fetched by one caller for all."""

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
from joinder.grants import AppCredentials, AppTokens, MachineToken

ENDS_SOON = timedelta(seconds=60)
UNSTATED_LIFE = timedelta(minutes=5)
APPS_MOST = 10_000


@dataclass
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    token: MachineToken | None = None


class AppTokenCache:
    """In memory only: a machine token is worth one call, and a restart fetches a new one."""

    def __init__(self, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def of(self, vendor: str, app: AppCredentials | None) -> AppTokens:
        """Returns the door a context gets. Corrected credentials are another app: they never see the old token."""
        return _no_app if app is None else _Door(self, vendor, app)

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
        while len(self._entries) > APPS_MOST:
            self._entries.popitem(last=False)

    def _ends_soon(self, token: MachineToken) -> bool:
        return token.expires_at is not None and token.expires_at - self._now() < ENDS_SOON

    def _stated(self, token: MachineToken) -> MachineToken:
        """Gives a token without a stated life a short one."""
        return token if token.expires_at else MachineToken(value=token.value, expires_at=self._now() + UNSTATED_LIFE)


_CACHE: Behind[AppTokenCache] = Behind()


class _Door:
    """One app's; the others' tokens stand behind it."""

    def __init__(self, cache: AppTokenCache, vendor: str, app: AppCredentials) -> None:
        self._vendor, self._app = vendor, app
        _CACHE.put(self, cache)

    async def __call__(self, fetch: Callable[[], Awaitable[MachineToken]], *, refused: str | None = None) -> str:
        return await _CACHE.of(self).get(_fingerprint(self._vendor, self._app), fetch, refused)


async def _no_app(fetch: Callable[[], Awaitable[MachineToken]], *, refused: str | None = None) -> str:
    raise PluginBug("an app token was asked for, but the flow names no app credential")


def _fingerprint(vendor: str, app: AppCredentials) -> bytes:
    return hashlib.sha256(msgspec.json.encode([vendor, app.type, sorted(app.secrets.items())])).digest()
