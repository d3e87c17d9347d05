"""What simulated OAuth vendors share: the consent page with scenario owners, codes, tokens, and what a refresh does
to the token it used. Lifetimes, error answers and token shapes are each vendor's own.
"""

from __future__ import annotations

import base64
import binascii
import html
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode

from litestar import Response
from msgspec import Struct

from joinder.simulate.clock import SimulatedClock

_HEAD = (
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
    "<style>body { font: 1.0625rem/1.5 system-ui, sans-serif; margin: 1.5rem 1rem; overflow-wrap: anywhere }"
    " button { display: block; font: inherit; min-height: 3rem; padding: 0 1.25rem; margin: 0.75rem 0 }</style>"
)


class Rotation(Struct, frozen=True, forbid_unknown_fields=True):
    """keep: old refresh tokens live on. kill: using one twice revokes its family. grace: kill, after a while."""

    mode: Literal["keep", "kill", "grace"] = "kill"
    grace_seconds: float = 0.0


class TokenRefused(Exception):
    """`error` is the code of RFC 6749 §5.2, or the vendor's own word."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


@dataclass(eq=False)
class Family:
    """Every token that came from one consent. `about` holds what the vendor bound to it, such as a site."""

    client_id: str
    owner: str
    about: Mapping[str, str] = field(default_factory=dict)
    alive: bool = True


@dataclass(frozen=True)
class Issued:
    family: Family
    access_token: str
    refresh_token: str


@dataclass
class _Refresh:
    family: Family
    expires: float
    used_at: float | None = None


@dataclass
class _Code:
    client_id: str
    owner: str
    redirect_uri: str
    about: Mapping[str, str]
    expires: float


def random_token(kind: str) -> str:
    """Makes a token; `kind` is "code", "access" or "refresh"; vendors that shape their tokens bring their own."""
    return secrets.token_urlsafe(8 if kind == "code" else 48)


class TokenService:
    """One vendor's codes and tokens, in memory.

    `clients` is client id → secret. The owner `revokes-later` loses the consent at the first refresh. `refused` maps
    what is wrong (client, code, refresh_token, expired) to the vendor's status and error code. `access_token` makes
    those that say whose they are.
    """

    def __init__(
        self,
        clock: SimulatedClock,
        clients: Mapping[str, str],
        *,
        access_life_s: float,
        refresh_life_s: float,
        code_life_s: float = 300.0,
        rotation: Rotation | None = None,
        new_token: Callable[[str], str] = random_token,
        access_token: Callable[[Family], str] | None = None,
        refused: Mapping[str, tuple[int, str]] | None = None,
    ) -> None:
        self.clock = clock
        self.rotation = rotation or Rotation()
        self.access_life_s, self.refresh_life_s, self.code_life_s = access_life_s, refresh_life_s, code_life_s
        self._clients = dict(clients)
        self._new_token = new_token
        self._access_token = access_token or (lambda _: new_token("access"))
        self._refused = {
            "client": (401, "invalid_client"),
            "code": (400, "invalid_grant"),
            "refresh_token": (400, "invalid_grant"),
            "expired": (400, "invalid_grant"),
            **(refused or {}),
        }
        self._codes: dict[str, _Code] = {}
        self._access: dict[str, tuple[Family, float]] = {}
        self._refresh: dict[str, _Refresh] = {}
        self._counts: Counter[str] = Counter()

    def counts(self) -> dict[str, int]:
        return {
            name: self._counts[name]
            for name in ("token_calls", "refreshes", "reuse_seen", "families_revoked", "taken_back")
        }

    def check_client(self, client_id: str, client_secret: str | None) -> None:
        """Checks it, and counts the token call. `client_secret` None: a vendor that asks for the id alone."""
        self._counts["token_calls"] += 1
        known = self._clients.get(client_id)
        if known is None or client_secret not in (known, None):
            raise self.refusal("client")

    def new_code(self, client_id: str, owner: str, redirect_uri: str, about: Mapping[str, str] | None = None) -> str:
        code = self._new_token("code")
        self._codes[code] = _Code(client_id, owner, redirect_uri, about or {}, self.clock.time() + self.code_life_s)
        return code

    def by_code(self, client_id: str, code: str, redirect_uri: str | None) -> Issued:
        """Exchanges a code; `redirect_uri` None: a vendor that does not ask for it again."""
        held = self._codes.pop(code, None)
        if held is None or held.client_id != client_id or held.expires < self.clock.time():
            raise self.refusal("code")
        if redirect_uri is not None and redirect_uri != held.redirect_uri:
            raise self.refusal("code")
        return self.issue(Family(client_id, held.owner, held.about))

    def by_refresh(self, client_id: str, refresh_token: str) -> Issued:
        held, now = self._refresh.get(refresh_token), self.clock.time()
        if held is None or not held.family.alive or held.family.client_id != client_id:
            raise self.refusal("refresh_token")
        if held.expires < now:
            raise self.refusal("expired")
        if held.used_at is not None:
            self._reused(held.family, now - held.used_at)
        if held.family.owner == "revokes-later":
            held.family.alive = False
            raise self.refusal("refresh_token")
        held.used_at = now if held.used_at is None else held.used_at
        self._counts["refreshes"] += 1
        return self.issue(held.family)

    def issue(self, family: Family) -> Issued:
        now = self.clock.time()
        issued = Issued(family, self._access_token(family), self._new_token("refresh"))
        self._access[issued.access_token] = (family, now + self.access_life_s)
        self._refresh[issued.refresh_token] = _Refresh(family, now + self.refresh_life_s)
        return issued

    def holder(self, access_token: str) -> Family | None:
        """Tells whose living access token it is."""
        family, expires = self._access.get(access_token, (None, 0.0))
        return family if family is not None and family.alive and expires >= self.clock.time() else None

    def take_back(self, client_id: str, token: str) -> bool:
        """Revokes the app's grant by either token (RFC 7009). False: no living one of this client."""
        refresh, access = self._refresh.get(token), self._access.get(token)
        family = refresh.family if refresh is not None else access[0] if access is not None else None
        if family is None or not family.alive or family.client_id != client_id:
            return False
        family.alive = False
        self._counts["taken_back"] += 1
        return True

    def revoke(self, owner: str) -> None:
        """Withdraws every consent of the owner."""
        for family, _ in self._access.values():
            if family.owner == owner:
                family.alive = False

    def refusal(self, of: str) -> TokenRefused:
        status, error = self._refused[of]
        return TokenRefused(status, error)

    def _reused(self, family: Family, seconds_ago: float) -> None:
        self._counts["reuse_seen"] += 1
        graced = self.rotation.mode == "grace" and seconds_ago <= self.rotation.grace_seconds
        if self.rotation.mode == "keep" or graced:
            return
        family.alive = False
        self._counts["families_revoked"] += 1
        raise self.refusal("refresh_token")


def basic(header: str) -> tuple[str, str]:
    """Returns client id and secret of an HTTP Basic header; empty when it is none."""
    kind, _, value = header.partition(" ")
    try:
        name, _, secret = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return (name, secret) if kind.lower() == "basic" else ("", "")


def bearer(header: str) -> str:
    kind, _, token = header.partition(" ")
    return token if kind.lower() == "bearer" else ""


def consent_page(title: str, action: str, query: Mapping[str, str], owners: Iterable[str]) -> Response[str]:
    """Asks which scenario owner is consenting; posts `owner` and the whole query back to `action`."""
    hidden = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in query.items()
    )
    buttons = "".join(f'<button name="owner" value="{owner}">{owner}</button>' for owner in owners)
    form = f'<form method="post" action="{action}">{hidden}{buttons}</form>'
    return _page(title, f"<p>{html.escape(title)}</p><h1>Which owner are you?</h1>{form}", 200)


def error_page(text: str) -> Response[str]:
    return _page("Error", f"<h1>{html.escape(text)}</h1>", 400)


def _page(title: str, main: str, status: int) -> Response[str]:
    """Makes a page that is whole on a telephone and by keyboard, as the vendors' own are."""
    head = f"<title>{html.escape(title)}</title>{_HEAD}"
    text = f'<!DOCTYPE html><html lang="en"><head>{head}</head><body><main>{main}</main></body></html>'
    return Response(text, status_code=status, media_type="text/html")


def back_to(redirect_uri: str, **parameters: str) -> Response[Any]:
    """Sends a 302 to the redirect URI with the outcome."""
    separator = "&" if "?" in redirect_uri else "?"
    return Response(None, status_code=302, headers={"location": f"{redirect_uri}{separator}{urlencode(parameters)}"})
