"""Values and answers no plugin should give, made up by hypothesis: every member sound most of the time, or anything."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from joinder.energy import ENERGY_METRICS, Counter, Device, DeviceKind, Live, MeterRole, Reading, Readings, Site
from joinder.grants import Consent, Grant, GrantState
from joinder.redact import Secrets

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
SINCE = NOW - timedelta(days=1)
INVERTER = Device(vendor_id="inv-1", kind=DeviceKind.INVERTER, max_power_w=5000.0)
BATTERY = Device(vendor_id="bat-1", kind=DeviceKind.BATTERY, nameplate_wh=10_000.0)
METER = Device(vendor_id="met-1", kind=DeviceKind.METER, role=MeterRole.GRID)
SITE = Site(vendor_id="site-1", name="Home", timezone="Europe/Berlin", devices=(INVERTER, BATTERY, METER))
ZONES = [ZoneInfo(name) for name in ("Europe/Berlin", "Australia/Lord_Howe", "America/New_York", "America/Havana")]
BIG = "n" * 1_000_000


class Touchy:
    """Raises whatever is done with it."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(name)

    def __eq__(self, other: object) -> NoReturn:
        raise RuntimeError("compared")

    def __hash__(self) -> NoReturn:
        raise RuntimeError("hashed")

    def __bool__(self) -> NoReturn:
        raise RuntimeError("asked")


class Yes:
    """Is equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


class Word(str):
    """As XML parsers answer them."""


class Number(float):
    """As numpy answers them."""


class Odd(float):
    """Fits everywhere, and becomes no number."""

    def __le__(self, other: object) -> bool:
        return True

    __ge__ = __le__

    def __float__(self) -> float:
        return float("nan")


class Stamp(datetime):
    """As pandas answers them."""


class Nowhere(tzinfo):
    """Knows no offset."""

    def utcoffset(self, _: datetime | None) -> None:
        return None

    def dst(self, _: datetime | None) -> None:
        return None


class TouchyReading(Reading, frozen=True, kw_only=True):
    def __getattribute__(self, name: str) -> Any:
        if name == "solar_wh":
            raise RuntimeError(name)
        return super().__getattribute__(name)

    def __eq__(self, other: object) -> NoReturn:
        raise RuntimeError("compared")

    __hash__ = None  # type: ignore[assignment]


class LongerReading(Reading, frozen=True, kw_only=True):
    """A plugin's own, with more in it than core knows."""

    more: object = None


class TouchyDevice(Device, frozen=True, kw_only=True):
    def __getattribute__(self, name: str) -> Any:
        if name == "model":
            raise RuntimeError(name)
        return super().__getattribute__(name)


_offsets = st.sampled_from(
    [UTC, *ZONES, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12)), Nowhere(), None]
)
times = st.one_of(
    st.datetimes(timezones=_offsets),
    st.sampled_from(
        [
            datetime(2026, 1, 1),
            datetime(1, 1, 1),
            datetime(9999, 12, 31, 23, 59),
            datetime.max.replace(tzinfo=UTC),
            datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
            Stamp(2026, 6, 15, 11, tzinfo=UTC),
            NOW + timedelta(days=1),
            date(2026, 6, 15),
        ]
    ),
)
texts = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=20),
    st.sampled_from(["\ud800", "a\0b", "\x1b]0;pwned\x07", "\u202eevil", "", "  ", "x\n", Word("inv-1"), Word("ok")]),
)
numbers = st.one_of(
    st.floats(),
    st.integers(),
    st.sampled_from(
        [
            float("nan"),
            float("inf"),
            -float("inf"),
            1e308,
            -1.0,
            10**400,
            -(10**400),
            Number(5),
            Odd(5),
            Odd(1e300),
            -0.0,
        ]
    ),
)
anything = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    texts,
    times,
    st.binary(max_size=5),
    st.builds(Touchy),
    st.sampled_from([(), [], {}, {"a": 1}, [[]], ..., object(), Yes(), INVERTER, SITE, BIG, ("x",) * 10_000]),
)


def mostly(sound: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 9).flatmap(lambda dice: anything if dice == 0 else sound)


def maybe(sound: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | sound


def made(kind: type[Any], /, **members: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Of that kind, every member `mostly` sound; or none of that kind at all."""
    return mostly(st.builds(kind, **{name: mostly(strategy) for name, strategy in members.items()}))


energies = maybe(st.floats(0, 1200))
charges = maybe(st.floats(0, 100))
ids = st.sampled_from([None, "inv-1", "bat-1", "met-1", "new-1", "nope"])
flags = st.booleans()
devices = st.one_of(
    made(
        Device,
        vendor_id=st.sampled_from(["inv-1", "bat-1", "new-1"]),
        kind=st.sampled_from([*DeviceKind, "inverter"]),
        serial=maybe(texts),
        model=maybe(texts),
        name=maybe(texts),
        role=maybe(st.sampled_from(list(MeterRole))),
        power_w=maybe(st.floats(-100, 6000)),
        max_power_w=maybe(st.sampled_from([5000.0, 0.0])),
        is_peak=flags,
        lifetime_wh=energies,
        lifetime_since=maybe(st.just(SINCE)),
        nameplate_wh=maybe(st.sampled_from([0.0, 10_000.0])),
        soc_percent=charges,
        mode=maybe(st.sampled_from(["Savings", "Backup", "Turbo"])),
        reported_at=maybe(st.just(NOW)),
        stale=flags,
        faults=st.lists(texts, max_size=3).map(tuple),
    ),
    st.builds(TouchyDevice, vendor_id=st.just("t"), kind=st.just(DeviceKind.METER)),
)


@st.composite
def rows(draw: st.DrawFn) -> Any:
    """A quarter hour, seldom another length, seldom anything."""
    start = SINCE + timedelta(minutes=15) * draw(st.integers(-2, 98))
    start = start.astimezone(draw(st.sampled_from([UTC, UTC, *ZONES])))
    end = start.astimezone(UTC) + draw(st.sampled_from([timedelta(minutes=m) for m in (15,) * 9 + (5, 60, -15)]))
    values = {name: draw(mostly(energies)) for name in draw(st.sets(st.sampled_from(ENERGY_METRICS)))}
    if draw(st.integers(0, 9)) == 0:  # a spike
        values["solar_wh"] = draw(st.floats(0, 3e7))
    kind = draw(st.sampled_from([Reading] * 8 + [LongerReading, TouchyReading]))
    return kind(
        start=draw(mostly(st.just(start))),
        end=draw(mostly(st.just(end))),
        device_id=draw(mostly(ids)),
        soc_percent=draw(mostly(charges)),
        quality=draw(mostly(st.sampled_from(["measured", "estimated", "partial"]))),
        rule=draw(mostly(st.sampled_from([None, None, "parts_missing", "load_below_zero"]))),
        **values,
    )


def listed(entries: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[Any]:
    return mostly(st.lists(mostly(entries), max_size=most).map(tuple))


counters = made(
    Counter,
    at=st.just(NOW),
    device_id=ids,
    source=maybe(st.sampled_from(["meter", "sum"])),
    soc_percent=charges,
    **dict.fromkeys(ENERGY_METRICS, energies),
)
watts = maybe(st.floats(-9000, 9000))
lives = made(
    Live, measured_at=st.just(NOW), solar_w=watts, battery_w=watts, grid_w=watts, load_w=watts, soc_percent=charges
)
readings = st.builds(
    Readings,
    intervals=listed(rows(), 12),
    counters=listed(counters, 3),
    live=maybe(lives),
    devices=listed(devices, 4),
    warnings=listed(texts, 4),
    refused=anything,
)
sites = st.builds(
    Site,
    vendor_id=st.just("site-1"),
    name=mostly(texts),
    timezone=mostly(st.sampled_from(["Europe/Berlin", None, "", "Mars/Phobos", "../etc/passwd", "Europe", "UTC\0"])),
    lat=mostly(st.floats(-100, 100)),
    lon=mostly(st.floats(-200, 200)),
    operational_since=mostly(maybe(st.just(SINCE))),
    devices=listed(devices, 6),
    warnings=listed(texts, 4),
    refused=anything,
)
secrets = st.dictionaries(st.sampled_from(["access_token", "refresh_token"]), st.sampled_from(["a", "\ud800", BIG]))
grants = st.builds(
    Grant,
    secrets=secrets.map(Secrets),
    facts=mostly(st.dictionaries(texts, mostly(texts), max_size=3)),
    expires_at=mostly(times),
    refresh_expires_at=mostly(times),
    site_ids=mostly(st.lists(mostly(st.sampled_from(["site-1", "site-2"])), max_size=3).map(tuple)),
    state=mostly(st.sampled_from([*GrantState, "active", "revoked"])),
)
consents = st.builds(Consent, grant=mostly(grants), account_id=mostly(texts))
