"""A rotation of the keys killed at every line that changes something: everything opens, and the next run goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from joinder.settings import Settings

pytestmark = [pytest.mark.timeout(600), pytest.mark.proof]
SCRIPT = Path(__file__).with_name("cut_rotation.py")


def test_nothing_becomes_unreadable_wherever_it_is_killed(fresh_database: Settings) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), fresh_database.database_url, fresh_database.key_file],
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parent.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 40
