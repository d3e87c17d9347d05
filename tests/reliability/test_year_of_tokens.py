"""A year of every vendor's token rules, with six days of outage in the middle: nothing expires, read or not (R9).

`pytest -s tests/reliability/test_year_of_tokens.py` prints the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from joinder.settings import Settings
from joinder.simulate import installed_simulators
from joinder.testing.subject import Stand
from joinder.vendor import Refresh, Vendor
from joinder.vendors.registry import Registry
from reliability.year import DAY, Seen, Year, beginning

DATABASES = ("sqlite",)
START = int(datetime(2026, 1, 5, 12, tzinfo=UTC).timestamp())
OUTAGE_DAYS = 6
READ_EVERY_S = 5 * DAY
VENDORS = [vendor.name for vendor in Registry.load().vendors]
BY_DESIGN = ("iqgateway",)  # its tokens end after a year, and only their owner can make another


@pytest.fixture(scope="module")
def table() -> Iterator[list[tuple[object, ...]]]:
    rows: list[tuple[object, ...]] = []
    yield rows
    print()
    heads = ("vendor", "enrollment", "renewals", "longest gap", "of life", "outage", "expiries", "warned")
    for row in (heads, *rows):
        print("{:<12}{:<12}{:>9}{:>14}{:>9}{:>9}{:>10}{:>18}".format(*map(str, row)))


def in_table(vendor: Vendor, seen: Seen, warned: str) -> tuple[object, ...]:
    rotates = vendor.refresh is Refresh.ROTATING
    of_life = "no end" if seen.gap_of_life is None else f"{seen.gap_of_life:.0%}"
    gap = f"{seen.longest_gap_s / DAY:.2f} d" if rotates else "-"
    renewals = seen.renewals if rotates else "-"
    return (
        vendor.name, seen.name, renewals, gap, of_life if rotates else "-", f"{OUTAGE_DAYS} d", len(seen.lost), warned,
    )  # fmt: skip


def test_every_installed_vendor_lives_through_it() -> None:
    assert {one.vendor for one in installed_simulators()} == set(VENDORS)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [name for name in VENDORS if name not in BY_DESIGN])
async def test_nothing_expires_in_a_year(
    name: str, fresh_database: Settings, monkeypatch: pytest.MonkeyPatch, table: list[tuple[object, ...]]
) -> None:
    async with beginning(name, START, fresh_database, monkeypatch) as year:
        vendor = year.stand.vendor
        ids = [await year.join("read", READ_EVERY_S)]
        if vendor.refresh is Refresh.ROTATING:  # somebody else: a second consent of one owner ends the first at Tesla
            ids.append(await year.join("idle", None, owner="two-sites"))
        await live_through_outage(year, ids[0])
        await year.until(START + 365 * DAY)
        for enrollment_id in ids:
            seen = year.seen[enrollment_id]
            table.append(in_table(vendor, seen, "-"))
            assert seen.lost == []
            assert await year.told(enrollment_id, "enrollment.expiring") == []
            assert_kept_alive(vendor, seen)
            assert await year.read(enrollment_id) == "ok"
        assert_nothing_revoked(await year.stand.state())


async def live_through_outage(year: Year, read_id: str) -> None:
    """Six days in which the vendor answers nothing but 503."""
    await year.until(START + 180 * DAY)
    assert (await year.rows(read_id))[0].health == "ok"
    await year.stand.fault("5xx")
    await year.until(START + (180 + OUTAGE_DAYS) * DAY)
    assert (await year.rows(read_id))[0].health == "degraded"
    await year.stand.heal()


def assert_kept_alive(vendor: Vendor, seen: Seen) -> None:
    if vendor.refresh is not Refresh.ROTATING:
        return
    assert seen.renewals >= 300
    assert seen.longest_gap_s >= OUTAGE_DAYS * DAY  # the outage was one
    assert seen.longest_gap_s <= (OUTAGE_DAYS + 1) * DAY + 3600  # a day of keep-alive before, a back-off after
    assert seen.gap_of_life is None or seen.gap_of_life < 0.25
    assert seen.least_left_s is None or seen.least_left_s > 0


def assert_nothing_revoked(counts: dict[str, object]) -> None:
    assert counts.get("reuse_seen", 0) == 0
    assert counts.get("families_revoked", 0) == 0


@pytest.mark.timeout(600)
async def test_a_gateways_token_of_a_year_is_warned_of_thirty_days_before(
    fresh_database: Settings, monkeypatch: pytest.MonkeyPatch, table: list[tuple[object, ...]]
) -> None:
    async with beginning("iqgateway", START, fresh_database, monkeypatch) as year:
        enrollment_id = await year.join("read", READ_EVERY_S, token=new_token(year.stand))
        await live_through_outage(year, enrollment_id)
        enrollment, row = await year.rows(enrollment_id)
        ends = row.expires_at or 0
        await year.until(ends - 31 * DAY)
        assert await year.told(enrollment_id, "enrollment.expiring") == []
        await year.until(ends - 20 * DAY)
        (warning,) = await year.told(enrollment_id, "enrollment.expiring")
        assert ends - warning.at >= 30 * DAY
        again = await year.consent(enrollment.account_id, None, token=new_token(year.stand))
        assert again == enrollment_id
        await year.until(START + 366 * DAY)
        seen = year.seen[enrollment_id]
        table.append(in_table(year.stand.vendor, seen, f"{(ends - warning.at) / DAY:.0f} d before"))
        assert seen.lost == []
        assert await year.read(enrollment_id) == "ok"
        assert len(await year.told(enrollment_id, "enrollment.expiring")) == 1


def new_token(stand: Stand) -> str:
    """What the owner fetches from Enphase."""
    minted: str = stand.simulator.app.mint()  # type: ignore[attr-defined]
    return minted
