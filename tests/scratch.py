"""Where tests keep their files: in memory where this machine has enough of it, as they wait for disks otherwise."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
ENOUGH_BYTES = 6 * 1024**3  # containers have 64 MB there unless told


def in_memory() -> None:
    """Makes temporary folders of this process, and of those it starts, lie in memory; TMPDIR stays where it is set.

    What a test asks of files is the same: a killed process loses nothing that it wrote, wherever that was.
    """
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK):
        return
    if shutil.disk_usage(MEMORY).free >= ENOUGH_BYTES and _free_memory_bytes() >= ENOUGH_BYTES:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None  # asked before, it would not look again


def _free_memory_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
