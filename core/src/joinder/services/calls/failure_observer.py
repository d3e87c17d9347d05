"""Notices what a hook call asked the vendor, and what failed on the way of one that answered all the same.

A plugin turns one failing endpoint into a warning, so that the rest still counts. When what failed may work the next
time, the span is not fetched yet, whatever came of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, cast

from joinder.errors import RateLimited, TransientError
from joinder.grants import Context
from joinder.http import METER, Answer, DeviceHttp, Http


@dataclass
class Watch:
    """`trouble` is the last passing failure of a call the plugin made; `calls` are method and URL of each."""

    trouble: TransientError | None = None
    calls: list[tuple[str, str]] = field(default_factory=list)

    def over(self, ctx: Context) -> Context:
        """Returns the same context, its clients watched."""

        def device(address: str, *, pin_sha256: str | None = None, port: int | None = None) -> DeviceHttp:
            return cast(DeviceHttp, _Watched(ctx.device(address, pin_sha256=pin_sha256, port=port), self))

        return replace(ctx, http=cast(Http, _Watched(ctx.http, self)), device=device)


class _Watched:
    def __init__(self, http: Http, watch: Watch) -> None:
        self._http = http
        self._watch = watch
        if (meter := METER.get(http)) is not None:
            METER.put(self, meter)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._http, name)

    async def __aenter__(self) -> _Watched:
        await cast(DeviceHttp, self._http).__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await cast(DeviceHttp, self._http).__aexit__(*error)

    async def request(self, method: str, url: str, **options: Any) -> Answer:
        self._watch.calls.append((method, url))
        try:
            answer = await self._http.request(method, url, **options)
        except TransientError as error:
            self._watch.trouble = error
            raise
        if answer.status == 429:
            text = "The vendor allows no more calls for now"
            meter = METER.get(self._http)
            self._watch.trouble = RateLimited(text, retry_after=answer.retry_after())
            if meter is not None:  # the plugin may keep it to itself
                await meter.limited(answer.retry_after())
        elif answer.status >= 500:
            self._watch.trouble = TransientError(f"The vendor answered {answer.status}")
        return answer
