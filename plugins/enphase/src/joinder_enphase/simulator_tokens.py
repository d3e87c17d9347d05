"""The simulated Enphase token endpoint: codes, opaque tokens, and what a refresh does to the token it used.

Lifetimes are the documented day and the month decoded from a real token. Whether the vendor keeps, kills or graces
an old refresh token is not documented, so all three can be dialled.
"""

from __future__ import annotations

import secrets
import string
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from msgspec import Struct

from joinder.simulate.clock import SimulatedClock

ACCESS_LIFE_S = 86_399
REFRESH_LIFE_S = 2_629_746
CODE_LIFE_S = 300  # not documented; ours
_CODE_LETTERS = string.ascii_letters + string.digits


class Rotation(Struct, frozen=True, forbid_unknown_fields=True):
    """keep: old refresh tokens live on. kill: using one twice revokes its family. grace: kill, after a while."""

    mode: Literal["keep", "kill", "grace"] = "kill"
    grace_seconds: float = 0.0


class TokenRefused(Exception):
    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


@dataclass(frozen=True)
class App:
    client_id: str
    client_secret: str
    api_key: str


@dataclass
class Family:
    """Every token that came from one consent."""

    app: App
    account: str
    alive: bool = True


@dataclass
class RefreshToken:
    family: Family
    expires: float
    used_at: float | None = None


class Tokens:
    def __init__(
        self,
        clock: SimulatedClock,
        apps: Iterable[App],
        installers: Mapping[str, tuple[str, str]],
        rotation: Rotation,
    ) -> None:
        self.rotation = rotation
        self._clock = clock
        self._apps = {app.client_id: app for app in apps}
        self._installers = installers
        self._codes: dict[str, tuple[str, str, str, float]] = {}
        self._access: dict[str, tuple[Family, float]] = {}
        self._refresh: dict[str, RefreshToken] = {}
        self._counts: Counter[str] = Counter()

    def counts(self) -> dict[str, int]:
        return {name: self._counts[name] for name in ("token_calls", "refreshes", "reuse_seen", "families_revoked")}

    def new_code(self, client_id: str, account: str, redirect_uri: str) -> str:
        code = "".join(secrets.choice(_CODE_LETTERS) for _ in range(6))
        self._codes[code] = (client_id, account, redirect_uri, self._clock.time() + CODE_LIFE_S)
        return code

    def holder(self, access_token: str) -> tuple[App, str] | None:
        """App and account of a living access token."""
        family, expires = self._access.get(access_token, (None, 0.0))
        if family is None or not family.alive or expires < self._clock.time():
            return None
        return family.app, family.account

    def grant(self, client: tuple[str, str], parameters: Mapping[str, str]) -> dict[str, Any]:
        """The token answer; raises TokenRefused."""
        self._counts["token_calls"] += 1
        app = self._apps.get(client[0])
        if app is None or app.client_secret != client[1]:
            raise TokenRefused(401, "unauthorized")
        kind = parameters.get("grant_type")
        if kind == "authorization_code":
            return self._issue(self._by_code(app, parameters))
        if kind == "password":
            return self._issue(self._by_password(app, parameters))
        if kind == "refresh_token":
            return self._issue(self._by_refresh(app, parameters.get("refresh_token", "")))
        raise TokenRefused(400, "unsupported_grant_type")

    def _by_code(self, app: App, parameters: Mapping[str, str]) -> Family:
        client_id, account, redirect_uri, expires = self._codes.pop(parameters.get("code", ""), ("", "", "", 0.0))
        bound = (client_id, redirect_uri) == (app.client_id, parameters.get("redirect_uri", ""))
        if not bound or expires < self._clock.time():
            raise TokenRefused(400, "invalid_grant")
        return Family(app, account)

    def _by_password(self, app: App, parameters: Mapping[str, str]) -> Family:
        login = (parameters.get("username", ""), parameters.get("password", ""))
        if app.client_id not in self._installers:
            raise TokenRefused(401, "unauthorized_client")
        if self._installers[app.client_id] != login:
            raise TokenRefused(400, "invalid_grant")
        return Family(app, login[0])

    def _by_refresh(self, app: App, refresh_token: str) -> Family:
        held, now = self._refresh.get(refresh_token), self._clock.time()
        if held is None or not held.family.alive or held.family.app != app:
            raise TokenRefused(400, "invalid_grant")
        if held.expires < now:
            raise TokenRefused(401, "invalid_token")
        if held.used_at is not None:
            self._reused(held.family, now - held.used_at)
        if held.family.account == "revokes-later":
            held.family.alive = False
            raise TokenRefused(400, "invalid_grant")
        held.used_at = now if held.used_at is None else held.used_at
        self._counts["refreshes"] += 1
        return held.family

    def _reused(self, family: Family, seconds_ago: float) -> None:
        self._counts["reuse_seen"] += 1
        graced = self.rotation.mode == "grace" and seconds_ago <= self.rotation.grace_seconds
        if self.rotation.mode == "keep" or graced:
            return
        family.alive = False
        self._counts["families_revoked"] += 1
        raise TokenRefused(400, "invalid_grant")

    def _issue(self, family: Family) -> dict[str, Any]:
        now = self._clock.time()
        access_token, refresh_token = secrets.token_urlsafe(48), secrets.token_urlsafe(48)
        self._access[access_token] = (family, now + ACCESS_LIFE_S)
        self._refresh[refresh_token] = RefreshToken(family, now + REFRESH_LIFE_S)
        return {
            "access_token": access_token,
            "token_type": "bearer",
            "refresh_token": refresh_token,
            "expires_in": ACCESS_LIFE_S,
            "scope": "read write",
            "enl_uid": f"sim-{family.account}",
            "enl_cid": "",
            "enl_password_last_changed": "1700000000",
            "is_internal_app": False,
            "app_type": "system",
            "app_Id": family.app.client_id,
            "jti": secrets.token_hex(16),
        }
