"""When work is due next. Everything is spread out, so that what began together does not come back together."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from joinder.grants import Grant
from joinder.services.work.leases import NEVER
from joinder.vendor import Refresh, Vendor

BACKOFF_FIRST = timedelta(seconds=30)
BACKOFF_MOST = timedelta(minutes=15)
KEEP_ALIVE_MOST = timedelta(hours=24)
SHORT_LIVED = timedelta(minutes=15)  # an access token this short is renewed when it is used, not by a timer all day
OPERATOR_FIRST, OPERATOR_MOST = timedelta(minutes=5), timedelta(hours=1)


def next_refresh(vendor: Vendor, grant: Grant, moment: datetime) -> int:
    """Returns when to renew, in epoch seconds: inside the last quarter of the access token's life.

    That is never later than its margin, and often enough to keep the refresh token alive though nobody reads. A life
    shorter than twice the margin is halved instead, or its grant would always be due. A token that ends before the next
    poll is renewed when it is used; the timer only keeps its grant alive.
    """
    if not vendor.is_renewable:
        return NEVER
    longest = keep_alive(vendor, grant, moment)
    life = grant.expires_at - moment if grant.expires_at is not None else None
    if life is not None and (life > max(SHORT_LIVED, vendor.limits.poll_every) or life <= timedelta(0)):
        longest = min(longest, max(life - vendor.refresh_margin, life / 2, timedelta(0)))
    return int((moment + longest * _spread()).timestamp())


def keep_alive(vendor: Vendor, grant: Grant, moment: datetime) -> timedelta:
    """Returns the longest a grant goes unrenewed: a day, or a quarter of a rotating refresh token's life."""
    waits = [KEEP_ALIVE_MOST]
    if vendor.refresh_at_least_every is not None:
        waits.append(vendor.refresh_at_least_every)
    if vendor.refresh is Refresh.ROTATING and grant.refresh_expires_at is not None:
        waits.append(max((grant.refresh_expires_at - moment) / 4, BACKOFF_MOST))  # an answer may bring no new token
    return min(waits)


def after_failure(
    failures: int, moment: datetime, retry_after: timedelta | None = None, *, ends_at: int | None = None
) -> int:
    """Returns when to try again, in epoch seconds: exponential from 30 s to 15 min, jittered.

    That is never before the vendor's own word, unless a refresh token that ends at `ends_at` (epoch seconds) could not
    wait so long.
    """
    ceiling = min(BACKOFF_FIRST * 2 ** min(failures, 10), BACKOFF_MOST)
    told = (retry_after or timedelta(0)) * random.uniform(1.0, 1.1)  # noqa: S311 - spreading load
    wait = max(ceiling * random.uniform(0.5, 1.0), told)  # noqa: S311
    if ends_at is not None:
        wait = min(wait, max(timedelta(seconds=ends_at - moment.timestamp()) / 4, BACKOFF_FIRST))
    return int((moment + wait).timestamp())


def after_operator_trouble(failures: int, moment: datetime) -> int:
    """Returns when what somebody must mend is looked at again by itself, in epoch seconds: seldom."""
    wait = min(OPERATOR_FIRST * 2 ** min(failures, 8), OPERATOR_MOST)
    return int((moment + wait * _spread()).timestamp())


def next_poll(vendor: Vendor, moment: datetime) -> int:
    return int((moment + vendor.limits.poll_every * random.uniform(0.9, 1.0)).timestamp())  # noqa: S311 - spreading load


def _spread() -> float:
    return random.uniform(0.75, 1.0)  # noqa: S311 - spreading load
