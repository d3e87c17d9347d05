"""The whole suite as if run on other days: `make days`.

Options name the moments (all without one), what follows goes to pytest: `tests/days.py --moment today tests/cli`.
Only civil time is moved, by faketime (Debian: `apt install faketime`), for every process alike; monotonic clocks and
the times of files stay real, or Python would compile every module anew.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

SLEEPS = Path(__file__).parent / "faketime"
BERLIN = ZoneInfo("Europe/Berlin")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BEFORE = timedelta(minutes=5)  # the suite begins before the change, and ends after it


def leap_day(now: datetime) -> datetime:
    """Noon of the next 29 February."""
    noon = now.replace(hour=12, minute=0, second=0, microsecond=0) + DAY
    return next(day for day in _steps(noon, DAY) if (day.month, day.day) == (2, 29))


def clock_change(now: datetime, becomes: timedelta) -> datetime:
    """Minutes before Berlin's next change to that offset from UTC."""
    hours = pairwise(_steps(now.replace(minute=0, second=0, microsecond=0) + HOUR, HOUR))
    changes = (b for a, b in hours if _offset(a) != _offset(b) == becomes)
    return next(changes) - BEFORE


def _steps(at: datetime, step: timedelta) -> Iterator[datetime]:
    while True:
        yield at
        at += step


def _offset(at: datetime) -> timedelta | None:
    return at.astimezone(BERLIN).utcoffset()


MOMENTS: dict[str, Callable[[datetime], datetime]] = {
    "today": lambda now: now,
    "in 40 days": lambda now: now + 40 * DAY,
    "in 200 days": lambda now: now + 200 * DAY,
    "leap day": leap_day,
    "into summer time": lambda now: clock_change(now, 2 * HOUR),
    "out of summer time": lambda now: clock_change(now, HOUR),
    "into the new year": lambda now: datetime(now.year + 1, 1, 1, tzinfo=UTC) - BEFORE,
    "in 10 years": lambda now: now + 3653 * DAY,
}


def environment(offset_s: int) -> dict[str, str]:
    """Of processes for which it is `offset_s` later; the wrapper's own shared memory is not needed for that."""
    told = subprocess.run(
        ["faketime", "-m", "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True
    )
    faked = {
        "LD_PRELOAD": told.stdout.strip(),
        "FAKETIME": f"{offset_s:+d}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # or waits of threads end at once, those for the interpreter's lock too
        "NO_FAKE_STAT": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(SLEEPS), os.environ.get("PYTHONPATH")))),
    }
    return {**os.environ, **faked}


def run(moment: str, arguments: list[str]) -> tuple[int, str]:
    """The exit code of pytest, and its last line."""
    now = datetime.now(UTC)
    at = MOMENTS[moment](now)
    print(f"--- {moment}: from {at:%Y-%m-%d %H:%M} UTC on", flush=True)
    command = [sys.executable, "-m", "pytest", *arguments]
    lines = [""]
    offset_s = round((at - now).total_seconds())
    with subprocess.Popen(command, env=environment(offset_s), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.strip() or lines[-1])
    killed = f"killed by signal {-process.returncode} after: " if process.returncode < 0 else ""
    return process.returncode, killed + lines[-1]


def main() -> int:
    """0 when every moment was green, and when there is no faketime."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moment", action="append", choices=MOMENTS, help="one of the moments; may be repeated")
    asked, arguments = parser.parse_known_args()
    if shutil.which("faketime") is None:
        print("SKIPPED: faketime is not installed (Debian: apt install faketime), so no other day can be tried.")
        return 0
    began = time.monotonic()
    ended = {moment: run(moment, arguments) for moment in asked.moment or MOMENTS}
    print(f"--- {time.monotonic() - began:.0f} s")
    for moment, (code, line) in ended.items():
        print(f"{'green' if code == 0 else 'RED':6}{moment:20}{line}")
    return int(any(code for code, _ in ended.values()))


if __name__ == "__main__":
    sys.exit(main())
