"""Runs the tests of each promise in docs/security.md and prints how many hold (`make security`)."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/security.md"
_ROW = re.compile(r"^\| (S\d+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
_TEST = re.compile(r"`(tests/[^`]+)`")


def promises() -> dict[str, tuple[str, list[str]]]:
    """Returns, by its number, what is promised and where it is proved."""
    return {name: (text, _TEST.findall(proof)) for name, text, proof in _ROW.findall(PAGE.read_text())}


class Outcomes:
    """Counts what passed and what did not, by file."""

    def __init__(self) -> None:
        self.passed, self.failed = Counter[str](), Counter[str]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        path = report.nodeid.partition("::")[0]
        if report.failed:
            self.failed[path] += 1
        elif report.when == "call" and report.passed:
            self.passed[path] += 1


def of(counted: Counter[str], places: list[str]) -> int:
    return sum(count for path, count in counted.items() if any(path.startswith(place) for place in places))


def main() -> int:
    """Prints a line a promise; the exit code is pytest's, and 1 where nothing ran that proves one."""
    known, outcomes = promises(), Outcomes()
    files = sorted({place for _, places in known.values() for place in places})
    code = int(pytest.main([*files, "-q", "--no-header", "-m", "not proof", *sys.argv[1:]], plugins=[outcomes]))
    for name, (text, places) in known.items():
        held, broken = of(outcomes.passed, places), of(outcomes.failed, places)
        told = f"{held} hold" + (f", {broken} DO NOT" if broken else "") if places else "not by a test"
        sys.stdout.write(f"{name:>4}  {told:<24} {text}\n")
        code = code or int(bool(places) and not held)
    return code


if __name__ == "__main__":
    sys.exit(main())
