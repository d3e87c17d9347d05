"""What a token endpoint's answer means: a token, or an error classed by its `error` code alone (RFC 6749 §5.2).

The code counts in whatever form it is: JSON with or without a byte order mark, an object around the code, a form,
capitals, under any status, 200 included. A refusal without a code proves nothing: it may be a gateway's in front of the
vendor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    Unexplained,
    VendorError,
)
from joinder.http import Answer
from joinder.redact import Secrets

_APP_REJECTED = ("invalid_client", "unauthorized_client", "unauthorized")  # the last is Spring's word for the first
_GRANT_DEAD = ("invalid_grant", "invalid_token")  # likewise
TRANSIENT = ("server_error", "temporarily_unavailable")
_CODE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,59}")
_FORM = re.compile(r"[\w.%+-]+=[^<>{}\r\n]*\Z")  # a whole body of one line, as in application/x-www-form-urlencoded
_ERROR_BYTES = 65536


class Token(Struct, frozen=True):
    """A token answer (RFC 6749 §5.1). `extra` holds the vendor's other members that are strings or numbers."""

    access_token: str
    expires_at: datetime | None
    refresh_token: str | None
    extra: Mapping[str, str]

    @property
    def refresh_life(self) -> timedelta | None:
        """Returns how long the refresh token lives, as Keycloak and others say it. 0 and what is no number: unknown."""
        told = self.extra.get("refresh_expires_in") or self.extra.get("refresh_token_expires_in") or ""
        seconds = int(told) if told.isascii() and told.isdigit() and len(told) < 10 else 0
        return timedelta(seconds=seconds) if seconds else None

    def __repr__(self) -> str:
        return f"Token(expires_at={self.expires_at})"

    def secrets(self, previous: Mapping[str, str] | None = None) -> Secrets:
        """Returns the grant's secrets.

        A refresh answer without a refresh token keeps the `previous` one (RFC 6749 §6).
        """
        refresh_token = self.refresh_token or (previous or {}).get("refresh_token")
        return Secrets(
            {"access_token": self.access_token, **({"refresh_token": refresh_token} if refresh_token else {})}
        )


class NoAccessToken(UnexpectedPayload):
    """A 2xx answer of the token endpoint without the one thing it is for."""


def token_error(answer: Answer, *, invalid_grant_codes: tuple[str, ...] = ()) -> VendorError:
    """Returns what a token answer without a token means; `invalid_grant_codes`: the vendor's own for invalid_grant."""
    code = error_code(answer.content)
    detail = f"{answer.status} error={code}" if code else str(answer.status)
    if answer.status == 429:
        return RateLimited("The vendor allows no more token calls for now", retry_after=answer.retry_after())
    if answer.status >= 500 or answer.status in (408, 425) or code in TRANSIENT:
        return TransientError("The vendor's token service failed", retry_after=answer.retry_after(), detail=detail)
    if code in _APP_REJECTED:
        return AppCredentialsRejected("The vendor refuses this app's client credentials", detail=detail)
    if code in (*_GRANT_DEAD, *invalid_grant_codes):
        return AuthorizationLost("The vendor no longer accepts this consent", detail=detail)
    if code or 400 <= answer.status < 500:
        said = f"{answer.status} {code}".strip()
        text = f"The vendor's token service refuses without a known reason ({said})"
        return Unexplained(text, code=said, detail=detail)
    return UnexpectedPayload("The vendor's token service gave an unknown answer", detail=detail)


def error_code(content: bytes) -> str:
    """Returns the OAuth error code of a body, in small letters; empty where nothing in it could be one (HTML, text)."""
    text = content[:_ERROR_BYTES].decode("utf-8-sig", "replace").strip()
    try:
        code = _code_in(msgspec.json.decode(text))
    except (msgspec.DecodeError, RecursionError):
        code = parse_qs(text, max_num_fields=50).get("error", [""])[0] if _FORM.match(text) else ""
    code = code.strip().lower()
    return code if _CODE.fullmatch(code) else ""


def _code_in(body: object) -> str:
    """Returns `error` as a text, or the code inside an object of that name."""
    if not isinstance(body, dict):
        return ""
    error = next((value for name, value in body.items() if name.lower() == "error"), None)
    if isinstance(error, dict):
        error = next(
            (error[name] for name in ("code", "type", "error", "status") if isinstance(error.get(name), str)), None
        )
    return error if isinstance(error, str) else ""


def token_of(answer: Answer, now: datetime, *, invalid_grant_codes: tuple[str, ...] = ()) -> Token:
    body = _members(answer)
    access_token = body.get("access_token")
    if not isinstance(access_token, str) or not access_token:
        if error_code(answer.content):  # a refusal that calls itself a success
            raise token_error(answer, invalid_grant_codes=invalid_grant_codes)
        raise NoAccessToken(f"{answer.place} answered without an access token")
    refresh = body.get("refresh_token")
    known = ("access_token", "refresh_token", "expires_in")
    extra = {name: str(value) for name, value in body.items() if name not in known and isinstance(value, str | int)}
    return Token(
        access_token,
        _expiry(body.get("expires_in"), now),
        refresh if isinstance(refresh, str) else None,
        extra,
    )


def _members(answer: Answer) -> Mapping[str, object]:
    """Returns the members of a token answer; those of a form are texts, as some vendors sent them before the RFC."""
    text = answer.content[:_ERROR_BYTES].decode("ascii", "replace").strip()
    if _FORM.match(text):
        return {name: values[0] for name, values in parse_qs(text, max_num_fields=50).items()}
    return answer.json(dict[str, object])


def _expiry(expires_in: object, now: datetime) -> datetime | None:
    """Returns when `expires_in` (seconds, also as a string) is over.

    None, unknown, where it is zero, negative, absurd or missing.
    """
    if isinstance(expires_in, bool):
        return None
    try:
        seconds = int(float(expires_in))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return now + timedelta(seconds=seconds) if 0 < seconds <= 10 * 366 * 86400 else None
