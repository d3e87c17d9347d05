"""`joinder readings recheck`: what an earlier version stored, judged by today's gate."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from sqlmodel import SQLModel

from api.fakes import APP_SECRET, HOME, Vendors
from effort import examples
from joinder.clock import now
from joinder.energy import Device, DeviceKind, Site
from joinder.grants import Consent, Grant
from joinder.redact import Secrets
from joinder.runtime.hub import Hub, open_hub
from joinder.services.join import stored_consents, vendor_credentials
from joinder.services.join.stored_consents import Origin
from joinder.services.operations import doctor
from joinder.services.readings.coverage import Freshness, gaps
from joinder.services.readings.periods import floor, following
from joinder.services.readings.sites import device_of, store_site
from joinder.services.recheck import recheck
from joinder.services.recheck import series as recheck_series
from joinder.services.recheck.counts import RecheckProgress
from joinder.services.recheck.recheck import RecheckRequest, run
from joinder.services.records import accounts
from joinder.services.refusals import NotFound, Unprocessable
from joinder.settings import Settings
from joinder.store.readings import METRICS, read_coverage
from joinder.store.sites import read_devices
from joinder.store.types import Upsert, Write
from joinder.trouble import StoreTrouble

BERLIN = ZoneInfo("Europe/Berlin")
DAY_S, QUARTER_S = 86400, 900
TODAY = floor(now(), "day", BERLIN)
DAY = floor(TODAY - 40 * DAY_S, "day", BERLIN)  # its noon is the middle of what is stored
NOON = DAY + 12 * 3600
TABLES: Mapping[str, str] = {
    "interval": "subject_id, resolution, start",
    "coverage": "subject_id, resolution, start",
    "live": "site_id",
    "counter": "subject_id, at",
    "device": "id",
    "site": "id",
    "notice": "enrollment_id, key",
    "store_state": "name",
}
TIMES = ("since", "last_at")  # of notices
Snapshot = dict[str, list[tuple[Any, ...]]]


@dataclass
class Stored:
    """One home in a hub, and what an earlier version wrote of it."""

    hub: Hub
    site_id: str
    enrollment_id: str
    devices: Mapping[str, str]  # by the vendor's id

    async def rows(self, subject_id: str, resolution: str, *rows: Mapping[str, Any]) -> None:
        """Each with `start`; fetched a day later, when nothing else is said."""
        length = QUARTER_S if resolution == "15mins" else DAY_S
        columns = ("end", *METRICS, "quality", "fetched_at", "rule")
        records = []
        for row in rows:
            end = row.get("end", row["start"] + length)
            told = {"end": end, "quality": "measured", "fetched_at": end + DAY_S, **row}
            records.append((subject_id, resolution, row["start"], *(told.get(name) for name in columns)))
        await self.hub.store.apply(Upsert("interval", ("subject_id", "resolution", "start"), columns, records))

    async def asked(self, subject_id: str, resolution: str, start: int, end: int) -> None:
        record = (subject_id, resolution, start, end, end + 30 * DAY_S, 0)
        columns = ("end", "fetched_at", "tries")
        await self.hub.store.apply(Upsert("coverage", ("subject_id", "resolution", "start"), columns, [record]))

    async def read(self, subject_id: str, resolution: str = "15mins") -> dict[int, dict[str, Any]]:
        """By start; only what is known."""
        names = ("start", "end", *METRICS, "quality", "rule")
        found = await self.hub.store.rows(
            f'SELECT start, "end", {", ".join(METRICS)}, quality, rule FROM interval '  # noqa: S608
            "WHERE subject_id = :subject AND resolution = :resolution ORDER BY start",
            {"subject": subject_id, "resolution": resolution},
        )
        rows = [dict(zip(names, row, strict=True)) for row in found]
        return {row["start"]: {name: value for name, value in row.items() if value is not None} for row in rows}

    async def gaps(self, resolution: str = "15mins", subject_id: str | None = None) -> list[tuple[int, int]]:
        """What a read of the days around would ask of the vendor."""
        span = (DAY - 5 * DAY_S, DAY + 5 * DAY_S)
        known = await read_coverage(self.hub.store, subject_id or self.site_id, resolution, *span)
        inside = (max(span[0], known[0].start), min(span[1], known[-1].end))
        return gaps(known, *inside, now(), Freshness(2 * DAY_S))

    async def everything(self) -> Snapshot:
        found: Snapshot = {}
        for table, order in TABLES.items():
            columns = _columns(table)
            kept = [f'"{name}"' for name in columns if not (table == "notice" and name in TIMES)]
            rows = await self.hub.store.rows(f"SELECT {', '.join(kept)} FROM {table} ORDER BY {order}", {})  # noqa: S608
            found[table] = [tuple(row) for row in rows]
        found["store_state"] = [row for row in found["store_state"] if row[0] != recheck.DONE]
        return found


def _columns(table: str) -> list[str]:
    return [column.name for column in SQLModel.metadata.tables[table].columns]


@pytest.fixture
async def hub(fresh_database: Settings) -> AsyncIterator[Hub]:
    async with open_hub(fresh_database, Vendors().registry()) as opened:
        yield opened


async def join(hub: Hub, home: Site = HOME) -> Stored:
    account = (await accounts.create_account(hub, "Acme")).id
    app = {"vendor": "sunny", "type": "oauthclient", "clientID": "app-1", "clientSecret": APP_SECRET}
    credentials = await vendor_credentials.create(hub, account, "test", name="main", credentials=app)
    expires_at = datetime.now(UTC) + timedelta(days=30)
    grant = Grant(secrets=Secrets({"access_token": "canary"}), expires_at=expires_at, site_ids=(home.vendor_id,))
    async with hub.store.write() as session:
        row = await stored_consents.store(
            hub,
            session,
            account,
            Consent(grant=grant, account_id="ada"),
            Origin(vendor="sunny", credentials_id=credentials.id),
        )
        enrollment_id = row.id
    ((site_id,),) = await hub.store.rows("SELECT id FROM site", {})
    async with hub.store.write() as session:
        await store_site(hub, session, site_id, home)
    devices = {row[0]: row[1] for row in await hub.store.rows("SELECT vendor_id, id FROM device", {})}
    return Stored(hub, site_id, enrollment_id, devices)


@pytest.fixture
async def stored(hub: Hub) -> Stored:
    return await join(hub)


def sunny_day(start: int = DAY, wh: float = 500.0) -> list[dict[str, Any]]:
    """Quarter hours of a day, all of them right."""
    return [
        {
            "start": at,
            "solar_wh": wh + (at // QUARTER_S) % 7,
            "charge_wh": 100.0,
            "discharge_wh": 0.0,
            "import_wh": 10.0,
            "export_wh": 300.0,
            "load_wh": 110.0 + wh + (at // QUARTER_S) % 7 - 300.0,
            "soc_percent": 55.5,
        }
        for at in range(start, start + DAY_S, QUARTER_S)
    ]


def rules(progress: RecheckProgress) -> dict[str, tuple[int, int]]:
    """Rule → (marked, dropped)."""
    return {name: (one.marked, one.dropped) for name, one in progress.vendors["sunny"].rules.items()}


WRONG: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str]] = {
    "a load below zero": ({"load_wh": -500.0}, {"load_wh": None, "rule": "number"}, "number"),
    "a production below zero": ({"solar_wh": -800.0}, {"solar_wh": None, "rule": "number"}, "number"),
    "an endless import": ({"import_wh": math.inf}, {"import_wh": None, "rule": "number"}, "number"),
    "a charge of 163 %": ({"soc_percent": 163.0}, {"soc_percent": None, "rule": "number"}, "charge"),
    "a charge below zero": ({"soc_percent": -1.0}, {"soc_percent": None, "rule": "number"}, "charge"),
    "a spike": ({"solar_wh": 400_000.0}, {"solar_wh": None, "load_wh": None, "rule": "spike"}, "spike"),
    "more than the battery holds": (
        {"charge_wh": 60_000.0},
        {"charge_wh": None, "load_wh": None, "rule": "capacity"},
        "capacity",
    ),
    "ten minutes": ({"end": NOON + 600}, None, "unaligned"),
    "an hour": ({"end": NOON + 3600}, None, "unaligned"),
    "an end before its start": ({"end": NOON - 900}, None, "times"),
    "told before it began": ({"fetched_at": NOON - 3600}, None, "future"),
    "a quality nobody knows": ({"quality": "guessed"}, {"quality": "estimated"}, "shape"),
}


@pytest.mark.parametrize("kind", WRONG)
async def test_what_cannot_be_right_is_unknown_or_goes(stored: Stored, kind: str) -> None:
    wrong, right, rule = WRONG[kind]
    rows = sunny_day()
    sound = {row["start"]: dict(row) for row in rows}
    at = next(row for row in rows if row["start"] == NOON)
    at |= wrong
    await stored.rows(stored.site_id, "15mins", *rows)
    await stored.asked(stored.site_id, "15mins", DAY, DAY + DAY_S)
    progress = await run(stored.hub, "test", RecheckRequest())
    found = await stored.read(stored.site_id)
    if right is None:
        assert NOON not in found
        assert rules(progress)[rule] == (0, 1)
    else:
        wanted = {**sound[NOON], "end": NOON + QUARTER_S, "quality": "measured", **right}
        assert found[NOON] == {name: value for name, value in wanted.items() if value is not None}
        assert rules(progress)[rule][0] >= 1
    assert all(found[start].items() >= row.items() for start, row in sound.items() if start != NOON)
    assert [gap for gap in await stored.gaps() if gap[0] <= NOON < gap[1]], "it is not fetched again"


async def test_no_number_is_unknown(stored: Stored) -> None:
    """SQLite stores none for it by itself."""
    rows = sunny_day()
    rows[48]["solar_wh"] = math.nan
    await stored.rows(stored.site_id, "15mins", *rows)
    await run(stored.hub, "test", RecheckRequest())
    assert "solar_wh" not in (await stored.read(stored.site_id))[rows[48]["start"]]


async def test_a_row_of_which_nothing_is_left_says_why(stored: Stored) -> None:
    await stored.rows(stored.devices["inv-1"], "15mins", {"start": NOON, "solar_wh": -9000.0})
    await run(stored.hub, "test", RecheckRequest())
    found = await stored.read(stored.devices["inv-1"])
    assert found == {NOON: {"start": NOON, "end": NOON + QUARTER_S, "quality": "partial", "rule": "number"}}


async def test_quarter_hours_begin_on_quarter_hours(stored: Stored) -> None:
    await stored.rows(
        stored.site_id, "15mins", {"start": NOON + 420, "solar_wh": 5.0}, {"start": NOON, "solar_wh": 5.0}
    )
    await run(stored.hub, "test", RecheckRequest())
    assert list(await stored.read(stored.site_id)) == [NOON]


async def test_times_that_are_none_go(stored: Stored) -> None:
    times = (-5, 0, now() * 1000, 2**55)
    await stored.rows(stored.site_id, "15mins", *({"start": at, "solar_wh": 5.0} for at in times))
    progress = await run(stored.hub, "test", RecheckRequest())
    assert await stored.read(stored.site_id) == {}
    assert rules(progress) == {"times": (0, 4)}


async def test_what_was_told_before_it_was_over_is_partial(stored: Stored) -> None:
    rows = [{"start": NOON, "solar_wh": 5.0, "fetched_at": NOON + 60}, {"start": NOON + QUARTER_S, "solar_wh": 5.0}]
    await stored.rows(stored.site_id, "15mins", *rows)
    await run(stored.hub, "test", RecheckRequest())
    found = await stored.read(stored.site_id)
    assert [(row["quality"], row.get("rule")) for row in found.values()] == [("partial", "running"), ("measured", None)]


async def test_a_nameplate_judges_also_after_the_inverter_has_gone(hub: Hub) -> None:
    """Two of 5 kW: what both made together is right, though one is no longer listed."""
    inverters = [Device(vendor_id=name, kind=DeviceKind.INVERTER, max_power_w=5000.0) for name in ("a", "b")]
    stored = await join(hub, structs.replace(HOME, devices=tuple(inverters)))
    async with hub.store.write() as session:
        await store_site(hub, session, stored.site_id, structs.replace(HOME, devices=(inverters[0],)))
    right, wrong = {"start": NOON, "solar_wh": 2400.0}, {"start": NOON + QUARTER_S, "solar_wh": 3300.0}
    await stored.rows(stored.site_id, "15mins", right, wrong)
    await run(hub, "test", RecheckRequest())
    found = await stored.read(stored.site_id)
    assert found[NOON]["solar_wh"] == 2400.0
    assert found[NOON + QUARTER_S] == {
        "start": NOON + QUARTER_S,
        "end": NOON + 2 * QUARTER_S,
        "quality": "measured",
        "rule": "nameplate",
    }


async def good_store(stored: Stored) -> None:
    """Nothing wrong in any table."""
    await stored.rows(stored.site_id, "15mins", *sunny_day(), *sunny_day(DAY + DAY_S, wh=300.0))
    await stored.rows(stored.devices["inv-1"], "15mins", *({"start": at, "solar_wh": 7.0} for at in (NOON, NOON + 900)))
    await stored.rows(stored.site_id, "day", *good_days())
    await stored.asked(stored.site_id, "15mins", DAY - DAY_S, DAY + 3 * DAY_S)
    await stored.asked(stored.site_id, "day", DAY - 300 * DAY_S, DAY + 3 * DAY_S)
    powers = ("measured_at", "fetched_at", "solar_w", "battery_w", "grid_w", "load_w", "soc_percent")
    live = (stored.site_id, NOON, NOON + 5, 1500.0, 0.0, -500.0, 1000.0, 50.0)
    registers = [(stored.site_id, NOON + 60 * n, 1e6 + n) for n in range(120)]
    await stored.hub.store.apply(
        Upsert("live", ("site_id",), powers, [live]),
        Upsert("counter", ("subject_id", "at"), ("solar_wh",), registers),
    )


def good_days() -> list[dict[str, Any]]:
    rows = []
    at = floor(DAY - 300 * DAY_S, "day", BERLIN)
    while at < DAY:
        end = following(at, "day", BERLIN)
        rows.append({"start": at, "end": end, "solar_wh": 20_000.0, "import_wh": 4000.0})
        at = end
    return rows


async def bad_store(stored: Stored) -> None:
    """Something wrong in every table, amid much that is right."""
    await good_store(stored)
    inverter, battery = stored.devices["inv-1"], stored.devices["bat-1"]
    wrong = [{**row, **values} for row, (values, _, _) in zip(sunny_day(DAY + 2 * DAY_S), WRONG.values(), strict=False)]
    for row, values in zip(wrong, (values for values, _, _ in WRONG.values()), strict=True):
        row |= {name: row["start"] + value - NOON for name, value in values.items() if name in ("end", "fetched_at")}
    rest = sunny_day(DAY + 2 * DAY_S)[len(wrong) :]
    await stored.rows(stored.site_id, "15mins", *wrong, *rest)
    await stored.rows(inverter, "15mins", *({"start": at, "solar_wh": -5000.0} for at in range(DAY, DAY + 9000, 900)))
    await stored.rows(inverter, "15mins", *({"start": NOON + n * 900, "solar_wh": 9e8 / (n + 1)} for n in range(20)))
    await stored.asked(inverter, "15mins", DAY - DAY_S, DAY + 3 * DAY_S)
    await stored.rows(stored.site_id, "day", {"start": DAY + 3600, "solar_wh": 5.0}, {"start": DAY, "solar_wh": 9.0})
    state = {"kind": "battery", "vendor_id": "bat-1", "soc_percent": 163.0, "name": 7, "nameplate_wh": 10_000.0}
    await stored.hub.store.apply(
        ("UPDATE site SET timezone = 'Etc/GMT-1'", {}),
        ("UPDATE live SET soc_percent = 163, load_w = -4000", {}),
        ("UPDATE counter SET solar_wh = -5 WHERE at < :noon", {"noon": NOON + 300}),
        Upsert("counter", ("subject_id", "at"), ("solar_wh",), [(stored.site_id, now() + DAY_S, 5.0)]),
        (
            "UPDATE device SET state = :state WHERE id = :id",
            {"id": battery, "state": json.dumps(state)},
        ),
    )


async def test_what_is_right_stays_to_the_letter(stored: Stored) -> None:
    await good_store(stored)
    before = await stored.everything()
    progress = await run(stored.hub, "test", RecheckRequest())
    assert await stored.everything() == before
    counts = progress.vendors["sunny"]
    assert (counts.rules, counts.spans, counts.sites) == ({}, 0, 1)
    assert counts.rows == sum(len(before[table]) for table in ("interval", "live", "counter", "device", "site"))


async def test_twice_changes_nothing(stored: Stored) -> None:
    await bad_store(stored)
    first = await run(stored.hub, "test", RecheckRequest())
    assert set(rules(first)) > {
        "zone",
        "number",
        "charge",
        "spike",
        "capacity",
        "unaligned",
        "times",
        "future",
        "shape",
    }
    once = await stored.everything()
    second = await run(stored.hub, "test", RecheckRequest())
    assert await stored.everything() == once
    assert (rules(second), second.vendors["sunny"].spans) == ({}, 0)


async def test_a_dry_run_writes_nothing_and_says_the_same(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recheck_series, "ROWS_AT_ONCE", 7)
    await bad_store(stored)
    before = await stored.everything()
    tried = await run(stored.hub, "test", RecheckRequest(is_dry=True))
    assert await stored.everything() == before
    assert await recheck.is_due(stored.hub) is False
    done = await run(stored.hub, "test", RecheckRequest())
    assert (tried.vendors, tried.done) == (done.vendors, done.done)
    assert await stored.everything() != before


@pytest.mark.parametrize("is_after", [False, True], ids=["before the commit", "after the commit"])
async def test_cut_off_anywhere_it_ends_the_same(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, is_after: bool
) -> None:
    monkeypatch.setattr(recheck_series, "ROWS_AT_ONCE", 40)
    monkeypatch.setattr(recheck, "SAVE_EVERY_S", 0.0)
    await bad_store(stored)
    before = await stored.everything()
    batches = Counted(stored.hub)
    monkeypatch.setattr(stored.hub.store, "apply", batches.apply)
    whole = await run(stored.hub, "test", RecheckRequest())
    wanted, count = await stored.everything(), batches.count
    assert count > 20
    for place in range(1, count + 1):
        batches.fails_at = 0
        await _put_back(stored, before)
        batches.count, batches.fails_at, batches.is_after = 0, place, is_after
        with pytest.raises(StoreTrouble):
            await run(stored.hub, "test", RecheckRequest())
        batches.fails_at = 0
        resumed = await run(stored.hub, "test", RecheckRequest())
        assert await stored.everything() == wanted, place
        assert resumed.vendors == whole.vendors, place


class Counted:
    """The store's `apply`, which fails once."""

    def __init__(self, hub: Hub) -> None:
        self._apply = hub.store.apply
        self.count = self.fails_at = 0
        self.is_after = False

    async def apply(self, *writes: Write, serialize_on: str = "") -> list[int]:
        self.count += 1
        is_failing = self.count == self.fails_at
        if is_failing and not self.is_after:
            raise StoreTrouble("cut")
        done = await self._apply(*writes, serialize_on=serialize_on)
        if is_failing:
            raise StoreTrouble("cut")
        return done


async def _put_back(stored: Stored, before: Snapshot) -> None:
    """The tables as they were; nothing had been noticed."""
    assert before["notice"] == []
    stood = {f"name{number}": name for number, (name, _) in enumerate(before["store_state"])}
    gone = f"DELETE FROM store_state WHERE name NOT IN ({', '.join(f':{name}' for name in stood)})"  # noqa: S608
    writes: list[Write] = [("DELETE FROM notice", {}), (gone, stood)]
    writes.append(("UPDATE site SET timezone = 'Etc/GMT-1'", {}))
    for table in ("interval", "coverage", "live", "counter"):
        columns, width = tuple(_columns(table)), len(TABLES[table].split(","))
        writes += [(f"DELETE FROM {table}", {}), Upsert(table, columns[:width], columns[width:], before[table])]  # noqa: S608
    state = _columns("device").index("state")
    change = "UPDATE device SET state = :state WHERE id = :id"
    writes += [(change, {"id": row[0], "state": row[state]}) for row in before["device"]]
    await stored.hub.store.apply(*writes)


async def test_a_row_told_anew_meanwhile_stays(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    await stored.rows(stored.site_id, "15mins", {"start": NOON, "solar_wh": 5.0, "load_wh": -500.0})
    apply = stored.hub.store.apply

    async def overtaken(*writes: Write, serialize_on: str = "") -> list[int]:
        monkeypatch.setattr(stored.hub.store, "apply", apply)
        anew = {"start": NOON, "solar_wh": 6.0, "load_wh": 7.0, "fetched_at": now()}
        await stored.rows(stored.site_id, "15mins", anew)
        return await apply(*writes, serialize_on=serialize_on)

    monkeypatch.setattr(stored.hub.store, "apply", overtaken)
    await run(stored.hub, "test", RecheckRequest())
    assert (await stored.read(stored.site_id))[NOON].items() >= {"solar_wh": 6.0, "load_wh": 7.0}.items()


async def test_what_lost_a_value_is_asked_for_in_few_calls(stored: Stored) -> None:
    """A wrong charge every hour of three days is one span, not seventy."""
    rows = [row for n in range(3) for row in sunny_day(DAY + n * DAY_S)]
    for row in rows[::4]:
        row["soc_percent"] = 163.0
    await stored.rows(stored.site_id, "15mins", *rows)
    await stored.asked(stored.site_id, "15mins", DAY - DAY_S, DAY + 5 * DAY_S)
    progress = await run(stored.hub, "test", RecheckRequest())
    assert progress.vendors["sunny"].spans == 1
    assert await stored.gaps() == [(DAY, rows[-4]["start"] + QUARTER_S)]


async def test_what_was_never_asked_is_not_to_be_fetched(stored: Stored) -> None:
    await stored.rows(stored.site_id, "15mins", {"start": NOON, "solar_wh": -9000.0, "load_wh": 5.0})
    progress = await run(stored.hub, "test", RecheckRequest())
    assert (rules(progress), progress.vendors["sunny"].spans) == ({"number": (1, 0)}, 0)


async def test_a_backfill_is_started_where_it_is_wanted(stored: Stored) -> None:
    await bad_store(stored)
    progress = await run(stored.hub, "test", RecheckRequest(is_fetching=True))
    jobs = await stored.hub.store.rows('SELECT start, "end" FROM backfill', {})
    assert progress.backfills == len(jobs) == 1
    assert jobs[0][0] <= DAY + 2 * DAY_S
    assert jobs[0][1] >= DAY + 2 * DAY_S + 900


@pytest.mark.parametrize("name", ["Etc/GMT-1", "Nowhere/Land", None])
async def test_a_zone_is_found_by_coordinates_and_the_days_of_the_old_one_go(stored: Stored, name: str | None) -> None:
    """The winter's days of Etc/GMT-1 are those of Berlin; the summer's are not, nor any of UTC."""
    year = datetime.now(UTC).year - 1
    old = ZoneInfo(name) if name == "Etc/GMT-1" else ZoneInfo("UTC")
    summer, winter = (
        [int(datetime(year, month, day, tzinfo=old).timestamp()) for day in range(1, 11)] for month in (7, 2)
    )
    await stored.hub.store.apply(("UPDATE site SET timezone = :zone", {"zone": name}))
    await stored.rows(stored.site_id, "day", *({"start": at, "solar_wh": 5000.0} for at in (*summer, *winter)))
    await stored.asked(stored.site_id, "day", winter[0], summer[-1] + DAY_S)
    progress = await run(stored.hub, "test", RecheckRequest())
    ((zone,),) = await stored.hub.store.rows("SELECT timezone FROM site", {})
    assert zone == BERLIN.key
    assert list(await stored.read(stored.site_id, "day")) == (winter if name == "Etc/GMT-1" else [])
    assert rules(progress)["zone"] == (1, 0) or name == "Nowhere/Land"
    known = await read_coverage(stored.hub.store, stored.site_id, "day", summer[0], summer[-1] + DAY_S)
    assert not any(span.start <= summer[3] < span.end for span in known)


async def test_an_offset_without_coordinates_is_said_and_stays(stored: Stored) -> None:
    await stored.hub.store.apply(("UPDATE site SET timezone = 'Etc/GMT-1', lat = NULL, lon = NULL", {}))
    before = await stored.everything()
    progress = await run(stored.hub, "test", RecheckRequest())
    assert progress.vendors["sunny"].offset_zones == 1
    assert await stored.everything() == before


async def test_a_day_that_disagrees_with_its_quarter_hours_is_estimated(stored: Stored) -> None:
    days = [DAY, following(DAY, "day", BERLIN)]
    for day in days:
        end = following(day, "day", BERLIN)
        await stored.rows(stored.site_id, "15mins", *({"start": at, "solar_wh": 100.0} for at in range(day, end, 900)))
    ends = [following(day, "day", BERLIN) for day in days]
    totals = [(ends[0] - days[0]) / 9, 20_000.0]
    rows = [{"start": a, "end": b, "solar_wh": wh} for a, b, wh in zip(days, ends, totals, strict=True)]
    await stored.rows(stored.site_id, "day", *rows)
    progress = await run(stored.hub, "test", RecheckRequest())
    found = await stored.read(stored.site_id, "day")
    assert [found[day]["quality"] for day in days] == ["measured", "estimated"]
    assert rules(progress) == {"day_disagrees": (1, 0)}


async def test_a_state_nobody_could_read_can_be_read(stored: Stored) -> None:
    """json.dumps of an earlier version wrote NaN; PostgreSQL never took it."""
    bad = "NaN" if stored.hub.store.dialect == "sqlite" else "-5"
    state = f'{{"kind": "inverter", "vendor_id": "inv-1", "lifetime_wh": {bad}, "model": "X", "stale": false}}'
    row = {"id": stored.devices["inv-1"], "state": state}
    await stored.hub.store.apply(("UPDATE device SET state = :state WHERE id = :id", row))
    await run(stored.hub, "test", RecheckRequest())
    ((text,),) = await stored.hub.store.rows("SELECT state FROM device WHERE id = :id", {"id": row["id"]})
    assert json.loads(text).items() >= {"kind": "inverter", "vendor_id": "inv-1", "model": "X"}.items()
    assert "lifetime_wh" not in json.loads(text)


@pytest.mark.parametrize(
    "told", ['"lifetime_wh": NaN', '"lifetime_wh": "many"', '"faults": 7', '"reported_at": "soon"']
)
async def test_a_state_of_before_the_gate_stops_no_read(stored: Stored, told: str) -> None:
    if "NaN" in told and stored.hub.store.dialect != "sqlite":
        pytest.skip("PostgreSQL takes no NaN into JSON")
    row = {"id": stored.devices["inv-1"], "state": f'{{"kind": "inverter", "vendor_id": "inv-1", {told}}}'}
    await stored.hub.store.apply(("UPDATE device SET state = :state WHERE id = :id", row))
    found = {one.id: device_of(one) for one in await read_devices(stored.hub.store, stored.site_id)}
    assert (found[row["id"]].vendor_id, found[row["id"]].lifetime_wh) == ("inv-1", None)
    await run(stored.hub, "test", RecheckRequest())
    again = {one.id: one for one in await read_devices(stored.hub.store, stored.site_id)}
    assert msgspec.convert(again[row["id"]].state, Device) == found[row["id"]]


async def test_a_site_told_by_its_devices_alone_is_asked_again(hub: Hub) -> None:
    """Earlier versions summed at each read; now the site's own answer is, when it comes."""
    inverters = [Device(vendor_id=name, kind=DeviceKind.INVERTER) for name in ("a", "b")]
    stored = await join(hub, structs.replace(HOME, devices=tuple(inverters)))
    for name in ("a", "b"):
        await stored.rows(
            stored.devices[name], "15mins", *({"start": DAY + n * 900, "solar_wh": 9.0} for n in range(8))
        )
    await stored.rows(stored.site_id, "15mins", *({"start": DAY + n * 900, "solar_wh": 18.0} for n in range(4)))
    await stored.asked(stored.site_id, "15mins", DAY, DAY + DAY_S)
    progress = await run(hub, "test", RecheckRequest())
    assert (rules(progress), progress.vendors["sunny"].spans) == ({}, 1)
    assert await stored.gaps() == [(DAY + 3600, DAY + 7200)]


async def test_since_and_vendor_narrow_it(stored: Stored) -> None:
    await stored.rows(stored.site_id, "15mins", *({"start": DAY + n * 900, "load_wh": -500.0} for n in range(10)))
    other = await run(stored.hub, "test", RecheckRequest(vendor="cloudy"))
    assert other.vendors == {}
    await run(stored.hub, "test", RecheckRequest(vendor="sunny", since=DAY + 4500))
    found = await stored.read(stored.site_id)
    assert [row.get("load_wh") for row in found.values()] == [-500.0] * 5 + [None] * 5


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [(RecheckRequest(vendor="nobody"), NotFound), (RecheckRequest(since=now() + 2 * DAY_S), Unprocessable)],
    ids=["vendor", "since"],
)
async def test_what_makes_no_sense_is_refused(stored: Stored, asked: RecheckRequest, refusal: type[Exception]) -> None:
    with pytest.raises(refusal) as said:
        await run(stored.hub, "test", asked)
    assert "sunny" in str(said.value) or "future" in str(said.value)


async def test_the_operator_is_told(stored: Stored) -> None:
    await stored.rows(stored.site_id, "15mins", {"start": NOON, "soc_percent": 163.0, "solar_wh": 5.0})
    await run(stored.hub, "test", RecheckRequest())
    notices = await stored.hub.store.rows("SELECT enrollment_id, rule, count FROM notice", {})
    assert [tuple(row) for row in notices] == [(stored.enrollment_id, "charge", 1)]
    audit = await stored.hub.store.rows("SELECT actor, target FROM audit WHERE action = 'readings.recheck'", {})
    assert [tuple(row) for row in audit] == [("test", "readings")]


async def test_doctor_asks_for_it_until_it_has_run_to_the_end(stored: Stored) -> None:
    assert await doctor.stored_readings(stored.hub) == [], "a new database needs none"
    await stored.hub.store.apply(("DELETE FROM store_state WHERE name = :name", {"name": recheck.DONE}))
    for asked in (None, RecheckRequest(vendor="sunny"), RecheckRequest(since=DAY), RecheckRequest(is_dry=True)):
        if asked is not None:
            await run(stored.hub, "test", asked)
        (finding,) = await doctor.stored_readings(stored.hub)
        assert finding.next_step is not None
        assert "joinder readings recheck" in finding.next_step
    await run(stored.hub, "test", RecheckRequest())
    assert await doctor.stored_readings(stored.hub) == []


VALUES = st.none() | st.sampled_from([-500.0, -1.0, 0.0, 5.0, 400.0, 30_000.0, 9e6, 163.0])
RANDOM = st.lists(
    st.fixed_dictionaries(
        {
            "at": st.integers(0, 60),
            "shift": st.sampled_from([0, 0, 0, 0, 300]),
            "length": st.sampled_from([900, 900, 900, 600]),
            **dict.fromkeys(METRICS, VALUES),
        }
    ),
    max_size=30,
)


Judge = Callable[[Sequence[Mapping[str, Any]]], Awaitable[None]]


@pytest.fixture
def judge(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> Judge:
    monkeypatch.setattr(recheck_series, "ROWS_AT_ONCE", 11)

    async def check(rows: Sequence[Mapping[str, Any]]) -> None:
        await stored.hub.store.apply(("DELETE FROM interval", {}), ("DELETE FROM coverage", {}))
        told = [
            {
                **row,
                "start": DAY + row["at"] * 900 + row["shift"],
                "end": DAY + row["at"] * 900 + row["length"] + row["shift"],
            }
            for row in rows
        ]
        if told:
            await stored.rows(stored.site_id, "15mins", *told)
        await stored.asked(stored.site_id, "15mins", DAY, DAY + DAY_S)
        tried = await run(stored.hub, "test", RecheckRequest(is_dry=True))
        done = await run(stored.hub, "test", RecheckRequest())
        assert tried.vendors == done.vendors
        once = await stored.everything()
        again = await run(stored.hub, "test", RecheckRequest())
        assert (rules(again), again.vendors["sunny"].spans) == ({}, 0)
        assert await stored.everything() == once
        for row in (await stored.read(stored.site_id)).values():
            assert row["start"] % 900 == 0
            assert row["end"] == row["start"] + 900
            assert all(row.get(name, 0.0) >= 0 for name in METRICS)
            assert row.get("soc_percent", 0.0) <= 100

    return check


async def test_whatever_was_stored_a_second_run_finds_nothing(judge: Judge) -> None:
    found: list[list[dict[str, Any]]] = []

    @settings(max_examples=examples(100), deadline=None, database=None)
    @given(RANDOM)
    def collect(rows: list[dict[str, Any]]) -> None:
        found.append(rows)

    await asyncio.to_thread(collect)
    for rows in found:
        await judge(rows)
