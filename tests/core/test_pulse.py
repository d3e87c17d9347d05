"""What leases are judged by: since when the database has answered this process."""

from __future__ import annotations

import pytest

from joinder.store import pulse as module
from joinder.store.pulse import SHORT_S, STANDS_BACK_S, Pulse
from joinder.trouble import StoreTrouble


class Clock:
    at = 1000.0

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_after_a_trouble_leases_that_ran_out_are_left_for_a_while(clock: Clock) -> None:
    pulse = Pulse()
    clock.at += 60
    pulse.failed(StoreTrouble("gone"))
    assert (pulse.answers_for_s(), pulse.patience_s() > 0) == (0, True)
    clock.at += 1
    pulse.answered()
    assert (pulse.answers_for_s(), pulse.patience_s() > 0) == (0, True)
    clock.at += STANDS_BACK_S
    assert (pulse.answers_for_s(), pulse.patience_s()) == (STANDS_BACK_S, 0)


def test_one_statement_that_fails_again_and_again_leaves_no_lease_for_ever(clock: Clock) -> None:
    """Such as one that always waits for a lock: others are answered all the time."""
    pulse = Pulse()
    for _ in range(60):
        clock.at += SHORT_S / 2
        pulse.answered()
        pulse.failed(StoreTrouble("LockNotAvailableError"))
    pulse.answered()
    assert (pulse.answers_for_s(), pulse.patience_s()) == (30 * SHORT_S, 0)
