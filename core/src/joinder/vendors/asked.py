"""Of which site a hook is asked, for whoever counts its calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SITE: ContextVar[str | None] = ContextVar("site", default=None)


@contextmanager
def about(site_id: str) -> Iterator[None]:
    """Sets the site inside the block."""
    token = _SITE.set(site_id)
    try:
        yield
    finally:
        _SITE.reset(token)


def site() -> str | None:
    return _SITE.get()
