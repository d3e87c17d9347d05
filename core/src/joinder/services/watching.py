"""Notices what failed on the way of a hook call that answered all the same.

A plugin turns one failing endpoint into a warning, so that the rest still counts. When what failed may work the next
time, the span is not fetched yet, whatever came of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

from joinder.errors import RateLimited, TransientError
from joinder.grants import Context
from joinder.http import Answer, Http, Meter


@dataclass
class Watch:
    """`trouble` is the last passing failure of a call the plugin made."""

    trouble: TransientError | None = None

    def over(self, ctx: Context) -> Context:
        return replace(ctx, http=cast(Http, _Watched(ctx.http, self)))


class _Watched:
    def __init__(self, http: Http, watch: Watch) -> None:
        self._http = http
        self._watch = watch

    @property
    def meter(self) -> Meter | None:
        return self._http.meter

    async def request(self, method: str, url: str, **options: Any) -> Answer:
        try:
            answer = await self._http.request(method, url, **options)
        except TransientError as error:
            self._watch.trouble = error
            raise
        if answer.status == 429:
            text = "The vendor allows no more calls for now"
            self._watch.trouble = RateLimited(text, retry_after=answer.retry_after())
            if self.meter is not None:  # the plugin may keep it to itself
                await self.meter.limited(answer.retry_after())
        elif answer.status >= 500:
            self._watch.trouble = TransientError(f"The vendor answered {answer.status}")
        return answer
