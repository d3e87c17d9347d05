"""Imported by every Python that tests/days.py starts: `time.sleep` that sleeps under libfaketime 0.9.10.

Python >= 3.11 sleeps until a monotonic time, which that release of libfaketime takes for a civil one ("Invalid
argument").
The standard library sleeps too, as when it waits for a process.
"""

import select
import time


def sleep(seconds: float) -> None:
    select.select((), (), (), seconds)


time.sleep = sleep
