"""What the work at hand is about: names and ids that log lines and figures of this task and its children carry."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

_NOTHING: Mapping[str, str] = MappingProxyType({})
_bound: ContextVar[Mapping[str, str]] = ContextVar("log_context", default=_NOTHING)


class log_context:
    """Names what the block is about: one request, account, enrollment, vendor or job, by id or name."""

    __slots__ = ("_token", "_values")

    def __init__(self, **values: str) -> None:
        self._values = values

    def __enter__(self) -> None:
        self._token = _bound.set({**_bound.get(), **self._values})

    def __exit__(self, *_: object) -> None:
        _bound.reset(self._token)


def bind(**values: str) -> None:
    """Adds what is learnt on the way: it holds until the `log_context` around it ends."""
    _bound.set({**_bound.get(), **values})


def bound() -> Mapping[str, str]:
    return _bound.get()
