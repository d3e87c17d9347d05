"""What `joinder dev` finds of the polls that failed."""

from __future__ import annotations

import json
from pathlib import Path

from joinder.demo.authoring import READ_MOST, last_poll_error
from joinder.errors import PluginBug, TransientError
from joinder.runtime import due


def written(log: Path, *events: str) -> Path:
    log.write_text("".join(json.dumps({"level": "warning", "event": event}) + "\n" for event in events))
    return log


def test_the_newest_poll_that_failed_counts_and_no_other_enrollments(tmp_path: Path) -> None:
    log = written(
        tmp_path / "server.log",
        "poll of enr_1: plugin acme failed in fetch_readings (KeyError at mapping.py:7)",
        "poll of enr_1: Acme is away",
        "poll of enr_12: another's",
        "refresh of enr_1: no poll",
    )
    with log.open("a") as out:
        out.write("no JSON: poll of enr_1: x\n[1]\n")
    assert last_poll_error(log, "enr_1") == "Acme is away"
    assert last_poll_error(log, "enr_2") is None


def test_a_poll_that_broke_is_told_too_and_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    log = written(tmp_path / "server.log", "x" * READ_MOST, "poll of enr_1 failed: StoreRefused")
    assert last_poll_error(log, "enr_1") == "StoreRefused"


def test_the_log_names_the_place_of_a_bug_and_no_detail_of_anything_else() -> None:
    bug = PluginBug("plugin acme failed in fetch_site", detail="KeyError at mapping.py:7")
    assert due._told(bug) == "plugin acme failed in fetch_site (KeyError at mapping.py:7)"
    assert due._told(TransientError("Acme is away", detail="what it answered")) == "Acme is away"
