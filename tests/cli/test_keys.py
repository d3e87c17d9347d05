"""`joinder keys` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.conftest import Shell


@pytest.fixture
def installed(joinder: Shell) -> Shell:
    joinder.json("accounts", "create", "Acme")
    return joinder


def states(joinder: Shell) -> list[tuple[object, object]]:
    return [(row["wraps"], row["state"]) for row in joinder.json("keys", "status")]


def test_a_key_is_rotated_and_the_old_one_retired(installed: Shell, tmp_path: Path) -> None:
    old = str(installed.json("keys", "status")[0]["key"])
    first = (tmp_path / "joinder.key").read_text()
    done = installed("keys", "rotate", "--json")
    assert done.stderr == "3 of 3 data keys\n"
    assert json.loads(done.stdout)[0]["dataKeys"] == 3
    assert states(installed) == [(3, "wraps what is new"), (0, "may be retired")]
    told = installed("keys", "retire", old, "--dry-run")
    assert (told.returncode, "keep a copy" in told.stderr, len(states(installed))) == (0, True, 2)
    assert installed("keys", "retire", old, "--confirm", "another").returncode == 1
    assert installed("--no-input", "keys", "retire", old).returncode == 2
    assert installed("keys", "retire", old, "--confirm", old).returncode == 0
    assert states(installed) == [(3, "wraps what is new")]
    assert first.strip() not in (tmp_path / "joinder.key").read_text()


def test_a_prepared_key_wraps_once_the_file_is_everywhere(installed: Shell) -> None:
    prepared = installed.json("keys", "rotate", "--prepare")[0]
    assert prepared["new"] is True
    assert installed.json("keys", "rotate", "--prepare")[0] == {"key": prepared["key"], "new": False}
    assert states(installed) == [(0, "wraps what is new"), (3, "needed")]
    look = installed("doctor")
    assert (look.returncode, "joinder keys rotate" in look.stdout) == (1, True)
    assert installed.json("keys", "rotate")[0]["key"] == prepared["key"]
    assert "joinder keys rotate" not in installed("doctor").stdout


def test_no_key_is_shown(installed: Shell, tmp_path: Path) -> None:
    told = [installed("keys", *words.split()) for words in ("rotate --prepare", "rotate", "status", "status --json")]
    said = "".join(one.stdout + one.stderr for one in told)
    assert [line for line in (tmp_path / "joinder.key").read_text().split() if line in said] == []


def test_a_key_that_cannot_be_retired_says_why(installed: Shell) -> None:
    (only,) = installed.json("keys", "status")
    for key_id, code, says in ((str(only["key"]), 4, "joinder keys rotate"), ("0" * 16, 3, "joinder keys status")):
        done = installed("keys", "retire", key_id, "--confirm", key_id)
        assert (done.returncode, says in done.stderr) == (code, True), done.stderr
