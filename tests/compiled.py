"""SQL compiled once for all hubs of a test process: each has an engine of its own, which would compile it all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.util import LRUCache


def _likeness(dialect: DefaultDialect) -> tuple[object, ...]:
    """Names what decides how a dialect of ours writes SQL."""
    return type(dialect), dialect.paramstyle, getattr(dialect, "server_version_info", None)


def _are_alike(dialect: DefaultDialect, other: object) -> bool:
    return isinstance(other, DefaultDialect) and _likeness(dialect) == _likeness(other)


@pytest.fixture(autouse=True, scope="session")
def compiled_once() -> Iterator[None]:
    """Gives all engines one cache of compiled statements; its keys hold the dialect: two alike count as one."""
    shared: LRUCache[Any, Any] = LRUCache(5000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "_compiled_cache", property(lambda _: shared, lambda *_: None), raising=False)
        patch.setattr(DefaultDialect, "__eq__", _are_alike)
        patch.setattr(DefaultDialect, "__hash__", lambda self: hash(_likeness(self)))
        yield
