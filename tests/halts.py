"""A place where what is called waits until the test lets it go on."""

from __future__ import annotations

import asyncio


class Halt:
    """Given as a hook or call; `arrived` once it was called, which ends, or raises `error`, when `go` is set."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.arrived, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self, *_: object, **__: object) -> None:
        self.arrived.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
