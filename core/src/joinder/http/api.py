"""One vendor's API as data: its address, its refusals by status, and who reads what else its bodies say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar
from urllib.parse import quote

from joinder.errors import RateLimited, TransientError, VendorError
from joinder.grants import Context, Grant
from joinder.http.answers import Answer, raise_for_status

T = TypeVar("T")
Judge = Callable[[Answer, datetime], None]


@dataclass(frozen=True, kw_only=True)
class Api:
    """Calls of one API. `refusals`: status → the error it means, and its sentence, where joinder.http's do not say it.

    `judge(answer, now)` looks at every answer first, and raises what its body says. `unstated_wait`: how long a 429
    without Retry-After lasts.
    """

    base: str  # https://api.vendor.example/v1
    refusals: Mapping[int, tuple[type[VendorError], str]] = field(default_factory=dict)
    judge: Judge | None = None
    deadline: float = 30.0
    unstated_wait: timedelta | None = None

    async def get(self, ctx: Context, grant: Grant, path: str, into: type[T], **params: str | int) -> T:
        """Sends one GET with the grant's access token, and returns its body as `into`. Raises as `check`."""
        return (await self.send(ctx, "GET", path, headers=bearer(grant), params=params or None)).json(into)

    async def send(
        self,
        ctx: Context,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str | int] | None = None,
        json: object = None,
    ) -> Answer:
        """Sends one call with these headers, and returns an answer that is no refusal. Raises as `check`."""
        answer = await ctx.http.request(
            method, self.base + path, headers=headers, params=params, json=json, deadline=self.deadline
        )
        self.check(answer, ctx.now())
        return answer

    def check(self, answer: Answer, now: datetime) -> None:
        """Raises what a refusal means: by its body, by its status, else as raise_for_status."""
        if self.judge is not None:
            self.judge(answer, now)
        if (meant := self.refusals.get(answer.status)) is None:
            raise_for_status(answer)
            return
        kind, text = meant
        if not issubclass(kind, TransientError):
            raise kind(text)
        wait = answer.retry_after(now)
        raise kind(text, retry_after=wait or self.unstated_wait if issubclass(kind, RateLimited) else wait)


def bearer(grant: Grant) -> dict[str, str]:
    """Returns the header that carries a grant's access token (RFC 6750 §2.1)."""
    return {"authorization": f"Bearer {grant.secrets['access_token']}"}


def path(*parts: str) -> str:
    """Returns the path of these parts, each quoted."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)
