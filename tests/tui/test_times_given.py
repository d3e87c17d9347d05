"""Times that an admin types: a distance back, a day, or a time; of UTC where no offset says otherwise."""

from __future__ import annotations

import pytest
from joinder_tui.texts import since

NOW = 1_780_315_200  # 2026-06-01T12:00:00Z
JUNE = NOW - 12 * 3600


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joinder.clock.civil_time", lambda: float(NOW))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("3 h", NOW - 3 * 3600),
        ("90min", NOW - 5400),
        (" 2 d ", NOW - 2 * 86400),
        ("999999999 d", 0),
        ("2026-06-01", JUNE),
        ("2026-06-01 12:00", NOW),
        ("2026-06-01T12:00:00", NOW),
        ("2026-06-01 14:00+02", NOW),
        ("2026-06-01T12:00:00.5Z", NOW),
    ],
)
def test_what_means_a_moment_is_taken(text: str, at: int) -> None:
    assert since(text) == at


@pytest.mark.parametrize(
    "text", ["", "3", "3 weeks", "9999999999 d", "٣ h", "2026-06-31", "1999-01-01", "9999-12-31", "20260601", "24:00"]
)
def test_what_does_not_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        since(text)
