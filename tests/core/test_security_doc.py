"""docs/security.md: every promise is there, and every test it names."""

from __future__ import annotations

import re

from security import PAGE, ROOT, promises


def test_every_promise_is_listed_with_its_proof() -> None:
    assert list(promises()) == [f"S{number}" for number in range(1, 33)]
    assert {name for name, (_, places) in promises().items() if not places} == set()


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`(tests/[^`]+)`", PAGE.read_text())
    assert len(named) > 40
    assert [path for path in named if not (ROOT / path).exists()] == []
