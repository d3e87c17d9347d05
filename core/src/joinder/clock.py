"""Two clocks: civil time for what the world agrees on, and a boot's monotonic time for leases between processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

FIRST, LAST = -62_135_596_800, 253_402_300_799  # the years 1 to 9999
civil_time: Callable[[], float] = time.time  # the one place tests replace to live through a year


def now() -> int:
    """Returns epoch seconds."""
    return int(civil_time())


def utc_now() -> datetime:
    return datetime.fromtimestamp(civil_time(), UTC)


def from_epoch(seconds: float | None) -> datetime | None:
    """Converts epoch seconds to UTC; None for None, and where no calendar has such a time."""
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None and FIRST <= seconds <= LAST else None


def utc_text(at: int) -> str:
    """Formats epoch seconds in ISO 8601."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_epoch(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def monotonic() -> float:
    """Returns seconds that are the same in every process of this boot, untouched by clock changes."""
    return time.monotonic()


@cache
def boot_id() -> str:
    """Tells this boot's monotonic clock from another's."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux: boot time to the minute, stable enough across processes
        return f"boot-{round((time.time() - time.monotonic()) / 60)}"
