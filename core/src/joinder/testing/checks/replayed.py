"""The plugin against its cassette, with nothing listening."""

from __future__ import annotations

from datetime import timedelta

from joinder.testing.cassettes import provenance
from joinder.testing.checks import check
from joinder.testing.expectations import (
    expect_consent,
    expect_intervals,
    expect_live,
    expect_refreshed,
    expect_rows,
    expect_site,
)
from joinder.testing.record import cassette_of, replay
from joinder.testing.scanner import scan_text
from joinder.testing.subject import Failed, Subject
from joinder.vendor import Refresh


@check()
async def cassette_plays_whole(subject: Subject) -> None:
    """Consent, refresh, site and readings play from the cassette; every recorded call is made, and no other."""
    seen, stand = await replay(subject)
    expect_consent(stand.vendor, seen.consent, stand.clock.now())
    expect_site(seen.site, seen.consent.grant.site_ids[0])
    expect_rows(seen.quarters.intervals, seen.quarters_of)
    if stand.vendor.limits.resolution("15mins") is not None:
        count = int((seen.quarters_of.end - seen.quarters_of.start) / timedelta(minutes=15))
        expect_intervals(stand.vendor, seen.quarters, seen.quarters_of, count=count)
    expect_live(stand.vendor, seen.quarters.live, stand.clock.now())
    if seen.days is not None and seen.days_of is not None:
        expect_intervals(stand.vendor, seen.days, seen.days_of, count=3)
    if seen.refreshed is not None and stand.vendor.refresh is Refresh.ROTATING:
        expect_refreshed(stand.vendor, seen.consent.grant, seen.refreshed, stand.clock.now())


@check()
async def cassette_says_its_source(subject: Subject) -> None:
    """The first line tells where it was recorded from."""
    provenance(cassette_of(subject))


@check()
async def cassette_holds_no_secret(subject: Subject) -> None:
    """A scanner that knows only what secrets look like finds none."""
    path = cassette_of(subject)
    found = [f"line {finding.line}: {finding.what}" for finding in scan_text(path.read_text(), path)]
    if found:
        raise Failed("; ".join(found[:5]))
