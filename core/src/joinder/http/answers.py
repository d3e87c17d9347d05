"""A vendor's answer, whole and decoded into types, and the refusals every vendor shares."""

from __future__ import annotations

import math
from codecs import BOM_UTF8
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TypeVar

import msgspec

from joinder.errors import RateLimited, TransientError, UnexpectedPayload

T = TypeVar("T")

MAX_RETRY_AFTER = timedelta(hours=24)


class Answer(msgspec.Struct, frozen=True):
    """One complete HTTP answer. `headers` are lower-case; `place` is method, host and path, never the query."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    place: str

    def __repr__(self) -> str:
        return f"Answer({self.status} from {self.place}, {len(self.content)} bytes)"

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self, into: type[T]) -> T:
        """Reads the body as `into`. Raises UnexpectedPayload when it is HTML, cut off, of other types, or no number."""
        try:
            return msgspec.json.decode(self.content.removeprefix(BOM_UTF8), type=into)
        except msgspec.ValidationError:
            return self._leniently(into)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            kind = "HTML" if self.content.lstrip()[:1] == b"<" else "something else"
            raise self._unexpected(f"body is {kind}, not the documented JSON") from None

    def _leniently(self, into: type[T]) -> T:
        """Numbers and booleans as text are read too, as vendors write them; text such as "NaN" is no number."""
        try:
            value = msgspec.json.decode(self.content.removeprefix(BOM_UTF8), type=into, strict=False)
        except msgspec.ValidationError as error:  # its text may quote the answer
            raise self._unexpected("members are not as documented", detail=str(error)) from None
        if not _finite(msgspec.to_builtins(value)):
            raise self._unexpected("a number is NaN or infinite")
        return value

    def _unexpected(self, why: str, *, detail: str | None = None) -> UnexpectedPayload:
        return UnexpectedPayload(f"{self.place} answered something unexpected ({why})", detail=detail)

    def retry_after(self, now: datetime | None = None) -> timedelta | None:
        """Reads Retry-After in either form (RFC 9110 §10.2.3), capped at a day; None when absent or nonsense."""
        value = self.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdigit():
            return min(timedelta(seconds=int(value[:9])), MAX_RETRY_AFTER)
        try:
            wait = parsedate_to_datetime(value) - (now or datetime.now(UTC))
        except (ValueError, TypeError):
            return None
        return max(timedelta(0), min(wait, MAX_RETRY_AFTER))


def _finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(_finite(member) for member in value.values())
    if isinstance(value, list | tuple):
        return all(_finite(member) for member in value)
    return not isinstance(value, float) or math.isfinite(value)


def raise_for_status(answer: Answer) -> None:
    """Raises the classes every vendor shares: 429 and 5xx. A plugin checks its own bodies first."""
    if answer.status == 429:
        raise RateLimited(f"{answer.place} allows no more calls for now", retry_after=answer.retry_after())
    if answer.status >= 500 or answer.status in (408, 425):
        raise TransientError(f"{answer.place} answered {answer.status}", retry_after=answer.retry_after())
    if not answer.ok:
        raise UnexpectedPayload(f"{answer.place} answered {answer.status}")
