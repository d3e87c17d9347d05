"""Joins killed at every line that changes something: no code is exchanged twice, and what was kept becomes a grant."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from joinder.settings import Settings

pytestmark = [pytest.mark.timeout(900), pytest.mark.proof]
SCRIPT = Path(__file__).with_name("cut_join.py")


@pytest.mark.parametrize("how", ["well", "away"])
def test_nothing_on_disk_is_lost_wherever_it_is_killed(fresh_database: Settings, tmp_path: Path, how: str) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), fresh_database.database_url, fresh_database.key_file, str(tmp_path), how],
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parent.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines, joined = map(int, done.stdout.split())
    assert lines > 25
    assert joined > lines // 3
