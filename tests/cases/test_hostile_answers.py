"""What a careless plugin answers, or a vendor whose words a plugin passes on, told through the whole API.

Never a 500, then or later; nothing of it served; what was served before still is. So too for what an earlier version,
which checked nothing, wrote into the database.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from sqlalchemy import text

from api.fakes import HOME, SUNNY, FakeVendor, Vendors, begin, come_back, connect, connect_site, new_flow
from effort import some
from joinder import hookimpl
from joinder.clock import now
from joinder.energy import Counter, Device, DeviceKind, Live, Reading, Readings, ReadingsQuery, Site
from joinder.errors import VendorError
from joinder.grants import Context, Grant
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.readings import poll
from joinder.services.readings import readings as reading
from joinder.services.readings import sites as reading_sites
from joinder.services.records.opened_grant import open_for_call

DATABASES = ("sqlite",)  # the gate stands before either

MOST_BYTES = 300_000
INVERTER, BATTERY, METER, CHARGER = HOME.devices
GOOD_WH, GOOD_W = 123.0, 1234.0
LONG = "n" * 1_000_000
# What stands in the hostile answers below and in none of the good ones.
OF_IT = re.compile(
    r"nnnnnn|mmmmmm|EEEEEE|\b(?:Mars|passwd|toaster|Turbo|great|roof)\b|\\ud800|\\u0000|NaN|Infinity|e\+?30\d|e\+?29\d|e\+?28\d"
    r"|163\.|4\.?321|-0\.00[15]|-5\.0|0001-01-01|9999-12-31|\"start\":\"[^\"]*:20:00"
)


def site(**members: Any) -> Site:
    return replace(HOME, **members)


def inverter(**members: Any) -> Site:
    return site(devices=(replace(INVERTER, **members), BATTERY, METER, CHARGER))


def battery(**members: Any) -> Site:
    return site(devices=(INVERTER, replace(BATTERY, **members), METER, CHARGER))


def many(count: int) -> tuple[Device, ...]:
    return tuple(replace(INVERTER, vendor_id=f"n-{number}") for number in range(count))


SITES: dict[str, Site] = {
    "a name that is none": site(name=None),
    "a name that is a number": site(name=4321),
    "a name of a megabyte": site(name=LONG),
    "a name with a zero byte": site(name="a\0b"),
    "a name with half a letter": site(name="\ud800"),
    "a latitude that is no number": site(lat=math.nan),
    "a latitude without end": site(lat=math.inf),
    "a latitude as text": site(lat="4321"),
    "a latitude beyond all": site(lat=1e308),
    "a zone that is a path": site(timezone="../../../etc/passwd"),
    "a zone nobody knows": site(timezone="Mars/Phobos"),
    "a zone that is a number": site(timezone=4321),
    "a zone of a megabyte": site(timezone="E" * 1_000_000),
    "a zone with a zero byte": site(timezone="Mars/\0Phobos"),
    "a beginning as text": site(operational_since="4321"),
    "a beginning without an offset": site(operational_since=datetime(2020, 1, 1)),
    "a beginning in the year 1": site(operational_since=datetime(1, 1, 1, tzinfo=UTC)),
    "devices that are dicts": site(devices=({"a": 4321},)),
    "devices that are none": site(devices=None),
    "20 000 devices": site(devices=many(20_000)),
    "a device twice": site(devices=(INVERTER, INVERTER, BATTERY, METER, CHARGER)),
    "a serial with half a letter": inverter(serial="\ud800"),
    "a model of a megabyte": inverter(model="m" * 1_000_000),
    "a power that is no number": inverter(power_w=math.nan),
    "a power as text": inverter(power_w="4321"),
    "a lifetime beyond all": inverter(lifetime_wh=1e308),
    "a lifetime below zero": inverter(lifetime_wh=-5000.0),
    "a kind as text": inverter(kind="inverter"),
    "a kind nobody knows": inverter(kind="toaster"),
    "an id that is none": inverter(vendor_id=None),
    "faults as one text": inverter(faults="4321"),
    "100 000 faults": inverter(faults=("mmmmmmmm",) * 100_000),
    "a mode nobody knows": battery(mode="Turbo"),
    "a charge beyond all": battery(soc_percent=1e308),
    "a charge below zero": battery(soc_percent=-5.0),
    "a charge that is no number": battery(soc_percent=math.nan),
    "a capacity as text": battery(nameplate_wh="4321"),
}
CUT = {"a name of a megabyte", "a model of a megabyte", "100 000 faults"}  # the beginning of it is served

HOUR = int(time.time()) // 3600 * 3600
START, END = HOUR - 4 * 3600, HOUR - 3600
AT = datetime.fromtimestamp(START + 3600, UTC)
QUARTER = timedelta(minutes=15)


def one(start: Any = AT, end: Any = None, **members: Any) -> Readings:
    return Readings(intervals=(Reading(start=start, end=end or start + QUARTER, **members),))


def power(**members: Any) -> Readings:
    return Readings(live=Live(**{"measured_at": datetime.fromtimestamp(HOUR, UTC)} | members))


BACK = tuple(Reading(start=AT - QUARTER * step, end=AT - QUARTER * (step - 1), solar_wh=4321.0) for step in range(1000))
READINGS: dict[str, Readings] = {
    "production that is no number": one(solar_wh=math.nan),
    "production without end": one(solar_wh=math.inf),
    "production beyond all": one(solar_wh=1e308),
    "production below zero": one(solar_wh=-100.0),
    "production as text": one(solar_wh="4321"),
    "a device nobody knows": one(device_id="nope", solar_wh=4321.0),
    "a quality nobody knows": one(solar_wh=GOOD_WH, quality="great"),
    "times without an offset": one(AT.replace(tzinfo=None), solar_wh=4321.0),
    "an end before its start": one(AT, AT - timedelta(hours=1), solar_wh=4321.0),
    "the year 9999": one(datetime(9999, 12, 31, 23, 30, tzinfo=UTC), solar_wh=4321.0),
    "200 000 rows": Readings(intervals=BACK * 200),
    "rows that are none": Readings(intervals=None),  # type: ignore[arg-type]
    "live power that is no number": power(solar_w=math.nan),
    "live power without an offset": power(measured_at=datetime(2026, 1, 1), solar_w=4_321_000.0),
    "live power as text": power(solar_w="4321"),
    # and what is like them
    "an hour as a quarter": one(AT, AT + timedelta(hours=1), solar_wh=4321.0),
    "a quarter at twenty past": one(AT + timedelta(minutes=20), solar_wh=4321.0),
    "a row told twice": Readings(intervals=(*one(import_wh=4321.0).intervals, *one(import_wh=43210.0).intervals)),
    "a charge of 163 %": one(solar_wh=GOOD_WH, charge_wh=1.0, discharge_wh=1.0, soc_percent=163.0),
    "a truth for a number": one(import_wh=True),
    "beyond any float": one(import_wh=10**400),
    "a register of no known source": Readings(
        counters=(Counter(at=datetime.fromtimestamp(HOUR, UTC), solar_wh=4321.0, source={"a": 1}),)  # type: ignore[arg-type]
    ),
    "live power of a list": Readings(live=[4321]),  # type: ignore[arg-type]
    "warnings that are none": Readings(warnings=None),  # type: ignore[arg-type]
    "a warning with half a letter": Readings(warnings=("\ud800", "m" * 1_000_000, "a\0b")),
    "devices on the way that are none": Readings(devices=None),  # type: ignore[arg-type]
    "a new device on the way with half a letter": Readings(
        devices=(Device(vendor_id="b-2", kind=DeviceKind.METER, name="\ud800"),)
    ),
}


def good(query: ReadingsQuery) -> Readings:
    first = int(query.start.timestamp()) // 900 * 900
    starts = [datetime.fromtimestamp(at, UTC) for at in range(first, int(query.end.timestamp()) // 900 * 900, 900)]
    energies = dict.fromkeys(("solar_wh", "import_wh", "load_wh"), GOOD_WH)
    stored = {"export_wh": 0.0, "charge_wh": 0.0, "discharge_wh": 0.0, "soc_percent": 50.0}
    rows = [Reading(start=start, end=start + QUARTER, **energies, **stored) for start in starts]
    measured = Live(measured_at=datetime.fromtimestamp(now() - 60, UTC), solar_w=GOOD_W)
    return Readings(
        intervals=tuple(rows) if query.resolution == "15mins" else (), live=measured if query.live else None
    )


async def everything(api: httpx.AsyncClient) -> list[httpx.Response]:
    """Every read of the account, whatever ids it lists."""
    answers = [await api.get(path) for path in ("/enrollments", "/sites", "/sites?expand=true")]
    site_ids = [
        entry["id"] for listed in (await api.get("/enrollments")).json()["enrollments"] for entry in listed["sites"]
    ]
    span = {"start": f"{_time(START)}", "end": f"{_time(END)}"}
    for site_id in site_ids:
        answers += [await api.get(f"/sites/{site_id}"), await api.get(f"/sites/{site_id}/live")]
        for kind in ("solar", "battery", "meter"):
            for level in ("15mins", "hour", "day", "month"):
                asked = {**span, "summaryLevel": level, "provenance": "true"}
                answers.append(await api.get(f"/sites/{site_id}/{kind}-intervals", params=asked))
    for kind in ("batteries", "solar-inverters", "meters"):
        answers.append(listed := await api.get(f"/{kind}"))
        (devices,) = (value for value in listed.json().values() if isinstance(value, list))
        for device in devices[:20]:
            answers.append(await api.get(f"/{kind}/{device['id']}"))
            answers.append(
                await api.get(f"/{kind}/{device['id']}/intervals", params={**span, "summaryLevel": "15mins"})
            )
    return answers


def _time(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def assert_harmless(answers: list[httpx.Response], *, is_cut: bool = False) -> None:
    for answer in answers:
        said = f"{answer.request.url.path} {answer.status_code} {answer.text[:200]}"
        assert answer.status_code < 500 or "urn:joinder:problem#internal-error" not in answer.text, said
        assert answer.status_code != 500, said
        assert len(answer.content) < MOST_BYTES, said
        found = None if is_cut else OF_IT.search(answer.text)
        assert found is None, f"{found} of {answer.request.url.path}: {answer.text[:1000]}"


class Home:
    """A home that was read well, with what its API answered then."""

    def __init__(self, hub: Hub, vendors: Vendors, api: httpx.AsyncClient, site_id: str) -> None:
        self.hub, self.vendors, self.api, self.site_id = hub, vendors, api, site_id

    async def fetch(self) -> None:
        """As a poll does, whatever was asked before; what is refused as a whole is a VendorError."""
        ((account_id, enrollment_id),) = await self.hub.store.rows("SELECT account_id, enrollment_id FROM site", {})
        with contextlib.suppress(VendorError):
            row, _ = await reading_sites.get_site(self.hub, account_id, self.site_id)
            await reading_sites.refresh_site(self.hub, row)
        with contextlib.suppress(VendorError):
            row, devices = await reading_sites.get_site(self.hub, account_id, self.site_id)
            await reading.fetch(self.hub, row, devices, start=START, end=END, live=True)
        with contextlib.suppress(VendorError):
            await poll.poll(self.hub, enrollment_id)

    async def shown(self) -> dict[str, Any]:
        """What must stay as it was."""
        span = {"start": _time(START), "end": _time(END), "summaryLevel": "15mins"}
        found = {
            name: (await self.api.get(f"/sites/{self.site_id}/{name}", params=span)).json()
            for name in ("solar-intervals", "battery-intervals", "meter-intervals")
        }
        live = (await self.api.get(f"/sites/{self.site_id}/live")).json()
        site = (await self.api.get(f"/sites/{self.site_id}")).json()
        rows = {name: answer["intervals"] for name, answer in found.items()}
        return {**rows, "solarKw": live.get("solarKw"), **{name: site[name] for name in KEPT}}


KEPT = ("name", "location", "operationalSince", "solarInverters", "batteries", "meters")


@pytest.fixture
async def home(hub: Hub, vendors: Vendors, api: httpx.AsyncClient, browser: httpx.AsyncClient) -> Home:
    vendors.sunny.readings = good
    found = Home(hub, vendors, api, await connect_site(api, browser))
    await found.fetch()
    before = await found.shown()
    assert (len(before["solar-intervals"]), before["solarKw"]) == ((END - START) // 900, GOOD_W / 1000)
    return found


@pytest.mark.parametrize("name", SITES)
async def test_a_hostile_site_of_a_home_that_was_read_well(name: str, home: Home) -> None:
    before = await home.shown()
    home.vendors.sunny.homes = {"site-1": SITES[name]}
    for _ in range(2):
        await home.fetch()
        assert_harmless(await everything(home.api), is_cut=name in CUT)
    after = await home.shown()
    assert {key: after[key] for key in KEPT[3:]} == {key: before[key] for key in KEPT[3:]}
    if name.startswith(("a name that is n", "a latitude", "a zone", "a beginning", "devices", "20 000")):
        assert after == before


@pytest.mark.parametrize("name", some(SITES))
async def test_a_hostile_site_that_nobody_read_before(
    name: str, vendors: Vendors, api: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    vendors.sunny.homes, vendors.sunny.readings = {"site-1": SITES[name]}, good
    joined = await come_back(browser, await begin(browser, await new_flow(api)))
    assert joined.status_code == 303
    for _ in range(2):
        assert_harmless([joined, *await everything(api)], is_cut=name in CUT)


@pytest.mark.parametrize("name", some(READINGS, 2))
async def test_hostile_readings(name: str, home: Home) -> None:
    before = await home.shown()
    home.vendors.sunny.readings = lambda query: READINGS[name]
    for _ in range(2):
        await home.fetch()
        assert_harmless(await everything(home.api))
    after = await home.shown()
    kept = {key for key in before if not (key.endswith("intervals") and name in REPLACED)}
    new = {"meters"} if name.startswith("a new device") else set()
    assert {key: after[key] for key in kept - new} == {key: before[key] for key in kept - new}


REPLACED = {"a quality nobody knows", "a charge of 163 %"}  # the rest of the row counts, and is the vendor's last word


def test_there_are_as_many_as_were_tried_first() -> None:
    """52 of the review, 12 beside them."""
    assert (len(SITES), len(READINGS)) == (37, 15 + 12)
    print(
        f"\nhostile answers: {len(SITES)} sites, twice; {len(READINGS)} readings; {len(STATES) + len(ROWS)} stored rows"
    )


# What an earlier version stored

STATES: dict[str, str] = {
    "a power that is no number": '{"power_w": NaN, "lifetime_wh": NaN}',
    "a power without end": '{"power_w": Infinity, "lifetime_wh": 1e400}',
    "a mode nobody knows": '{"mode": "Turbo"}',
    "a charge of 163 %": '{"soc_percent": 163.0}',
    "a charge below zero": '{"soc_percent": -5.0}',
    "a lifetime beyond all": '{"lifetime_wh": 1e308}',
    "half a letter": '{"name": "\\ud800", "model": "\\ud800", "serial": "\\ud800"}',
    "a zero byte": '{"name": "a\\u0000b", "serial": "\\u0000"}',
    "a megabyte": json.dumps({"name": LONG, "model": "m" * 1_000_000}),
    "times without an offset": '{"reported_at": "2026-01-01T00:00:00", "lifetime_since": "2020-01-01"}',
    "times that are none": '{"reported_at": "yesterday", "lifetime_since": 5}',
    "the year 1": '{"reported_at": "0001-01-01T00:00:00Z"}',
    "beyond the calendar": '{"reported_at": "9999-12-31T23:59:59-12:00"}',
    "a kind nobody knows": '{"kind": "toaster"}',
    "a role nobody knows": '{"role": "roof"}',
    "texts for numbers": '{"power_w": "5", "nameplate_wh": "x", "soc_percent": true, "max_power_w": [4321]}',
    "faults as one text": '{"faults": "4321"}',
    "100 000 faults": json.dumps({"faults": ["mmmmmmmm"] * 100_000}),
    "a list": "[4321]",
    "nothing": "null",
    "a number": "4321",
    "no text at all": '{"name": null, "vendor_id": null, "stale": "yes", "is_peak": 5}',
}


@pytest.mark.parametrize("name", some(STATES, 2))
async def test_a_device_stored_by_a_version_that_checked_nothing(name: str, home: Home) -> None:
    if home.hub.store.dialect == "postgresql" and ("NaN" in STATES[name] or "Infinity" in STATES[name]):
        pytest.skip("PostgreSQL never took it")
    async with home.hub.store.write() as session:
        await session.execute(text("UPDATE device SET state = :state"), {"state": STATES[name]})
    cut = name in ("a megabyte", "100 000 faults")
    assert_harmless(await everything(home.api), is_cut=cut)
    await home.fetch()
    assert_harmless(await everything(home.api), is_cut=cut)
    await home.hub.store.apply(("UPDATE device SET kind = 'toaster' WHERE kind = 'meter'", {}))
    assert_harmless(await everything(home.api), is_cut=cut)
    await home.fetch()


Change = tuple[str, dict[str, Any]]
_ROW = "UPDATE interval SET {} WHERE subject_id IN (SELECT id FROM site) AND resolution = '15mins'"
_ONE = f"{_ROW} AND start = {START + 3600}"
ROWS: dict[str, Change] = {
    "production without end": (_ONE.format("solar_wh = :value"), {"value": math.inf}),
    "production that is no number": (_ONE.format("solar_wh = :value"), {"value": math.nan}),
    "production beyond all": (_ONE.format("solar_wh = :value, import_wh = :value"), {"value": 1e308}),
    "production below zero": (_ONE.format("solar_wh = :value, charge_wh = :value"), {"value": -5000.0}),
    "a charge of 163 %": (_ONE.format("soc_percent = :value"), {"value": 163.0}),
    "all of them beyond": (_ROW.format("solar_wh = :value, load_wh = :value"), {"value": 1e9}),
    "a quality nobody knows": (_ONE.format("quality = :value"), {"value": "great"}),
    "an hour as a quarter": (_ONE.format('solar_wh = 4321000, "end" = start + 3600'), {}),
    "an end before its start": (_ONE.format('solar_wh = 4321000, "end" = start - 3600'), {}),
    "a quarter at twenty past": (_ONE.format('solar_wh = 4321000, start = start + 1200, "end" = "end" + 1200'), {}),
    "live power without end": ("UPDATE live SET solar_w = :value, grid_w = :value", {"value": math.inf}),
    "live power that is no number": ("UPDATE live SET solar_w = :value", {"value": math.nan}),
    "live power beyond all": ("UPDATE live SET solar_w = :value, soc_percent = 163.0", {"value": 1e308}),
    "live power of the year 9999": ("UPDATE live SET measured_at = 253402300800", {}),
    "live power before the year 1": ("UPDATE live SET measured_at = -99999999999999", {}),
    "a latitude without end": ("UPDATE site SET lat = :value, lon = :value", {"value": math.inf}),
    "a name of a megabyte": ("UPDATE site SET name = :value", {"value": LONG}),
    "a zone nobody knows": ("UPDATE site SET timezone = :value", {"value": "Mars/Phobos"}),
    "a zone of a megabyte": ("UPDATE site SET timezone = :value", {"value": "E" * 1_000_000}),
    "a beginning in the year 1": ("UPDATE site SET operational_since = :value", {"value": -62_135_596_800}),
    "a beginning beyond the calendar": ("UPDATE site SET operational_since = :value", {"value": 999_999_999_999_999}),
    "a grant that ends beyond the calendar": (
        'UPDATE "grant" SET expires_at = 253402343999, state = :value',
        {"value": "x"},
    ),
    "a register below zero": (
        "INSERT INTO counter (subject_id, at, solar_wh) SELECT id, :at, :value FROM site",
        {"at": HOUR - 600, "value": -5000.0},
    ),
}


@pytest.mark.parametrize("name", some(ROWS, 2))
async def test_a_row_stored_by_a_version_that_checked_nothing(name: str, home: Home) -> None:
    statement, values = ROWS[name]
    await home.hub.store.apply((statement, values))
    home.vendors.sunny.readings = registers
    for _ in range(2):
        assert_harmless(await everything(home.api), is_cut=name == "a name of a megabyte")
        await home.fetch()
    shown = await home.shown()
    assert len(shown["solar-intervals"]) >= (END - START) // 900 - 4 or name == "all of them beyond"


async def test_a_text_in_a_column_of_numbers(home: Home) -> None:
    """SQLite keeps it."""
    if home.hub.store.dialect == "postgresql":
        pytest.skip("PostgreSQL never took it")
    await home.hub.store.apply((_ONE.format("solar_wh = :value"), {"value": "great"}))
    assert_harmless(await everything(home.api))


async def test_a_refused_value_that_was_stored_is_said_to_be_missing(home: Home) -> None:
    await home.hub.store.apply((_ONE.format("solar_wh = :value"), {"value": 1e9}))
    span = {"start": _time(START), "end": _time(END), "summaryLevel": "15mins"}
    answer = (await home.api.get(f"/sites/{home.site_id}/solar-intervals", params=span)).json()
    assert (answer["complete"], len(answer["intervals"])) == (False, (END - START) // 900 - 1)
    assert [entry["why"] for entry in answer["missing"]] == ["refused"]


def registers(query: ReadingsQuery) -> Readings:
    at = datetime.fromtimestamp(now(), UTC)
    return Readings(counters=(Counter(at=at, solar_wh=10_000.0, import_wh=5.0),))


# Grants


class Renewing(FakeVendor):
    """Hands over a new token, with whatever beside it."""

    beside: dict[str, Any] = {}  # noqa: RUF012

    @hookimpl
    async def refresh(self, ctx: Context, grant: Grant) -> Grant:
        return Grant(**{"secrets": Secrets({"access_token": "a-fresh-token"})} | self.beside)


@pytest.fixture
def vendors() -> Vendors:
    return Vendors(sunny=Renewing(SUNNY))


BESIDE: dict[str, dict[str, Any]] = {
    "a naive expiry": {"expires_at": datetime(2026, 7, 1), "refresh_expires_at": datetime(2026, 7, 1)},
    "an expiry as text": {"expires_at": "2026-07-01T00:00:00Z"},
    "an expiry beyond the calendar": {"expires_at": datetime.max.replace(tzinfo=UTC)},
    "sites that are numbers": {"site_ids": (5, None, {"a": 1})},
    "sites that are none": {"site_ids": None},
    "a state as text": {"state": "pending"},
    "facts nobody can write down": {"facts": {"serial": "\ud800", "n": 5}},
    "facts that are none": {"facts": 5},
    "a second secret nobody can write down": {"secrets": Secrets({"access_token": "a-fresh-token", "b": "\ud800"})},
}


@pytest.mark.parametrize("name", BESIDE)
async def test_a_renewed_token_is_stored_whatever_stands_beside_it(
    name: str, hub: Hub, vendors: Vendors, api: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    enrollment_id = await connect(api, browser)
    vendors.sunny.beside = BESIDE[name]  # type: ignore[attr-defined]
    for _ in range(2):
        answer = await api.post(f"/enrollments/{enrollment_id}/refresh")
        assert answer.status_code == 200, answer.text
        held = await open_for_call(hub, enrollment_id)
        assert dict(held.grant.secrets) == {"access_token": "a-fresh-token"}
        assert held.grant.site_ids == ("site-1",)  # those of the consent, whatever an odd list of a renewal says
    assert (await api.get(f"/enrollments/{enrollment_id}")).json()["health"]["state"] != "needs_consent"
