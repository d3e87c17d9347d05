"""What began together does not come back together, and nothing comes too late."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joinder import Flow, Grant, Limits, Refresh, Secrets, Vendor
from joinder.services.work.leases import NEVER
from joinder.services.work.schedule import (
    BACKOFF_FIRST,
    BACKOFF_MOST,
    SHORT_LIVED,
    after_failure,
    next_poll,
    next_refresh,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EPOCH = int(NOW.timestamp())
MARGIN = timedelta(minutes=10)
lives = st.timedeltas(timedelta(seconds=1), timedelta(days=400))


@pytest.fixture(autouse=True)
def known_dice() -> None:
    random.seed(20260301)


def vendor(refresh: Refresh = Refresh.ROTATING, *, idle: timedelta | None = None, poll: int = 900) -> Vendor:
    return Vendor(
        name="v",
        label="V",
        docs_url="https://docs.example",
        flow=Flow.REDIRECT,
        refresh=refresh,
        refresh_margin=MARGIN,
        refresh_at_least_every=idle,
        limits=Limits(poll_every=timedelta(seconds=poll)),
        capabilities={},
    )


def grant(life: timedelta | None, issued: datetime = NOW) -> Grant:
    return Grant(secrets=Secrets({}), expires_at=None if life is None else issued + life)


def busiest_minute(moments: list[int]) -> int:
    return Counter(moment // 60 for moment in moments).most_common(1)[0][1]


@pytest.mark.parametrize("hours", [1, 8, 24])
def test_ten_thousand_grants_of_one_minute_do_not_come_back_in_one(hours):
    issued = [NOW + timedelta(seconds=n * 60 / 10_000) for n in range(10_000)]
    due = [next_refresh(vendor(), grant(timedelta(hours=hours), at), at) for at in issued]
    spread = (max(due) - min(due)) / 60
    assert spread >= 0.2 * (hours * 60 - 10)
    assert busiest_minute(due) <= 2 * 10_000 / spread


@given(lives)
def test_a_refresh_is_never_later_than_its_margin(life):
    due = next_refresh(vendor(), grant(life), NOW)
    assert due >= EPOCH
    if life >= 2 * MARGIN:
        assert due <= EPOCH + (life - MARGIN).total_seconds()


@given(lives)
def test_a_refresh_is_not_much_earlier_than_needed(life):
    due = next_refresh(vendor(), grant(life), NOW)
    assert due >= int(EPOCH + 0.74 * min((life - MARGIN).total_seconds(), 86400))


@given(st.timedeltas(timedelta(seconds=1), SHORT_LIVED))
def test_a_short_life_is_no_reason_to_refresh_all_day(life):
    """Such a token is renewed when somebody reads; by a timer only often enough to keep the grant alive."""
    due = next_refresh(vendor(), grant(life), NOW)
    assert timedelta(hours=18) <= timedelta(seconds=due - EPOCH + 1) <= timedelta(hours=24, seconds=1)


@given(st.timedeltas(timedelta(seconds=1), timedelta(days=400)), lives)
def test_no_grant_waits_longer_than_a_quarter_of_its_refresh_tokens_life(left, life):
    held = Grant(secrets=Secrets({}), expires_at=NOW + life, refresh_expires_at=NOW + left)
    assert next_refresh(vendor(), held, NOW) <= EPOCH + max(left / 4, BACKOFF_MOST).total_seconds()


@given(st.integers(0, 20), st.timedeltas(timedelta(0), timedelta(days=1)), st.integers(1, 10**6))
def test_no_word_of_the_vendors_outlasts_a_refresh_token(failures, retry_after, left_s):
    due = after_failure(failures, NOW, retry_after, ends_at=EPOCH + left_s)
    assert due <= EPOCH + max(left_s / 4, BACKOFF_FIRST.total_seconds())


@pytest.mark.parametrize("late", [timedelta(0), timedelta(minutes=1), timedelta(days=30)])
def test_an_expired_token_is_due_at_once(late):
    assert next_refresh(vendor(), grant(-late), NOW) == EPOCH


@pytest.mark.parametrize("kind", [Refresh.NONE, Refresh.STATIC_KEY])
def test_what_cannot_be_refreshed_is_never_due(kind):
    assert next_refresh(vendor(kind, idle=timedelta(days=1)), grant(timedelta(hours=1)), NOW) == NEVER


def test_an_unknown_life_is_renewed_every_day_or_as_the_vendor_wants():
    due = next_refresh(vendor(), grant(None), NOW)
    assert timedelta(hours=18) <= timedelta(seconds=due - EPOCH + 1) <= timedelta(hours=24, seconds=1)
    due = next_refresh(vendor(idle=timedelta(hours=4)), grant(None), NOW)
    assert timedelta(hours=3) <= timedelta(seconds=due - EPOCH + 1) <= timedelta(hours=4, seconds=1)


@given(lives)
def test_an_idle_grant_is_kept_alive_whatever_its_tokens_life(life):
    due = next_refresh(vendor(idle=timedelta(days=7)), grant(life), NOW)
    assert due <= EPOCH + timedelta(days=7).total_seconds()


@given(st.integers(0, 10_000))
def test_failures_back_off_up_to_a_quarter_hour(failures):
    wait = after_failure(failures, NOW) - EPOCH
    assert BACKOFF_FIRST.total_seconds() / 2 - 1 <= wait <= BACKOFF_MOST.total_seconds()


def test_each_failure_waits_longer_on_average_until_the_limit():
    means = [sum(after_failure(n, NOW) - EPOCH for _ in range(500)) / 500 for n in range(8)]
    assert means[:5] == sorted(means[:5])
    assert means[-1] == pytest.approx(0.75 * BACKOFF_MOST.total_seconds(), rel=0.05)


@given(st.integers(0, 20), st.timedeltas(timedelta(0), timedelta(days=1)))
def test_the_vendors_own_word_is_kept(failures, retry_after):
    assert after_failure(failures, NOW, retry_after) >= EPOCH + int(retry_after.total_seconds())


def test_failures_of_one_moment_do_not_come_back_together():
    assert busiest_minute([after_failure(9, NOW) for _ in range(1000)]) < 300


def test_polls_are_spread_and_never_late():
    due = [next_poll(vendor(poll=3600), NOW) - EPOCH for _ in range(1000)]
    assert max(due) <= 3600
    assert min(due) >= 0.9 * 3600 - 1
    assert busiest_minute(due) < 400
