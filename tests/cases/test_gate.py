"""The gate at the boundary of each of its rules, and before whatever can be made up (tests/made_up.py)."""

from __future__ import annotations

import logging
import math
from collections import Counter as Counts
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar, get_args
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import structs

from api.fakes import SUNNY
from effort import examples
from joinder import hookimpl
from joinder.clean import clean_line
from joinder.energy import (
    ENERGY_METRICS,
    Counter,
    Device,
    DeviceKind,
    Live,
    MeterRole,
    Mode,
    Quality,
    Reading,
    Readings,
    ReadingsQuery,
    Site,
)
from joinder.errors import PluginBug, UnexpectedPayload
from joinder.grants import Callback, Consent, Context, Grant, GrantState
from joinder.physics import MOST_W, NO_LOAD
from joinder.redact import Secrets
from joinder.series import day_span
from joinder.services.readings.counters import Sample, jumps
from joinder.services.readings.day_totals import disagree
from joinder.vendor import Vendor
from joinder.vendors.gate.rules import SENTENCES, Rule
from joinder.vendors.registry import Registry
from made_up import (
    BATTERY,
    BIG,
    INVERTER,
    METER,
    NOW,
    SINCE,
    SITE,
    LongerReading,
    Nowhere,
    Odd,
    Stamp,
    Touchy,
    TouchyReading,
    Word,
    Yes,
    consents,
    grants,
    readings,
    sites,
)

T = TypeVar("T")
QUARTER = timedelta(minutes=15)
QUERY = ReadingsQuery(site=SITE, start=SINCE, end=NOW + timedelta(hours=2))
NAMELESS = structs.replace(SITE, devices=(structs.replace(INVERTER, max_power_w=None), BATTERY, METER))
AT = NOW - timedelta(hours=1)
GRANT = Grant(secrets=Secrets({"access_token": "a-token"}))


class Plugin:
    """Answers what it is told to, at every door."""

    answer: Any = None

    @hookimpl
    def describe_vendor(self) -> Vendor:
        return SUNNY

    @hookimpl
    def build_authorize_url(self, ctx: Any, request: Any) -> Any:
        return self.answer

    @hookimpl
    def handle_callback(self, ctx: Any, callback: Any) -> Any:
        return self.answer

    @hookimpl
    def refresh(self, ctx: Any, grant: Any) -> Any:
        return self.answer

    @hookimpl
    def fetch_site(self, ctx: Any, grant: Any, site_id: Any) -> Any:
        return self.answer

    @hookimpl
    def fetch_readings(self, ctx: Any, grant: Any, query: Any) -> Any:
        return self.answer


PLUGIN, REGISTRY = Plugin(), Registry()


def context_at(moment: datetime) -> Context:
    """A context that lends nothing but a clock: what is tried here calls nobody."""
    nothing: Any = None
    log = logging.getLogger("joinder.test")
    return Context(http=nothing, device=nothing, app=None, app_token=nothing, options={}, now=lambda: moment, log=log)


CTX = context_at(NOW)
assert REGISTRY.add("sunny", PLUGIN).problem is None


def through(call: Coroutine[Any, Any, T], answer: object) -> T:
    """What core takes of the answer; nothing in it waits, so no loop is needed."""
    PLUGIN.answer = answer
    try:
        call.send(None)
    except StopIteration as end:
        found: T = end.value
        return found
    raise AssertionError("it waited")


def gated(answer: object, query: ReadingsQuery = QUERY) -> Readings:
    return through(REGISTRY.fetch_readings("sunny", CTX, GRANT, query), answer)


def gated_site(answer: object) -> Site:
    return through(REGISTRY.fetch_site("sunny", CTX, GRANT, "site-1"), answer)


def renewed(answer: object, before: Grant = GRANT) -> Grant:
    return through(REGISTRY.refresh("sunny", CTX, before), answer)


def consented(answer: object) -> Consent:
    return through(REGISTRY.handle_callback("sunny", CTX, Callback(values=Secrets({}))), answer)


def row(start: Any = AT, end: Any = None, **members: Any) -> Reading:
    return Reading(start=start, end=end or start + QUARTER, **members)


CAR = Device(vendor_id="car-1", kind=DeviceKind.CHARGER, max_power_w=11_000.0)
UNTOLD_CAR = structs.replace(CAR, max_power_w=None)
BESIDE = row(SINCE, import_wh=12.5, load_wh=12.5)  # sound, and counts whatever stands beside it


def told(*rows: Any, **members: Any) -> Readings:
    return Readings(intervals=(BESIDE, *rows), **members)


def device(**members: Any) -> Device:
    return Device(**{"vendor_id": "new-1", "kind": DeviceKind.BATTERY} | members)


def home(*devices: Any, **members: Any) -> Site:
    return structs.replace(SITE, **({"devices": devices} if devices else {}) | members)


def live(**members: Any) -> Readings:
    return told(live=Live(measured_at=members.pop("measured_at", NOW), **{"solar_w": 50.0} | members))


def register(**members: Any) -> Readings:
    return told(counters=(Counter(**{"at": NOW, "solar_wh": 5.0} | members),))


@dataclass(frozen=True)
class Edge:
    """`inside` passes as it is, `outside` is refused by the rule and by no other."""

    rule: Rule
    what: str
    inside: Any
    outside: Any
    query: ReadingsQuery = QUERY

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


def edges(rule: Rule, *found: tuple[Any, ...]) -> list[Edge]:
    return [Edge(rule, *one) for one in found]


def around(watts: float) -> Readings:
    """Rows of 1.5 kW, and in their midst one of so many W."""
    rows = [row(AT + QUARTER * step, solar_wh=375.0) for step in (-3, -2, -1, 1, 2, 3)]
    return told(*rows, row(AT, solar_wh=watts / 4))


UNKNOWN_SIZE = structs.replace(QUERY, site=NAMELESS)
OF_INVERTER = structs.replace(QUERY, device_id="inv-1")
SHARED_ID = structs.replace(QUERY, site=home(INVERTER, device(vendor_id="inv-1")))
BERLIN_DAYS = structs.replace(QUERY, resolution="day", start=NOW - timedelta(days=9))
MOST_WH = MOST_W / 4
THE_DAY = day_span(date(2026, 6, 13), ZoneInfo("Europe/Berlin"))
EDGES = [
    *edges(
        Rule.SHAPE,
        ("a row", told(row()), told({"start": AT})),
        ("a row of another kind", told(), told(SITE)),
        ("a quality", told(row(solar_wh=1.0, quality="estimated")), told(row(solar_wh=1.0, quality="great"))),
        ("a quality that is none", told(), told(row(solar_wh=1.0, quality=[]))),
        ("power", live(), told(live={"solar_w": 5.0})),
        ("a register", register(), told(counters=(5,))),
        ("which register", register(source="sum"), register(source={"a": 1})),
        ("which register, endless", register(source="s" * 256), register(source="s" * 257)),
        ("a mode", home(device(mode="Backup")), home(device(mode="Turbo"))),
        ("a mode that is none", home(device(mode=None)), home(device(mode=["Backup"]))),
        ("a role", home(device(role=MeterRole.GRID)), home(device(role="roof"))),
        ("faults", home(device(faults=("x",))), home(device(faults="abc"))),
        ("warnings", home(warnings=("x",)), home(warnings=None)),
        ("a warning", told(warnings=("x",)), told(warnings=("x", 5))),
    ),
    *edges(
        Rule.TIMES,
        ("an offset", told(row()), told(row(AT.replace(tzinfo=None)))),
        ("an end's offset", told(row()), told(row(AT, (AT + QUARTER).replace(tzinfo=None)))),
        ("an offset nobody knows", told(row()), told(row(AT.replace(tzinfo=Nowhere())))),
        ("a length", told(row()), told(row(AT, AT))),
        ("a direction", told(row()), told(row(AT, AT - QUARTER))),
        ("a time", told(row()), told(row(AT, AT.isoformat()))),
        ("a day", told(row()), told(row(AT, AT.date()))),
        ("the year 9999", told(), told(row(datetime.max.replace(tzinfo=ZoneInfo("America/New_York")), NOW))),
        ("a register's time", register(), register(at=NOW.replace(tzinfo=None))),
        ("power's time", live(), live(measured_at=NOW.replace(tzinfo=None))),
        ("since 1990", home(operational_since=datetime(1990, 1, 1, tzinfo=UTC)),
         home(operational_since=datetime(1989, 12, 31, 23, 59, tzinfo=UTC))),
        ("since the year 1", home(), home(operational_since=datetime(1, 1, 1, tzinfo=UTC))),
        ("since a text", home(), home(operational_since="2020")),
        ("a report's time", home(device(reported_at=NOW)), home(device(reported_at=5))),
    ),
    *edges(
        Rule.UNALIGNED,
        ("a whole quarter", told(row()), told(row(AT + timedelta(seconds=1)))),
        ("a microsecond", told(row()), told(row(AT, AT + QUARTER + timedelta(microseconds=1)))),
        ("an hour", told(row()), told(row(AT, AT + timedelta(hours=1)))),
        ("twenty past", told(row(AT + QUARTER)), told(row(AT + timedelta(minutes=20)))),
        ("a local day", Readings(intervals=(row(*THE_DAY, import_wh=1.0),)),
         Readings(intervals=(row(THE_DAY[0] + timedelta(hours=2), THE_DAY[1] + timedelta(hours=2)),)), BERLIN_DAYS),
        ("a whole day", Readings(), Readings(intervals=(row(THE_DAY[0], THE_DAY[1] - QUARTER),)), BERLIN_DAYS),
    ),
    *edges(
        Rule.OUTSIDE,
        ("the beginning", told(row(SINCE + QUARTER)), told(row(SINCE - QUARTER))),
        ("the end", told(row(AT - QUARTER)), told(row(AT)), structs.replace(QUERY, end=AT)),
        ("the year 1", told(), told(row(datetime(1, 1, 1, tzinfo=UTC)))),
    ),
    *edges(
        Rule.FUTURE,
        ("a row", told(row(NOW - QUARTER)), told(row(NOW + QUARTER))),
        ("the year 9999", told(), told(row(datetime(9999, 12, 31, 23, 30, tzinfo=UTC)))),
        ("power", live(measured_at=NOW + timedelta(minutes=5)), live(measured_at=NOW + timedelta(seconds=301))),
        ("a register", register(at=NOW + timedelta(minutes=5)), register(at=NOW + timedelta(minutes=6))),
        ("a site", home(operational_since=NOW), home(operational_since=NOW + timedelta(days=1))),
        ("a report", home(device(reported_at=NOW)), home(device(reported_at=datetime.max.replace(tzinfo=UTC)))),
    ),
    *edges(
        Rule.SUBJECT,
        ("a device", told(row(device_id="inv-1")), told(row(device_id="nope"))),
        ("an id that is none", told(), told(row(device_id=5))),
        ("an id that cannot be looked up", told(), told(row(device_id=[]))),
        ("an id like any", told(), told(row(device_id=Yes()))),
        ("a register's device", register(device_id="inv-1"), register(device_id="nope")),
        ("the site's row for a device", Readings(intervals=(row(device_id="inv-1"),)),
         Readings(intervals=(row(),)), OF_INVERTER),
        ("another device's row", Readings(), Readings(intervals=(row(device_id="bat-1"),)), OF_INVERTER),
        ("an id two devices share", told(), told(row(device_id="inv-1")), SHARED_ID),
    ),
    *edges(
        Rule.TWICE,
        ("the same twice", told(row(import_wh=1.0)), told(row(import_wh=1.0), row(import_wh=1.5))),
        ("three times", told(), told(row(import_wh=1.0), row(import_wh=1.5), row(import_wh=1.0))),
        ("two devices", told(row(device_id="bat-1"), row(device_id="inv-1")),
         told(row(device_id="inv-1", solar_wh=1.0), row(device_id="inv-1", solar_wh=2.0))),
    ),
    *edges(
        Rule.NUMBER,
        *((f"{name} from 0", told(row(**{name: 0.0, "soc_percent": 5.0})), told(row(**{name: -300.0})))
          for name in ENERGY_METRICS),
        ("an import up to 100 MW", told(row(import_wh=MOST_WH)), told(row(import_wh=MOST_WH * 1.0001))),
        ("no number", told(row(import_wh=5)), told(row(import_wh=math.nan))),
        ("endless", told(), told(row(import_wh=math.inf))),
        ("beyond any float", told(), told(row(import_wh=10**400))),
        ("beyond any float, below", told(), told(row(solar_wh=-(10**400)))),
        ("a truth", told(), told(row(import_wh=True))),
        ("a text", told(), told(row(import_wh="5"))),
        ("beside a sound one", told(row(import_wh=1.0, export_wh=0.0)), told(row(import_wh=1.0, export_wh=-1.0))),
        ("power up to 100 MW", live(grid_w=-MOST_W), live(grid_w=-MOST_W * 1.0001)),
        ("power that is none", live(), live(battery_w=math.nan)),
        ("solar power down to standby", live(solar_w=0.0), live(solar_w=-50.5)),
        ("a register from 0", register(solar_wh=0.0), register(solar_wh=-0.5)),
        ("a register's most", register(solar_wh=1e13), register(solar_wh=1.1e13)),
        ("a device's power", home(device(power_w=-MOST_W)), home(device(power_w="5"))),
        ("a lifetime", home(device(lifetime_wh=1e13)), home(device(lifetime_wh=1e308))),
        ("a capacity", home(device(nameplate_wh=1.0)), home(device(nameplate_wh="x"))),
        ("a latitude", home(lat=90.0, lon=180.0), home(lat=90.5, lon=5.0)),
        ("a longitude", home(lat=-90.0, lon=-180.0), home(lat=5.0, lon=-180.5)),
        ("no latitude", home(lat=None, lon=None), home(lat=math.nan, lon=5.0)),
    ),
    *edges(
        Rule.CHARGE,
        ("of a row, to 100", told(row(soc_percent=100.0)), told(row(soc_percent=100.5))),
        ("of a row, from 0", told(row(soc_percent=0.0)), told(row(soc_percent=-0.5))),
        ("of a device", home(device(soc_percent=100.0)), home(device(soc_percent=163.0))),
        ("of a site", live(soc_percent=0.0), live(soc_percent=math.nan)),
        ("of a register", register(soc_percent=100.0), register(soc_percent=1e308)),
    ),
    *edges(
        Rule.TEXT,
        ("a name", home(name="n" * 200), home(name="n" * 201)),
        ("an endless name", home(), home(name=BIG)),
        ("no name", home(name="x"), home(name=None)),
        ("a number", home(), home(name=5)),
        ("a model", home(device(model="m" * 200)), home(device(model=BIG))),
        ("a serial", home(device(serial="5")), home(device(serial=5))),
        ("a fault", home(device(faults=("f" * 200,))), home(device(faults=("f" * 201,)))),
    ),
    *edges(
        Rule.TOO_MANY,
        ("faults", home(device(faults=("x",) * 20)), home(device(faults=("x",) * 21))),
        ("endless faults", home(), home(device(faults=("x",) * 100_000))),
        ("warnings", told(warnings=tuple(map(str, range(50)))), told(warnings=tuple(map(str, range(51))))),
    ),
    *edges(
        Rule.DEVICE,
        ("twice", home(device(), device(vendor_id="new-2")), home(device(), device())),
        ("a kind", home(device(), device(kind=DeviceKind.METER)), home(device(), device(kind="toaster"))),
        ("no kind", home(), home(device(kind=None))),
        ("an id", home(device(vendor_id="i" * 256)), home(device(vendor_id="i" * 257))),
        ("no id", home(), home(device(vendor_id=None))),
        ("an empty id", home(), home(device(vendor_id=""))),
        ("an id that steers", home(), home(device(vendor_id="a\x1b[2J"))),
        ("half a letter", home(), home(device(vendor_id="\ud800"))),
        ("another thing", home(), home({"a": 1})),
    ),
    *edges(
        Rule.ZONE,
        ("known", home(timezone="Australia/Lord_Howe"), home(timezone="Mars/Phobos")),
        ("a path", home(timezone=None), home(timezone="../../../etc/passwd")),
        ("a folder", home(), home(timezone="Europe")),
        ("a number", home(), home(timezone=7)),
        ("endless", home(), home(timezone=BIG)),
        ("a zero byte", home(), home(timezone="Europe/\0Berlin")),
    ),
    *edges(
        Rule.NAMEPLATE,
        ("a row of the site", told(row(solar_wh=1625.0)), told(row(solar_wh=1625.5))),
        ("a row of the device", told(row(device_id="inv-1", solar_wh=1625.0)),
         told(row(device_id="inv-1", solar_wh=1625.5))),
        ("power", live(solar_w=6500.0), live(solar_w=6501.0)),
        ("a device's power", home(structs.replace(INVERTER, power_w=6500.0)),
         home(structs.replace(INVERTER, power_w=6501.0))),
        ("a size the answer does not repeat", told(row(solar_wh=1625.0), devices=(INVERTER,)),
         told(row(solar_wh=1625.5), devices=(structs.replace(INVERTER, max_power_w=None),))),
    ),
    *edges(
        Rule.CHARGER,
        ("a row of the site", told(row(charger_wh=3575.0), devices=(CAR,)),
         told(row(charger_wh=3575.5), devices=(CAR,))),
        ("a row of the device", told(row(device_id="car-1", charger_wh=3575.0), devices=(CAR,)),
         told(row(device_id="car-1", charger_wh=3575.5), devices=(CAR,))),
        ("one that does not tell its size", told(row(charger_wh=125_000.0), devices=(UNTOLD_CAR,)),
         told(row(charger_wh=125_001.0), devices=(UNTOLD_CAR,))),
        ("its own row", told(row(device_id="car-1", charger_wh=125_000.0), devices=(UNTOLD_CAR,)),
         told(row(device_id="car-1", charger_wh=125_001.0), devices=(UNTOLD_CAR,))),
    ),
    *edges(
        Rule.CARS_BEYOND_LOAD,
        ("more than clocks can differ", told(row(charger_wh=1300.0, load_wh=1000.0)),
         told(row(charger_wh=1301.0, load_wh=1000.0))),
        ("a load without its cars", told(row(charger_wh=0.0, load_wh=0.0)), told(row(charger_wh=5.0, load_wh=0.0))),
        ("a load that lies elsewhere", told(row(device_id="car-1", charger_wh=1301.0), devices=(CAR,)),
         told(row(charger_wh=1301.0, load_wh=1000.0), devices=(CAR,))),
    ),
    *edges(
        Rule.SPIKE,
        ("20 times its neighbours", around(30_000.0), around(30_001.0), UNKNOWN_SIZE),
        ("two beside each other",
         told(row(AT, solar_wh=375.0), row(AT + QUARTER, solar_wh=5000.0), row(AT + 2 * QUARTER, solar_wh=5000.0)),
         told(row(AT, solar_wh=250.0), row(AT + QUARTER, solar_wh=7500.0), row(AT + 2 * QUARTER, solar_wh=9e5)),
         UNKNOWN_SIZE),
    ),
    *edges(
        Rule.CAPACITY,
        ("charged", told(row(charge_wh=13_000.0)), told(row(charge_wh=13_001.0))),
        ("discharged", told(row(discharge_wh=13_000.0)), told(row(discharge_wh=13_001.0))),
    ),
    *edges(
        Rule.LOAD,
        ("power", live(solar_w=1000.0, battery_w=0.0, grid_w=-1020.0, load_w=0.0),
         live(solar_w=1000.0, battery_w=0.0, grid_w=-1021.0, load_w=-21.0)),
        ("power cut off at 0", live(), live(solar_w=1000.0, battery_w=0.0, grid_w=-1021.0, load_w=0.0)),
        ("a row", told(row(**dict.fromkeys(ENERGY_METRICS, 0.0) | {"solar_wh": 1000.0, "export_wh": 1020.0})),
         told(row(**dict.fromkeys(ENERGY_METRICS, 0.0) | {"solar_wh": 1000.0, "export_wh": 1021.0}))),
    ),
]  # fmt: skip
OF_SERVICES = {Rule.REGISTER_JUMP: 2, Rule.DAY_DISAGREES: 4}  # inputs beside the table


@pytest.mark.parametrize("edge", EDGES, ids=str)
def test_a_rule_at_its_boundary(edge: Edge) -> None:
    passing = gate(edge.inside, edge.query)
    assert passing.refused == ()
    assert passing == in_order(edge.inside)
    refusing = gate(edge.outside, edge.query)
    assert {one.rule for one in refusing.refused} == {str(edge.rule)}
    assert all(one.text.startswith(SENTENCES[edge.rule]) and one.count > 0 for one in refusing.refused)
    assert_within(refusing, edge.query)
    if isinstance(refusing, Readings) and isinstance(edge.outside, Readings) and BESIDE in edge.outside.intervals:
        assert BESIDE in refusing.intervals


def gate(answer: Any, query: ReadingsQuery) -> Any:
    return gated_site(answer) if isinstance(answer, Site) else gated(answer, query)


def in_order(answer: Any) -> Any:
    """As told, each row once and in order, both of which no rule says a word about."""
    if isinstance(answer, Site):
        return answer
    rows = {(one.start, one.device_id or ""): one for one in answer.intervals}
    return structs.replace(answer, intervals=tuple(rows[key] for key in sorted(rows)))


def test_what_a_register_cannot_run() -> None:
    """Judged where registers become rows, as one answer holds one of them alone."""
    inside, outside = (
        [Sample(at, {"solar_wh": wh}) for at, wh in ((0, 0.0), (900, 100.0), (1800, 100.0 + step))]
        for step in (1625.0, 1625.5)
    )
    assert jumps(inside, nameplate_w=5000.0) == []
    assert [(one.metric, one.start) for one in jumps(outside, nameplate_w=5000.0)] == [("solar_wh", 900)]


def test_registers_of_one_moment_that_differ_are_none() -> None:
    """Whichever came last would count, and a metric that only the other one tells would be lost without a word."""
    one = Counter(at=NOW, solar_wh=5.0)
    others = (structs.replace(one, solar_wh=6.0), Counter(at=NOW, import_wh=5.0), structs.replace(one, source="sum"))
    for other in others:
        found = gated(told(counters=(one, other)))
        assert found.counters == ()
        assert [refusal.rule for refusal in found.refused] == [Rule.TWICE]
    assert gated(told(counters=(one, one))).counters == (one,)
    assert len(gated(told(counters=(one, structs.replace(one, device_id="inv-1")))).counters) == 2


def test_a_day_that_is_not_its_quarter_hours() -> None:
    """2 %, and at least the 10 Wh that rounding makes."""
    assert not disagree(1000.0, 1020.0)
    assert disagree(1000.0, 1021.0)
    assert not disagree(5.0, 15.0)
    assert disagree(5.0, 15.5)


def test_every_rule_has_its_boundary() -> None:
    found = Counts(OF_SERVICES)
    for edge in EDGES:
        found[edge.rule] += 2
    assert set(found) == set(Rule)
    print(f"\ngate: {found.total()} inputs;", ", ".join(f"{rule} {count}" for rule, count in sorted(found.items())))


WHOLE: dict[str, tuple[Any, ReadingsQuery]] = {
    "no rows": (Readings(intervals=None), QUERY),  # type: ignore[arg-type]
    "rows in a dict": (Readings(intervals={}), QUERY),  # type: ignore[arg-type]
    "endless rows": (Readings(intervals=(row(),) * 200_000), QUERY),
    "no registers": (Readings(counters=7), QUERY),  # type: ignore[arg-type]
    "endless registers": (Readings(counters=(Counter(at=NOW),) * 1000), QUERY),
    "no devices": (Readings(devices=None), QUERY),  # type: ignore[arg-type]
    "a site's no devices": (home(devices=None), QUERY),
    "2501 devices": (home(*(device(vendor_id=str(number)) for number in range(2501))), QUERY),
    "another site": (home(vendor_id="site-2"), QUERY),
    "touchy rows": (told(TouchyReading(start=AT, end=AT + QUARTER)), QUERY),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_useless_whole_is_one_error(name: str) -> None:
    answer, query = WHOLE[name]
    with pytest.raises((UnexpectedPayload, PluginBug)):
        gate(answer, query)


def test_as_many_as_there_can_be_pass() -> None:
    assert len(gated_site(home(*(device(vendor_id=str(number)) for number in range(2500)))).devices) == 2500
    with pytest.raises(UnexpectedPayload):
        gated_site(home(*(device(vendor_id=str(number)) for number in range(20_000))))


def test_a_number_of_a_type_of_its_own_is_judged_by_what_it_is() -> None:
    *_, found = gated(told(row(solar_wh=Odd(5.0), import_wh=Odd(1e300)))).intervals
    assert (found.solar_wh, found.import_wh) == (5.0, None)
    assert gated(live(solar_w=Odd(5.0))).live == Live(measured_at=NOW, solar_w=5.0)


def test_what_is_equal_to_everything_is_no_quality_and_no_list() -> None:
    *_, found = gated(told(row(solar_wh=5.0, quality=Yes(), lacks=Yes()))).intervals
    assert (found.quality, found.lacks) == ("estimated", ())
    *_, found = gated(told(row(solar_wh=5.0, lacks=Yes()))).intervals
    assert (found.quality, found.lacks) == ("measured", ())


def test_a_row_of_a_type_of_its_own_becomes_a_row() -> None:
    (found,) = gated(Readings(intervals=(LongerReading(start=AT, end=AT + QUARTER, solar_wh=5.0, more=BIG),))).intervals
    assert (type(found), found) == (Reading, row(solar_wh=5.0))
    stamps = Reading(start=Stamp(2026, 6, 15, 11, tzinfo=UTC), end=AT + QUARTER, device_id=Word("inv-1"))
    (found,) = gated(Readings(intervals=(stamps,))).intervals
    assert (type(found.start), type(found.device_id), found) == (datetime, str, row(device_id="inv-1"))


def test_standby_is_zero_without_a_word() -> None:
    found = gated(told(row(solar_wh=-12.5), live=Live(measured_at=NOW, solar_w=-50.0)))
    assert (found.intervals[-1].solar_wh, found.refused) == (0.0, ())
    assert found.live is not None
    assert found.live.solar_w == 0.0


def test_a_load_cut_off_at_zero_says_nothing_of_cars() -> None:
    members = dict.fromkeys(ENERGY_METRICS, 0.0) | {"solar_wh": 1000.0, "export_wh": 2000.0, "charger_wh": 2000.0}
    found = gated(told(row(**members)))
    (judged,) = [one for one in found.intervals if one.start == AT]
    assert (judged.charger_wh, judged.load_wh) == (2000.0, None)
    assert [one.rule for one in found.refused] == [str(Rule.LOAD)]


def test_a_row_that_is_not_over_is_partial() -> None:
    (found,) = gated(Readings(intervals=(row(NOW, import_wh=1.0),))).intervals
    assert (found.quality, found.rule) == ("partial", "running")


def test_a_plugin_that_found_the_load_impossible_need_not_say_so_and_core_says_it_once() -> None:
    assert gated(told(row(solar_wh=1.0, rule="load_below_zero"))).warnings == (NO_LOAD,)
    parts = dict.fromkeys(ENERGY_METRICS, 0.0) | {"export_wh": 500.0}
    assert gated(told(row(**parts))).warnings == ()


CHANGES = [
    (zone, day + timedelta(days=days))
    for zone, day in (
        ("Europe/Berlin", date(2026, 3, 29)),
        ("Europe/Berlin", date(2026, 10, 25)),
        ("Australia/Lord_Howe", date(2026, 4, 5)),
        ("Australia/Lord_Howe", date(2026, 10, 4)),
        ("America/New_York", date(2026, 3, 8)),
        ("America/New_York", date(2026, 11, 1)),
        ("America/Havana", date(2026, 3, 8)),
        ("America/Havana", date(2026, 11, 1)),
        ("Asia/Beirut", date(2026, 10, 25)),
    )
    for days in (-1, 0, 1)
]


def days_of(zone: str, resolution: Any = "day") -> ReadingsQuery:
    site = structs.replace(SITE, timezone=zone)
    return ReadingsQuery(
        site=site, start=datetime(2026, 1, 1, tzinfo=UTC), end=datetime(2027, 1, 1, tzinfo=UTC), resolution=resolution
    )


def later(answer: object, query: ReadingsQuery) -> Readings:
    """In a year when all of it is over."""
    ctx = context_at(datetime(2027, 6, 1, tzinfo=UTC))
    return through(REGISTRY.fetch_readings("sunny", ctx, GRANT, query), answer)


@pytest.mark.parametrize(("zone", "day"), CHANGES)
@pytest.mark.parametrize("is_utc", [True, False])
def test_a_day_is_from_midnight_to_midnight_where_the_home_is(zone: str, day: date, is_utc: bool) -> None:
    where, query = ZoneInfo(zone), days_of(zone)
    start, end = day_span(day, where)
    spans = (start, end) if is_utc else (start.astimezone(where), end.astimezone(where))
    found = later(Readings(intervals=(row(*spans, import_wh=1.0),)), query)
    assert (found.refused, [(one.start, one.end) for one in found.intervals]) == ((), [(start, end)])
    for off in (QUARTER, -QUARTER, timedelta(minutes=30), timedelta(hours=1), -timedelta(hours=1)):
        for wrong in (row(start + off, end + off), row(start, end + off), row(start + off, end)):
            refused = later(Readings(intervals=(wrong,)), query)
            assert ([one.rule for one in refused.refused], refused.intervals) == (["unaligned"], ())


@pytest.mark.parametrize(("zone", "day"), CHANGES)
def test_quarter_hours_in_local_time_last_a_quarter_of_an_hour(zone: str, day: date) -> None:
    """Of two times of one zone Python tells the difference on the wall, which is not the time between them."""
    where = ZoneInfo(zone)
    start, end = day_span(day, where)
    starts = [start + QUARTER * step for step in range(int((end - start) / QUARTER))]
    rows = [row(at.astimezone(where), (at + QUARTER).astimezone(where), import_wh=1.0) for at in starts]
    found = later(Readings(intervals=tuple(rows)), days_of(zone, "15mins"))
    assert (found.refused, [one.start for one in found.intervals]) == ((), starts)
    assert all(one.end - one.start == QUARTER and one.start.tzinfo is UTC for one in found.intervals)
    on_the_wall = row(datetime(2026, 10, 25, 2, 45, tzinfo=ZoneInfo("Europe/Berlin")),
                      datetime(2026, 10, 25, 3, tzinfo=ZoneInfo("Europe/Berlin")))  # fmt: skip
    assert later(Readings(intervals=(on_the_wall,)), days_of(zone, "15mins")).intervals == ()  # an hour and a quarter


# Grants


WRONG_BESIDE: dict[str, dict[str, Any]] = {
    "a naive expiry": {"expires_at": datetime(2026, 7, 1)},
    "an expiry in the year 1": {"expires_at": datetime.min.replace(tzinfo=UTC)},
    "an expiry beyond the calendar": {"expires_at": datetime.max.replace(tzinfo=ZoneInfo("America/New_York"))},
    "an expiry that is a number": {"refresh_expires_at": 1782900000},
    "an expiry of no offset": {"refresh_expires_at": datetime(2026, 7, 1, tzinfo=Nowhere())},
    "sites that are numbers": {"site_ids": (5, None, ["site-1"], b"site-1")},
    "sites that are none": {"site_ids": None},
    "one site as a text": {"site_ids": "site-1"},
    "a state as a text": {"state": "active"},
    "an unknown state": {"state": "revoked"},
    "a state that is none": {"state": None},
    "a state nobody may touch": {"state": Touchy()},
    "facts that are none": {"facts": None},
    "facts nobody can write down": {"facts": {"serial": "\ud800", "base": 5, "n": BIG}},
    "facts nobody may touch": {"facts": {"serial": Touchy(), "base": "https://x"}},
    "sites nobody may touch": {"site_ids": (Touchy(), Yes())},
    "a second secret that is no text": {"secrets": Secrets({"access_token": "fresh", "other": "\ud800"})},
}


@pytest.mark.parametrize("name", WRONG_BESIDE)
def test_a_renewed_token_is_never_lost_over_a_member_beside_it(name: str) -> None:
    before = replace(GRANT, facts={"serial": "s-1", "base": "https://x"}, site_ids=("site-1",))
    answer = replace(before, **{"secrets": Secrets({"access_token": "fresh"})} | WRONG_BESIDE[name])
    kept = renewed(answer, before)
    assert dict(kept.secrets) == {"access_token": "fresh"}
    assert (kept.site_ids, dict(kept.facts) | dict(before.facts)) == (("site-1",), dict(before.facts))
    assert dict(kept.facts) == dict(before.facts) or name == "facts nobody can write down"
    assert_storable(kept)


def test_what_is_right_of_a_grant_stays() -> None:
    until = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # as .NET says "never"
    sound = replace(GRANT, facts={"name": "Zoë's\n🏡"}, expires_at=until, site_ids=("b", "a"), state=GrantState.ACTIVE)
    kept = renewed(sound)
    assert (dict(kept.facts), kept.expires_at, kept.site_ids) == ({"name": "Zoë's\n🏡"}, until, ("b", "a"))
    assert renewed(replace(sound, state=GrantState.PENDING_APPROVAL)).state is GrantState.PENDING_APPROVAL


def test_a_grant_without_secrets_is_the_plugins_bug() -> None:
    for wrong in (None, {"access_token": "x"}, Touchy()):
        with pytest.raises(PluginBug):
            renewed(replace(GRANT, secrets=wrong))  # type: ignore[arg-type]
    with pytest.raises(PluginBug):
        renewed(replace(GRANT, secrets=Secrets({"access_token": "\ud800"})))


def assert_storable(grant: Grant) -> None:
    """It can be sealed, and its times are in the calendar."""
    value = {"secrets": dict(grant.secrets), "facts": dict(grant.facts), "site_ids": grant.site_ids}
    assert msgspec.json.decode(msgspec.json.encode(value))
    assert grant.state in tuple(GrantState)
    for at in (grant.expires_at, grant.refresh_expires_at):
        assert at is None or datetime.fromtimestamp(int(at.timestamp()), UTC)


# Whatever can be made up


def assert_number(value: Any, low: float, high: float) -> None:
    assert value is None or (type(value) in (int, float) and low <= value <= high), value


def assert_text(value: Any, most: int = 200) -> None:
    assert value is None or (
        isinstance(value, str) and 0 < len(value) <= most and clean_line(value) == value and value.encode()
    )


def assert_time(value: Any) -> None:
    assert value is None or (type(value) is datetime and value.tzinfo is UTC and value.year >= 1990)
    assert value is None or value <= NOW + timedelta(minutes=5)


def assert_devices(found: Any) -> None:
    assert len({(one.kind, one.vendor_id) for one in found}) == len(found)
    for one in found:
        assert type(one) is Device
        assert type(one.kind) is DeviceKind
        assert type(one.vendor_id) is str
        assert one.role is None or type(one.role) is MeterRole
        assert one.mode is None or one.mode in get_args(Mode)
        assert type(one.stale) is type(one.is_peak) is bool
        assert_number(one.power_w, -MOST_W, MOST_W)
        assert_number(one.max_power_w, 0, MOST_W)
        assert_number(one.lifetime_wh, 0, 1e13)
        assert_number(one.nameplate_wh, 0, 1e13)
        assert_number(one.soc_percent, 0, 100)
        for text in (one.vendor_id, one.serial, one.model, one.name, *one.faults):
            assert_text(text, 256)
        for at in (one.lifetime_since, one.reported_at):
            assert_time(at)


def assert_rows(found: Readings, query: ReadingsQuery) -> None:
    known = {one.vendor_id for one in (*query.site.devices, *found.devices)}
    places = [(one.start, one.device_id or "") for one in found.intervals]
    assert places == sorted(set(places))
    length = QUARTER if query.resolution == "15mins" else timedelta(days=1)
    for one in found.intervals:
        assert type(one) is Reading
        assert one.start.tzinfo is one.end.tzinfo is UTC
        assert one.end - one.start == length
        assert query.start <= one.start < query.end
        assert one.start <= NOW
        assert one.device_id is None or one.device_id in known
        assert one.quality in get_args(Quality)
        assert_text(one.rule, 40)
        for name in ENERGY_METRICS:
            assert_number(getattr(one, name), 0, MOST_WH * (length / QUARTER))
        assert_number(one.soc_percent, 0, 100)


def assert_within(found: Any, query: ReadingsQuery = QUERY) -> None:
    """Every value of what the gate answers is one that its rules allow."""
    assert_devices(found.devices)
    for text in found.warnings:
        assert_text(text, 500)
    if isinstance(found, Site):
        assert_text(found.name, 256)
        assert_number(found.lat, -90, 90)
        assert_number(found.lon, -180, 180)
        assert_time(found.operational_since)
        assert found.timezone is None or ZoneInfo(found.timezone)
        return
    assert_rows(found, query)
    for counter in found.counters:
        assert_time(counter.at)
        assert_text(counter.source, 256)
        for name in ENERGY_METRICS:
            assert_number(getattr(counter, name), 0, 1e13)
    if found.live is not None:
        assert_time(found.live.measured_at)
        assert_number(found.live.solar_w, 0, MOST_W if is_size_unknown(found) else 6500)
        for name in ("battery_w", "grid_w"):
            assert_number(getattr(found.live, name), -MOST_W, MOST_W)
        assert_number(found.live.load_w, 0, MOST_W)
        assert_number(found.live.soc_percent, 0, 100)
    assert msgspec.json.encode(found)


def is_size_unknown(found: Readings) -> bool:
    """Whether it has inverters beside the site's own, or tells that the site's own power is a peak of the past."""
    return any(one.kind is DeviceKind.INVERTER and (one.vendor_id != "inv-1" or one.is_peak) for one in found.devices)


def taken(call: Callable[[], T]) -> T | None:
    """None where the answer is refused as a whole; nothing else may be raised."""
    try:
        return call()
    except (UnexpectedPayload, PluginBug):
        return None


MANY = settings(max_examples=examples(150), deadline=None)


@MANY
@given(readings, st.sampled_from([QUERY, UNKNOWN_SIZE, OF_INVERTER, SHARED_ID]))
@example(Readings(intervals=(row(device_id="\ud800", solar_wh=0.0),)), QUERY)
def test_of_any_readings_only_what_can_be_is_taken_and_it_is_taken_again_as_it_is(
    answer: Readings, query: ReadingsQuery
) -> None:
    found = taken(lambda: gated(answer, query))
    if found is not None:
        if query is QUERY or query is OF_INVERTER:
            assert_within(found, query)
        again = gated(found, query)
        assert again.refused == ()
        assert set(again.warnings) - {NO_LOAD} == set(found.warnings) - {NO_LOAD}
        assert structs.replace(again, warnings=(), refused=()) == structs.replace(found, warnings=(), refused=())


@MANY
@given(sites)
@example(home(name=BIG))
def test_of_any_site_only_what_can_be_is_taken_and_it_is_taken_again_as_it_is(answer: Site) -> None:
    found = taken(lambda: gated_site(answer))
    if found is not None:
        assert_within(found)
        assert gated_site(found) == structs.replace(found, refused=())


@MANY
@given(grants)
def test_of_any_grant_the_token_is_kept_and_can_be_stored(answer: Grant) -> None:
    usable = isinstance(answer.secrets, Secrets) and [
        name for name in answer.secrets if answer.secrets[name] != "\ud800"
    ]
    found = taken(lambda: renewed(answer))
    assert (found is None) == (not isinstance(answer.secrets, Secrets) or (bool(answer.secrets) and not usable))
    if found is not None:
        assert sorted(found.secrets) == sorted(usable or [])
        assert_storable(found)
        assert renewed(found) == found


@MANY
@given(consents)
def test_of_any_consent_what_is_taken_can_be_stored(answer: Consent) -> None:
    found = taken(lambda: consented(answer))
    if found is not None:
        assert_storable(found.grant)
        assert_text(found.account_id, 256)
        assert consented(found) == found


sound_rows = st.dictionaries(
    st.tuples(st.integers(0, 95), st.sampled_from([None, "inv-1", "bat-1"])),
    st.fixed_dictionaries(
        {
            "solar_wh": st.none() | st.floats(0, 1625),
            "import_wh": st.none() | st.floats(0, MOST_WH),
            "charge_wh": st.none() | st.floats(0, 13_000),
            "soc_percent": st.none() | st.floats(0, 100),
            "quality": st.sampled_from(get_args(Quality)),
            "rule": st.sampled_from([None, "rows_missing"]),
        }
    ),
    max_size=30,
)


@MANY
@given(sound_rows, st.randoms(use_true_random=False))
def test_what_is_sound_passes_as_the_very_same_values(found: dict[tuple[int, str | None], Any], dice: Any) -> None:
    rows = [
        Reading(start=SINCE + QUARTER * step, end=SINCE + QUARTER * (step + 1), device_id=device_id, **values)
        for (step, device_id), values in found.items()
    ]
    dice.shuffle(rows)
    answer = gated(Readings(intervals=tuple(rows)))
    assert answer.refused == ()
    kept = {(one.start, one.device_id): one for one in answer.intervals}
    assert len(kept) == len(rows)
    assert all(kept[one.start, one.device_id] is one for one in rows)
