"""What stands behind an object that a plugin is lent: core finds it, following the object's attributes does not.

So that a careless plugin cannot walk from its context to the store, the vault or another account. It is no sandbox: a
plugin is code with our rights, and may import whatever it likes.
"""

from __future__ import annotations

from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class Behind(Generic[T]):
    """One kept value an object, for as long as the object lives. Of a module, never an attribute of what is lent."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[object, T] = WeakKeyDictionary()

    def put(self, lent: object, value: T) -> None:
        self._kept[lent] = value

    def of(self, lent: object) -> T:
        """Raises KeyError where nothing was put."""
        return self._kept[lent]

    def get(self, lent: object) -> T | None:
        return self._kept.get(lent)
