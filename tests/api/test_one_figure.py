"""One site, a fleet of that one site and an export tell the same: at every level, however its days were told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import NamedTuple, get_args
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from api.fakes import Tenant
from api.test_aggregates import new_site
from api.test_reads import Clock
from joinder.energy import DeviceKind, Quality, Reading
from joinder.runtime.hub import Hub
from joinder.series import day_span
from joinder.services.readings import aggregates, export, intervals
from joinder.services.readings.aggregates import Figure, Fleet
from joinder.services.readings.coverage import Gap
from joinder.services.readings.export import Question, Site
from joinder.services.readings.intervals import Window
from joinder.services.readings.periods import SummaryLevel, zone_of
from joinder.services.readings.totals import ENERGIES
from joinder.services.records import accounts
from joinder.store import readings

QUARTER = timedelta(minutes=15)
DAYS = 7
# Zones, and a day in the middle of which a clock moves: by an hour, by half of one, at midnight; one that stands still.
CHANGES = {
    "Europe/Berlin": (date(2026, 3, 29), date(2026, 10, 25)),
    "Australia/Lord_Howe": (date(2026, 4, 5), date(2026, 10, 4)),
    "Africa/Cairo": (date(2026, 4, 24), date(2026, 10, 29)),
    "Asia/Kathmandu": (date(2026, 5, 1),),
    "Asia/Calcutta": (date(2026, 6, 30),),
    "No/Where": (date(2026, 3, 29),),
}
PLACES = [(zone, day) for zone, days in CHANGES.items() for day in days]


Key = tuple[int, str]  # a period's start, and a metric


class Told(NamedTuple):
    """What anybody says of a metric in a period."""

    wh: float
    is_partial: bool


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def quality(random: Random) -> Quality:
    return random.choice(["measured"] * 6 + list(get_args(Quality)))


def energies(random: Random, most: float) -> dict[str, float | None]:
    """Values of some metrics, as vendors leave out what they know nothing of."""
    known = random.choice([list(DeviceKind), list(DeviceKind), [DeviceKind.INVERTER], [DeviceKind.METER], []])
    told: dict[str, float | None] = {
        name: round(random.uniform(0, most), 1) for kind in known for name in ENERGIES[kind]
    }
    if told and random.random() < 0.2:
        told[random.choice(sorted(told))] = None
    return told


def rows_of(random: Random, begin: datetime, end: datetime) -> Iterator[tuple[str, Reading]]:
    """A day as some vendor tells it, or two of its answers contradict each other."""
    if random.random() < 0.6:
        yield "day", Reading(start=begin, end=end, quality=quality(random), **energies(random, 96.0))  # type: ignore[arg-type]
    if random.random() < 0.05:  # of another zone, from before the site's was known
        yield "day", Reading(start=begin + timedelta(hours=3), end=end + timedelta(hours=3), solar_wh=77.0)
    share, told = random.choice([0.0, 0.5, 1.0, 1.0]), energies(random, 1.0)
    for number in range((end - begin) // QUARTER):
        if random.random() < share:
            values = {name: None if value is None else round(random.uniform(0, 1.0), 2) for name, value in told.items()}
            state: Quality = quality(random) if random.random() < 0.02 else "measured"
            start = begin + number * QUARTER
            yield "15mins", Reading(start=start, end=start + QUARTER, quality=state, **values)  # type: ignore[arg-type]


async def a_home(hub: Hub, account_id: str, random: Random, name: str, middle: date, clock: Clock) -> tuple[str, Gap]:
    """Stores a week around a day, of which the last is not over; returns the site, and the week."""
    kinds = random.sample([str(kind) for kind in DeviceKind], random.randint(0, 4))
    site_id = await new_site(hub, account_id, *kinds, timezone=name)
    spans = [day_span(middle + timedelta(days=number - DAYS // 2), zone_of(name)) for number in range(DAYS)]
    moment = spans[-1][1] - timedelta(hours=random.randint(1, 20))
    clock.at = int(moment.timestamp())
    for begin, end in spans:
        told = [as_told_by(moment, one, row) for one, row in rows_of(random, begin, end)]
        for resolution in ("day", "15mins"):
            rows = [(site_id, row) for one, row in told if one == resolution and row.start < moment]
            await hub.store.apply(readings.intervals(resolution, rows, 1))
    return site_id, (int(spans[0][0].timestamp()), int(spans[-1][1].timestamp()))


def as_told_by(moment: datetime, resolution: str, row: Reading) -> tuple[str, Reading]:
    """Returns a row as the gate lets it in before its end."""
    return resolution, row if row.end <= moment else replace(row, quality="partial")


async def by_site(hub: Hub, account_id: str, site_id: str, window: Window) -> dict[Key, Told]:
    found = {}
    for kind in DeviceKind:
        page = await intervals.stored_of_site(hub, account_id, site_id, kind, window)
        for total in page.totals:
            for name in ENERGIES[kind]:
                if (wh := total.values[name]) is not None:
                    found[total.start, name] = Told(pytest.approx(wh), total.quality == "partial")
    return found


async def by_fleet(hub: Hub, account_id: str, window: Window, zone: ZoneInfo) -> dict[Key, Figure]:
    summed = await aggregates.of_fleet(hub, Fleet(account_id=account_id), window, zone)
    return {
        (period.start, name): figure
        for period in summed.periods
        for name, figure in period.figures.items()
        if figure.wh is not None
    }


async def by_export(hub: Hub, account_id: str, site_id: str, window: Window, name: str) -> dict[Key, float]:
    question = Question(start=window.start, end=window.end, level=window.level)
    site = Site(site_id, account_id, "sunny", site_id, None, name)
    return {
        (total.start, metric): wh
        async for totals in export.energy(hub, site, question)
        for total in totals
        for metric, wh in total.values.items()
        if wh is not None and metric != "soc_percent"
    }


@pytest.mark.parametrize("level", get_args(SummaryLevel))
@pytest.mark.parametrize(("name", "middle"), PLACES)
async def test_the_three_agree(hub: Hub, clock: Clock, name: str, middle: date, level: SummaryLevel) -> None:
    random = Random(f"{name} {middle} {level}")  # noqa: S311 - the same each time
    for _ in range(3):
        account_id = (await accounts.create_account(hub, "test")).id
        site_id, week = await a_home(hub, account_id, random, name, middle, clock)
        window = Window(level, *week, 10_000)
        shown = await by_site(hub, account_id, site_id, window)
        exported = await by_export(hub, account_id, site_id, window, name)
        assert {key: told.wh for key, told in shown.items()} == {key: exported.pop(key) for key in shown}
        summed = await by_fleet(hub, account_id, window, zone_of(name))
        told = {key: Told(summed[key].wh or 0.0, summed.pop(key).partial_sites == 1) for key in shown}
        assert differences(told, shown) == {}
        # Beside that a fleet, and an export of quarter hours, tell of a battery of which half is known.
        assert {metric for _, metric in (*summed, *exported)} <= set(ENERGIES[DeviceKind.BATTERY])


def differences(told: Mapping[Key, Told], shown: Mapping[Key, Told]) -> dict[Key, tuple[Told, Told]]:
    return {key: (one, shown[key]) for key, one in told.items() if one != shown[key]}


async def test_what_a_day_is_made_of(hub: Hub, tenant: Tenant, clock: Clock) -> None:
    """Each line of the rule by itself, in a zone without clock changes."""
    zone = ZoneInfo("UTC")
    days = [day_span(date(2026, 6, 1) + timedelta(days=number), zone) for number in range(9)]
    whole, part, none = [1.0] * 96, [1.0] * 50, list[float]()
    cases: list[tuple[float | None, Quality, list[float], float, bool]] = [
        (100.0, "measured", whole, 100.0, False),  # whole
        (100.0, "estimated", whole, 100.0, False),
        (100.0, "partial", whole, 96.0, False),  # its quarter hours are
        (100.0, "partial", part, 100.0, True),  # neither is: more is nearer
        (30.0, "partial", part, 50.0, True),
        (30.0, "partial", none, 30.0, True),
        (None, "measured", whole, 96.0, False),  # an inverter that is there, and of which the day says nothing
        (None, "measured", part, 50.0, True),
    ]
    site_id = await new_site(hub, tenant.account_id, "inverter", timezone="UTC")
    for (begin, end), (wh, state, quarters, *_) in zip(days, cases, strict=False):
        day = Reading(start=begin, end=end, solar_wh=wh, import_wh=5.0, quality=state)
        rows = [
            Reading(start=begin + n * QUARTER, end=begin + (n + 1) * QUARTER, solar_wh=value, import_wh=1.0)
            for n, value in enumerate(quarters)
        ]
        await hub.store.apply(readings.intervals("day", [(site_id, day)], 1))
        await hub.store.apply(readings.intervals("15mins", [(site_id, row) for row in rows], 1))
    clock.at = int(days[-1][0].timestamp())
    window = Window("day", int(days[0][0].timestamp()), int(days[-1][0].timestamp()), 100)
    shown = await by_site(hub, tenant.account_id, site_id, window)
    for (begin, _), (*_, wh, is_partial) in zip(days, cases, strict=False):
        assert shown[int(begin.timestamp()), "solar_wh"] == Told(wh, is_partial)
    # It has no meter, and a whole day that says so is believed.
    assert shown[int(days[0][0].timestamp()), "import_wh"] == Told(5.0, False)


async def test_a_day_of_a_device_without_a_daily_value_comes_from_its_quarter_hours(
    hub: Hub, tenant: Tenant, clock: Clock
) -> None:
    site_id = await new_site(hub, tenant.account_id, "inverter", timezone="UTC", vendor="nobody")
    ((device_id,),) = await hub.store.rows(
        "SELECT id FROM device WHERE site_id = :id AND kind = 'inverter'", {"id": site_id}
    )
    begin = datetime(2026, 6, 1, tzinfo=UTC)
    moments = list(pairwise(begin + n * QUARTER for n in range(97)))
    rows = [(device_id, Reading(start=start, end=end, solar_wh=10.0)) for start, end in moments]
    await hub.store.apply(readings.intervals("15mins", rows, 1))
    clock.at = int(begin.timestamp()) + 3 * 86400
    span = {"start": "2026-06-01T00:00Z", "end": "2026-06-02T00:00Z", "summaryLevel": "day"}
    answer = await tenant.api.get(f"/solar-inverters/{device_id}/intervals", params=span)
    assert answer.status_code == 200, answer.text
    (day,) = answer.json()["intervals"]
    assert (day["kwh"], day["quality"]) == (0.96, "measured")
