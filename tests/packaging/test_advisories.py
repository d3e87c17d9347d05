"""S28: advisories of a file in the OSV format are held against uv.lock, without a network."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

import advisories
from advisories import locked, main, matches, records


def record(*events: dict[str, str], name: str = "Py_Thing", ecosystem: str = "PyPI", **more: Any) -> dict[str, Any]:
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}] if events else []
    affected = {"package": {"ecosystem": ecosystem, "name": name}, "ranges": ranges, **more.pop("affected", {})}
    return {"id": "PYSEC-1", "modified": "2026-01-02T03:04:05Z", "affected": [affected], **more}


ZERO = {"introduced": "0"}
CASES = {
    "before the fix": (record(ZERO, {"fixed": "1.3"}), True),
    "the fix itself": (record(ZERO, {"fixed": "1.2.0"}), False),
    "the last affected": (record(ZERO, {"last_affected": "1.2"}), True),
    "after the last affected": (record(ZERO, {"last_affected": "1.1.9"}), False),
    "before it was introduced": (record({"introduced": "1.2.1"}), False),
    "introduced with it": (record({"introduced": "1.2"}), True),
    "a pre-release of the fix": (record(ZERO, {"fixed": "1.2rc1"}), False),
    "introduced again": (record(ZERO, {"fixed": "1.0"}, {"introduced": "1.1"}, {"fixed": "1.3"}), True),
    "between two": (record(ZERO, {"fixed": "1.0"}, {"introduced": "1.3"}, {"fixed": "1.4"}), False),
    "in any order": (record({"fixed": "1.3"}, ZERO), True),
    "one that is listed": (record(affected={"versions": ["1.1", "1.2.0"]}), True),
    "one that is not listed": (record(affected={"versions": ["1.1"]}), False),
    "a version nobody can compare": (record(ZERO, {"fixed": "the next"}), True),
    "withdrawn": (record(ZERO, withdrawn="2026-01-03T00:00:00Z"), False),
    "another package": (record(ZERO, name="thing"), False),
    "another ecosystem": (record(ZERO, ecosystem="npm"), False),
    "commits alone": (record(affected={"ranges": [{"type": "GIT", "events": [ZERO]}]}), False),
    "no package at all": ({"id": "X", "affected": [{"ranges": []}]}, False),
}


@pytest.mark.parametrize("name", CASES)
def test_what_an_advisory_is_about(name: str) -> None:
    advisory, applies = CASES[name]
    assert bool(matches({"py-thing": "1.2"}, [advisory])) is applies


def _as_zip(folder: Path, *told: Any) -> Path:
    path = folder / "all.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for number, one in enumerate(told):
            packed.writestr(f"PYSEC-{number}.json", json.dumps(one))
    return path


def _as_folder(folder: Path, *told: Any) -> Path:
    for number, one in enumerate(told):
        (folder / f"{number}.json").write_text(json.dumps(one))
    return folder


def _as_list(folder: Path, *told: Any) -> Path:
    path = folder / "list.json"
    path.write_text(json.dumps(told))
    return path


def _as_answer(folder: Path, *told: Any) -> Path:
    path = folder / "answer.json"
    path.write_text(json.dumps({"vulns": told}))
    return path


@pytest.mark.parametrize("written", [_as_zip, _as_folder, _as_list, _as_answer])
def test_advisories_come_in_any_of_these(tmp_path: Path, written: Any) -> None:
    told = [record(ZERO), record(ZERO, name="other")]
    assert list(records(written(tmp_path, *told))) == told


def test_what_is_found_is_told_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    version = locked()["litestar"]
    about = record(ZERO, {"last_affected": version}, name="LiteStar", aliases=["CVE-1"], summary="It burns.")
    path = _as_list(tmp_path, about)
    assert main(path, []) == 1
    said = capsys.readouterr().out
    assert f"litestar {version}: CVE-1, PYSEC-1 It burns.\n" in said
    assert said.endswith(f"{len(locked())} packages, 1 advisories, the newest of 2026-01-02: 1 apply\n")
    assert main(path, ["CVE-1"]) == 0


@pytest.mark.parametrize("text", ["", "nonsense", "[1]", '{"id": "X"}', '[{"id": 1, "affected": []}]', "{}", "null"])
def test_what_holds_no_advisories_is_not_clean(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    assert main(path, []) == 2
    assert str(path) in capsys.readouterr().err


def test_a_file_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tmp_path / "none.zip", []) == 2
    assert "none.zip cannot be read" in capsys.readouterr().err


def test_all_that_the_lock_pins_can_be_compared() -> None:
    packages = locked()
    assert len(packages) > 100
    assert not any(name == "joinder" for name in packages)
    assert all(advisories._version(version) for version in packages.values())
