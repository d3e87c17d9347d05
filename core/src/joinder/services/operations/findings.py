"""What `joinder doctor` finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at. `next_step` when it is not well; `stops` when nothing starts until it is, `away` when it is
    the database that everything waits for."""

    check: str
    text: str
    next_step: str | None = None
    stops: bool = False
    away: bool = False

    @property
    def ok(self) -> bool:
        return self.next_step is None
