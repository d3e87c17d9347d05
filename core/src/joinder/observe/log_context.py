"""What the work at hand is about: names and ids that log lines and figures of this task and its children carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_NOTHING: Mapping[str, str] = MappingProxyType({})
_bound: ContextVar[Mapping[str, str]] = ContextVar("log_context", default=_NOTHING)


@contextmanager
def log_context(**values: str) -> Iterator[None]:
    """Names what the block is about: one request, account, enrollment, vendor or job, by id or name."""
    token = _bound.set({**_bound.get(), **values})
    try:
        yield
    finally:
        _bound.reset(token)


def bind(**values: str) -> None:
    """Adds what is learnt on the way: it holds until the `log_context` around it ends."""
    _bound.set({**_bound.get(), **values})


def bound() -> Mapping[str, str]:
    return _bound.get()
