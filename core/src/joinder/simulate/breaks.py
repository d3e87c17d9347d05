"""What a simulator raised by mistake: whoever runs it hears of it, as all that its caller sees is a bare 500."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Hear = Callable[[Exception], None]
_RAISED = "joinder.raised"


def unheard(_: Exception) -> None:
    """Says nothing."""


class Heard:
    """ASGI wrapper around a simulator's app. What the app itself makes an answer below 500 of is no mistake."""

    def __init__(self, app: Any, hear: Hear) -> None:
        self._app = app
        self._hear = hear
        hooks = getattr(app, "after_exception", None)  # Litestar answers its own 500, and lets nothing through
        if isinstance(hooks, list):
            hooks.append(_note)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        status = 0

        async def noting(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            self._hear(error)
            raise
        raised = scope.pop(_RAISED, None)
        if raised is not None and status >= 500:
            self._hear(raised)


async def _note(error: Exception, scope: Any) -> None:
    scope[_RAISED] = error
