"""docs/asvs.md: each requirement of levels 1 and 2 stands there once, with a verdict; tests it names are there."""

from __future__ import annotations

import re
from collections import Counter

from security import ROOT

PAGE = ROOT / "docs/asvs.md"
LEVELS_1_AND_2 = """
1.1:2 1.2:9 1.3:11 1.4:3 1.5:2 2.1:3 2.2:3 2.3:4 2.4:1 3.2:2 3.3:4 3.4:6 3.5:5 3.7:2 4.1:3 4.2:1 4.3:2 4.4:4 5.1:1 5.2:3
5.3:2 5.4:3 6.1:3 6.2:12 6.3:4 6.4:4 6.5:5 6.6:3 6.8:4 7.1:3 7.2:4 7.3:2 7.4:5 7.5:2 7.6:2 8.1:2 8.2:3 8.3:1 8.4:1 9.1:3
9.2:4 10.1:2 10.2:2 10.3:4 10.4:11 10.5:5 10.6:2 10.7:3 11.1:2 11.2:3 11.3:3 11.4:4 11.5:1 11.6:1 12.1:3 12.2:2 12.3:4
13.1:1 13.2:5 13.3:2 13.4:5 14.1:2 14.2:4 14.3:3 15.1:3 15.2:3 15.3:7 16.1:1 16.2:5 16.3:4 16.4:3 16.5:3 17.1:1 17.2:4
17.3:2
"""  # section:how many; those of level 3 come last in each
_ROW = re.compile(r"^\| ([\d., –]+) ([^|]*)\| (yes|no|yours|none here) \| (.*) ?\|$", re.MULTILINE)
_SPAN = re.compile(r"(\d+\.\d+)\.(\d+)(?:–(\d+\.\d+)\.(\d+))?")


def wanted() -> list[str]:
    sections = (part.split(":") for part in LEVELS_1_AND_2.split())
    return [f"{section}.{number}" for section, count in sections for number in range(1, int(count) + 1)]


def listed() -> list[str]:
    found = []
    for numbers, _, _, _ in _ROW.findall(PAGE.read_text()):
        for section, first, same, last in _SPAN.findall(numbers):
            assert same in ("", section), numbers
            found += [f"{section}.{number}" for number in range(int(first), int(last or first) + 1)]
    return found


def test_each_requirement_stands_there_once() -> None:
    assert len(wanted()) == 253
    assert {name for name, count in Counter(listed()).items() if count > 1} == set()
    assert (set(wanted()) - set(listed()), set(listed()) - set(wanted())) == (set(), set())


def test_what_is_met_says_how() -> None:
    rows = _ROW.findall(PAGE.read_text())
    assert [numbers for numbers, _, verdict, how in rows if verdict != "none here" and len(how.strip()) < 3] == []


def test_every_test_and_promise_that_is_named_is_there() -> None:
    text = PAGE.read_text()
    assert [path for path in re.findall(r"`(tests/[^`]+)`", text) if not (ROOT / path).exists()] == []
    assert {int(number) for number in re.findall(r"\bS(\d+)\b", text)} <= set(range(1, 33))
