"""The owner's token: a JWT of Enphase's Entrez service, checked here before anything is sent anywhere.

Its signature is not checked: Enphase publishes no key set, and the gateway verifies it anyway. Claims as in tokens
that owners published: aud (the gateway's serial number), iss, enphaseUser, exp, iat, jti, username (personal: unread).
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T")
MARGIN = timedelta(minutes=5)
OWNER_ROLES = ("owner", "monitor")  # both may read everything this plugin reads
INSTALLER_ROLES = ("installer", "prov", "support", "sysadmin", "envoy", "enphase", "factory")


class TokenRefused(Exception):
    """Why a token cannot work: one sentence for its owner, never a part of the token."""


class Claims(Struct, frozen=True, rename={"role": "enphaseUser"}):
    aud: str | list[str]
    iss: str
    exp: int
    role: str

    @property
    def serial(self) -> str:
        """Returns the serial number of the one gateway the token opens; "" where it names several."""
        return self.aud if isinstance(self.aud, str) else (self.aud[0] if len(self.aud) == 1 else "")

    @property
    def expires_at(self) -> datetime:
        return datetime.fromtimestamp(self.exp, UTC)


class _Header(Struct, frozen=True):
    alg: str


def tidy(text: str) -> str:
    """Removes the spaces and line breaks that a browser or mail program added to a pasted token."""
    return "".join(text.split())


def check_token(token: str, now: datetime) -> Claims:
    """Returns the claims of a token that can work, by everything known without a network. Raises TokenRefused."""
    header, claims = _decode(token)
    if header.alg != "ES256" or claims.iss != "Entrez":
        raise TokenRefused("This token was not made by Enphase; make one at entrez.enphaseenergy.com")
    if not claims.serial or claims.serial == "un-commissioned":
        raise TokenRefused("This token names no single gateway; choose your system and gateway before you create it")
    _check_role(claims.role)
    _check_expiry(claims, now)
    return claims


def _check_role(role: str) -> None:
    if role in INSTALLER_ROLES:
        raise TokenRefused("This is an installer's token, which ends after 12 hours; the owner's token lasts a year")
    if role not in OWNER_ROLES:
        raise TokenRefused("This token's role is not known; make one with the owner's Enphase account")


def _check_expiry(claims: Claims, now: datetime) -> None:
    try:
        expires_at = claims.expires_at
    except (OverflowError, OSError, ValueError):
        raise TokenRefused("This token's expiry date makes no sense; make a new one") from None
    if expires_at <= now + MARGIN:
        raise TokenRefused("This token has expired; make a new one")


def _decode(token: str) -> tuple[_Header, Claims]:
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):
        raise TokenRefused("This is not a token: it should be one long line with two dots in it")
    return _part(parts[0], _Header), _part(parts[1], Claims)


def _part(text: str, into: type[T]) -> T:
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        return msgspec.json.decode(raw, type=into)
    except (binascii.Error, UnicodeError, msgspec.DecodeError):
        raise TokenRefused("This is not an Enphase token, or a part of it is missing; copy it once more") from None
