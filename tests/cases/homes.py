"""Random homes whose truth is known, and a careless vendor that tells of them: what core makes of it can be judged.

A home is a curve of power for every inverter, every battery and the load, in steps of five minutes; the grid is what
remains. Its vendor answers in one of several styles and makes the mistakes that rules R-A to R-F want caught.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from random import Random
from zoneinfo import ZoneInfo

from msgspec import structs

from joinder import clock, hookimpl, physics
from joinder.energy import (
    ENERGY_METRICS,
    PARTS_MISSING,
    ROWS_MISSING,
    Counter,
    Device,
    DeviceKind,
    Live,
    MeterRole,
    Reading,
    Readings,
    ReadingsQuery,
    Site,
)
from joinder.errors import TransientError
from joinder.grants import Callback, Consent, Context, Grant
from joinder.redact import Secrets
from joinder.series import Quarters, day_span, days_between, with_load
from joinder.vendor import Capability, Field, Flow, History, Limits, Support, Vendor

STEP_S, QUARTER_S, DAY_S = 300, 900, 86400
QUARTER = timedelta(minutes=15)
STEPS_A_DAY = DAY_S // STEP_S
PLACES: dict[str | None, tuple[float, float]] = {
    "Europe/Berlin": (52.5, 13.4),
    "America/New_York": (40.7, -74.0),
    "Australia/Lord_Howe": (-31.5, 159.1),
    "Asia/Kathmandu": (27.7, 85.3),
    "UTC": (51.5, 0.0),
    None: (48.2, 16.4),
}
# The days around which clocks change in one of the places, and two on which nothing happens.
DAYS = (date(2026, 3, 8), date(2026, 3, 29), date(2026, 4, 5), date(2026, 10, 4), date(2026, 10, 25))
DAYS += (date(2026, 11, 1), date(2026, 6, 14), date(2027, 1, 20))
ROW_MINUTES = (5, 5, 10, 15, 15, 30, 60)
STYLES = ("site", "rows", "devices", "both", "registers")
CAPACITY_WH, BATTERY_W = 12_000.0, 4_000.0
JUMP_WH = 2_500_000.0  # over two hours more than a megawatt: no register of a home runs so
UNKNOWN_DEVICE = "somebody-else's"


class Curve:
    """Power in steps of five minutes from `start` on; energy between any two moments of it."""

    def __init__(self, start: int, watts: Sequence[float]) -> None:
        self.start, self.watts = start, watts
        self._wh = [0.0, *accumulate(power * STEP_S / 3600 for power in watts)]

    def power(self, at: float) -> float:
        return self.watts[min(max(int((at - self.start) // STEP_S), 0), len(self.watts) - 1)]

    def until(self, at: float) -> float:
        """Wh since the beginning."""
        steps = min(max((at - self.start) / STEP_S, 0.0), float(len(self.watts)))
        whole = int(steps)
        rest = (steps - whole) * self.watts[whole] * STEP_S / 3600 if steps > whole else 0.0
        return self._wh[whole] + rest

    def energy(self, start: float, end: float) -> float:
        return self.until(end) - self.until(start)


@dataclass(frozen=True)
class Silence:
    """A device tells nothing of [start, end), until the vendor hears of it at `healed_at`."""

    device_id: str
    start: int
    end: int
    healed_at: float = math.inf


@dataclass
class Home:
    """`curves` are by device (None: the site) and metric."""

    name: str
    rng: Random
    style: str
    start: int
    days: int
    zone_name: str | None
    devices: tuple[Device, ...]
    curves: dict[tuple[str | None, str], Curve]
    row_s: int = QUARTER_S  # the vendor's rows in style `rows`
    lag_s: int = 0  # the vendor knows nothing younger
    has_days: bool = False
    is_careful: bool = False
    silences: list[Silence] = field(default_factory=list)
    spikes: dict[tuple[str | None, int], float] = field(default_factory=dict)  # inverter or site, quarter → factor
    bases: list[tuple[int, float, str | None]] = field(default_factory=list)  # registers: from when, plus Wh, source
    new_zone: tuple[int, str] | None = None  # from when on the vendor has it in another one
    is_away: bool = False
    answers: int = 0

    @property
    def end(self) -> int:
        return self.start + self.days * DAY_S

    def zone_told(self, now: float) -> str | None:
        return self.new_zone[1] if self.new_zone and self.new_zone[0] <= now else self.zone_name

    def of_kind(self, kind: DeviceKind) -> list[Device]:
        return [device for device in self.devices if device.kind is kind]

    def site(self, now: float) -> Site:
        lat, lon = PLACES[self.zone_name]
        return Site(
            vendor_id=self.name,
            name=self.name,
            timezone=self.zone_told(now),
            lat=lat,
            lon=lon,
            operational_since=datetime.fromtimestamp(self.start, UTC),
            devices=self.devices,
        )

    def truth(self, device_id: str | None, metric: str, start: float, end: float) -> float | None:
        """None where nothing in this home measures it."""
        curve = self.curves.get((device_id, metric))
        return None if curve is None else curve.energy(start, end)

    def is_silent(self, device_id: str, start: float, end: float, now: float) -> bool:
        return any(
            one.device_id == device_id and one.start < end and one.end > start and now < one.healed_at
            for one in self.silences
        )

    def parts(self, metric: str) -> list[str]:
        """The devices whose values together are the site's."""
        kinds = {"solar_wh": DeviceKind.INVERTER, "charge_wh": DeviceKind.BATTERY, "discharge_wh": DeviceKind.BATTERY}
        if metric in kinds:
            return [device.vendor_id for device in self.of_kind(kinds[metric])]
        return [device.vendor_id for device in self.devices if (device.vendor_id, metric) in self.curves]


def random_home(seed: int) -> Home:
    """The same for the same seed."""
    rng = Random(seed)  # noqa: S311 - no secret
    zone_name = rng.choice(list(PLACES))
    day = rng.choice(DAYS)
    days = 6
    if rng.random() < 0.1:  # one with a whole month
        day, days = day.replace(day=1), 33
    else:
        day -= timedelta(days=rng.randint(1, 3))
    begin = int(day_span(day, ZoneInfo(zone_name or "UTC"))[0].timestamp())
    devices = (*_inverters(rng), *_batteries(rng), *_meters(rng))
    home = Home(
        name=f"home-{seed}",
        rng=rng,
        style=STYLES[seed % len(STYLES)],
        start=begin,
        days=days,
        zone_name=zone_name,
        devices=devices,
        curves=dict(_curves(rng, begin, days, devices, PLACES[zone_name][1])),
        row_s=rng.choice(ROW_MINUTES) * 60,
        lag_s=rng.choice((0, 0, 1800, 5400)),
        has_days=rng.random() < 0.5,
    )
    _wounded(home)
    return home


def home_of(name: str, *, seed: int, style: str, devices: tuple[Device, ...], days: int) -> Home:
    """These devices in Berlin in June, unwounded."""
    rng, zone_name = Random(seed), "Europe/Berlin"  # noqa: S311 - no secret
    start = int(day_span(date(2026, 6, 14), ZoneInfo(zone_name))[0].timestamp())
    home = Home(
        name=name,
        rng=rng,
        style=style,
        start=start,
        days=days,
        zone_name=zone_name,
        devices=devices,
        curves=dict(_curves(rng, start, days, devices, PLACES[zone_name][1])),
        row_s=600,
    )
    home.bases = [(start, 5e6, None)]
    return home


def _inverters(rng: Random) -> Iterator[Device]:
    are_told = rng.random() < 0.6
    for number in range(1, rng.randint(1, 4) + 1):
        size = float(rng.randint(30, 120) * 100)
        is_told = are_told or rng.random() < 0.3
        yield Device(vendor_id=f"inv-{number}", kind=DeviceKind.INVERTER, max_power_w=size if is_told else None)


def _batteries(rng: Random) -> Iterator[Device]:
    for number in range(1, rng.randint(0, 3) + 1):
        size = CAPACITY_WH if rng.random() < 0.7 else None
        yield Device(vendor_id=f"bat-{number}", kind=DeviceKind.BATTERY, nameplate_wh=size)


def _meters(rng: Random) -> Iterator[Device]:
    """One at the grid, whether it says so or not, and perhaps one that measures something else."""
    roles = [rng.choice((MeterRole.GRID, None)), rng.choice((MeterRole.LOAD, MeterRole.PRODUCTION))]
    for number, role in enumerate(roles[: rng.randint(0, 2)], 1):
        yield Device(vendor_id=f"met-{number}", kind=DeviceKind.METER, role=role)


def _curves(
    rng: Random, start: int, days: int, devices: Sequence[Device], longitude: float
) -> Iterator[tuple[tuple[str | None, str], Curve]]:
    count = days * STEPS_A_DAY
    sun = _sun(start, longitude)
    suns, stored = [], []
    for device in devices:
        if device.kind is DeviceKind.INVERTER:
            suns.append(_solar(rng, sun, count, device.max_power_w or 6_000.0))
            yield (device.vendor_id, "solar_wh"), Curve(start, suns[-1])
        elif device.kind is DeviceKind.BATTERY:
            stored.append(_battery(rng, count))
            yield from _split(start, stored[-1], device.vendor_id, "discharge_wh", "charge_wh")
    solar = [sum(parts) for parts in zip(*suns, strict=True)]
    battery = [sum(parts) for parts in zip(*stored, strict=True)] if stored else [0.0] * count
    load = _load(rng, count)
    yield (None, "solar_wh"), Curve(start, solar)
    if stored:
        yield (
            (None, "discharge_wh"),
            Curve(start, [sum(max(w, 0.0) for w in parts) for parts in zip(*stored, strict=True)]),
        )
        yield (
            (None, "charge_wh"),
            Curve(start, [sum(max(-w, 0.0) for w in parts) for parts in zip(*stored, strict=True)]),
        )
    grid = [used - made - given for used, made, given in zip(load, solar, battery, strict=True)]
    for device in devices:
        if device.kind is DeviceKind.METER:
            yield from _meter(start, device, grid, load)


def _meter(
    start: int, device: Device, grid: Sequence[float], load: Sequence[float]
) -> Iterator[tuple[tuple[str | None, str], Curve]]:
    """What it sees counts for the site too; one that measures the production tells nothing a meter is asked for."""
    for subject in (device.vendor_id, None):
        if device.role in (MeterRole.GRID, None):
            yield from _split(start, grid, subject, "import_wh", "export_wh")
        if device.role is MeterRole.LOAD or subject is None:
            yield (subject, "load_wh"), Curve(start, load)


def _split(
    start: int, watts: Sequence[float], subject: str | None, positive: str, negative: str
) -> Iterator[tuple[tuple[str | None, str], Curve]]:
    yield (subject, positive), Curve(start, [max(power, 0.0) for power in watts])
    yield (subject, negative), Curve(start, [max(-power, 0.0) for power in watts])


def _sun(start: int, longitude: float) -> list[float]:
    """Of every step of a day, 0 to 1."""
    turns = [((start + step * STEP_S) / DAY_S + longitude / 360) % 1 for step in range(STEPS_A_DAY)]
    return [max(0.0, math.sin(2 * math.pi * (turn - 0.25))) for turn in turns]


def _solar(rng: Random, sun: Sequence[float], count: int, size_w: float) -> list[float]:
    """Clouds come and go with the steps."""
    found, sky = [], 0.8
    for step in range(count):
        if rng.random() < 0.2:
            sky = rng.uniform(0.2, 1.0)
        found.append(sun[step % STEPS_A_DAY] * sky * size_w)
    return found


def _battery(rng: Random, count: int) -> list[float]:
    found: list[float] = []
    while len(found) < count:
        watts = rng.choice((0.0, rng.uniform(-BATTERY_W, BATTERY_W)))
        found += [watts] * rng.randint(1, 40)
    return found[:count]


def _load(rng: Random, count: int) -> list[float]:
    found: list[float] = []
    while len(found) < count:
        found += [rng.uniform(80.0, 7_000.0)] * rng.randint(1, 12)
    return found[:count]


def _wounded(home: Home) -> None:
    """What goes wrong in its life."""
    rng = home.rng
    for device in home.devices:
        if rng.random() < 0.35:
            start = home.start + rng.randrange(0, home.days * DAY_S, STEP_S)
            end = start + rng.choice((STEP_S, 3600, 6 * 3600, 2 * DAY_S))
            healed_at = end + rng.uniform(0, DAY_S) if rng.random() < 0.3 else math.inf
            home.silences.append(Silence(device.vendor_id, start, end, healed_at))
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        _spike(home)
    _registers(home)
    if rng.random() < 0.2:
        home.new_zone = (
            home.start + rng.randrange(0, home.days * DAY_S),
            rng.choice([name for name in PLACES if name]),
        )


def _spike(home: Home) -> None:
    """One row 50 to 1000 times too high, where a rule can tell: far above its neighbours or beyond the nameplate."""
    rng = home.rng
    subject = None if home.style in ("site", "rows") else rng.choice(home.parts("solar_wh"))
    start = home.start + rng.randrange(0, home.days * DAY_S, QUARTER_S)
    factor = float(rng.randint(50, 1000))
    if _is_caught(home, subject, start, factor):
        home.spikes[subject, start] = factor


def _is_caught(home: Home, subject: str | None, start: int, factor: float) -> bool:
    inverters = [device for device in home.of_kind(DeviceKind.INVERTER) if subject in (None, device.vendor_id)]
    watts = 4 * factor * (home.truth(subject, "solar_wh", start, start + QUARTER_S) or 0.0)
    bound = physics.nameplate_w(inverters)
    if bound is not None:
        return physics.is_beyond_nameplate(watts, bound)
    curve = home.curves[subject, "solar_wh"]
    highest = max(curve.power(start + offset) for offset in range(-7200, 7200 + QUARTER_S, STEP_S))
    return watts > max(physics.SPIKE_FROM_W, physics.SPIKE_TIMES * highest)


def _registers(home: Home) -> None:
    """They begin high, are reset to nothing or jump, and another source may take over with a total of its own."""
    rng = home.rng
    at, base, source = home.start, rng.uniform(5e6, 5e7), rng.choice((None, "meter"))
    home.bases.append((at, base, source))
    for _ in range(rng.choice((0, 2, 4, 8))):
        at += rng.randrange(STEP_S, DAY_S // 4, STEP_S)
        kind = rng.choice(("reset", "jump", "source"))
        if kind == "reset":
            base -= rng.uniform(0.5, 1.0) * base
        elif kind == "jump":
            base += JUMP_WH * rng.choice((1, 1, 5, 400))
        else:
            source = rng.choice([name for name in ("meter", "inverters", "ct") if name != source])
            base += rng.choice((rng.uniform(50, 900), rng.uniform(-1e5, 1e5)))
        home.bases.append((at, base, source))


# --- the vendor


def _vendor(name: str, *history: History) -> Vendor:
    return Vendor(
        name=name,
        label=name.title(),
        docs_url=f"https://{name}.example/docs",
        flow=Flow.FORM,
        consent_fields=(Field(name="host", label="Address", max_length=100),),
        limits=Limits(poll_every=timedelta(minutes=15), live_max_age=timedelta(minutes=1), history=history),
        capabilities=dict.fromkeys(Capability, Support.YES),
    )


_QUARTERS = History(resolution="15mins", window=timedelta(days=7), settles_after=timedelta(hours=12))
_DAYS = History(resolution="day", window=timedelta(days=60), settles_after=timedelta(hours=30))
VENDORS = {
    "quarters": _vendor("quarters", _QUARTERS),
    "dailies": _vendor("dailies", structs.replace(_QUARTERS, window=timedelta(days=2)), _DAYS),
    "boxes": _vendor("boxes"),
}


def vendor_of(home: Home) -> str:
    return "boxes" if home.style == "registers" else "dailies" if home.has_days else "quarters"


@dataclass(eq=False)  # pluggy keeps plugins in a set
class Careless:
    """A plugin that believes whatever its vendor says, for many homes."""

    vendor: Vendor
    homes: dict[str, Home] = field(default_factory=dict)

    @hookimpl
    def describe_vendor(self) -> Vendor:
        return self.vendor

    @hookimpl
    async def handle_callback(self, ctx: Context, callback: Callback) -> Consent:
        return consent_of(self.homes[callback.values["host"]])

    @hookimpl
    async def fetch_site(self, ctx: Context, grant: Grant, site_id: str) -> Site:
        return self.homes[site_id].site(clock.civil_time())

    @hookimpl
    async def fetch_readings(self, ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
        home = self.homes[query.site.vendor_id]
        home.answers += 1
        if home.is_away:
            raise TransientError("The vendor is away")
        return answer(home, query, clock.civil_time())


def consent_of(home: Home) -> Consent:
    grant = Grant(secrets=Secrets({"token": f"canary-{home.name}"}), expires_at=None, site_ids=(home.name,))
    return Consent(grant=grant, account_id=f"owner-of-{home.name}")


def answer(home: Home, query: ReadingsQuery, now: float) -> Readings:
    """What the home's vendor tells at that moment."""
    rows = _rows(home, query, now) if query.start < query.end and home.style != "registers" else []
    return Readings(
        intervals=tuple(rows if home.is_careful else _careless(home.rng, rows, query)),
        counters=tuple(_counters(home, now)) if home.style == "registers" else (),
        live=_live(home, now) if query.live else None,
    )


def _rows(home: Home, query: ReadingsQuery, now: float) -> list[Reading]:
    """By the home's style: rows of the site, of its devices, or of both."""
    until = min(query.end.timestamp(), now - home.lag_s)
    spans = list(_spans(home, query, until, ZoneInfo(home.zone_told(now) or query.site.timezone or "UTC")))
    subjects: list[str | None] = [query.device_id]
    if query.device_id is None and home.style in ("devices", "both"):
        subjects = [device.vendor_id for device in home.devices]
        subjects += [None] if home.style == "both" else []
    if query.resolution == "15mins" and home.style == "rows":
        return [row for subject in subjects for row in _by_quarters(home, subject, query, until, now)]
    is_day = query.resolution == "day"
    found = (_row(home, subject, *span, until, now, is_day=is_day) for subject in subjects for span in spans)
    return [row for row in found if row is not None]


def _spans(home: Home, query: ReadingsQuery, until: float, zone: ZoneInfo) -> Iterator[tuple[int, int]]:
    """Days are those of the vendor's zone, whatever core believes."""
    start, end = int(query.start.timestamp()), min(int(until), home.end)
    if query.resolution == "day":
        for day in days_between(query.start, query.end, zone):
            begin, after = (int(moment.timestamp()) for moment in day_span(day, zone))
            if home.start <= begin < end:
                yield begin, after
        return
    for begin in range(max(home.start, start - start % QUARTER_S), end, QUARTER_S):
        yield begin, begin + QUARTER_S


def _row(
    home: Home, subject: str | None, start: int, end: int, until: float, now: float, *, is_day: bool
) -> Reading | None:
    """A careless plugin's row: of a running period what there is, called measured; sums know how many they are of."""
    values: dict[str, float] = {}
    rule = None
    for metric in ENERGY_METRICS:
        total, lacks = _told(home, subject, metric, start, min(end, until), now)
        rule = rule or (PARTS_MISSING if lacks and total is not None else None)
        if total is not None:
            values[metric] = round(total, 3)
    if not values:
        return None
    if until < end and end <= now:  # the vendor's delay: it knows that the row is not whole
        rule = rule or ROWS_MISSING
    if not is_day:
        values = _spiked(home, subject, start, values)
    row = Reading(
        start=datetime.fromtimestamp(start, UTC),
        end=datetime.fromtimestamp(end, UTC),
        device_id=subject,
        quality="partial" if rule else "measured",
        rule=rule,
        **values,
    )
    row = row if subject else with_load(row, battery=bool(home.of_kind(DeviceKind.BATTERY)))
    return structs.replace(row, solar_wh=-3.0 * home.rng.random()) if row.solar_wh == 0 else row  # drawn at night


def _told(
    home: Home, subject: str | None, metric: str, start: float, end: float, now: float
) -> tuple[float | None, bool]:
    """The sum over the parts that report, and whether one is silent."""
    if (subject, metric) not in home.curves or (subject is None and metric == "load_wh"):
        return None, False
    parts = [subject] if subject else home.parts(metric)
    heard = [part for part in parts if not home.is_silent(part, start, end, now)]
    totals = [home.truth(part, metric, start, end) for part in heard]
    return (sum(total or 0.0 for total in totals) if heard else None), len(heard) < len(parts)


def _spiked(home: Home, subject: str | None, start: int, values: dict[str, float]) -> dict[str, float]:
    if "solar_wh" in values:
        values["solar_wh"] *= home.spikes.get((subject, start), 1.0)
    return values


def _by_quarters(
    home: Home, subject: str | None, query: ReadingsQuery, until: float, now: float
) -> tuple[Reading, ...]:
    """Rows of the vendor's own length, which the plugin puts into quarter hours as the contract's helper does it."""
    found = Quarters(query.start, query.end)
    metrics = [metric for metric in ENERGY_METRICS if (subject, metric) in home.curves and metric != "load_wh"]
    for metric in metrics:
        parts = [subject] if subject else home.parts(metric)
        found.expect(metric, parts)
        for part in parts:
            for start, end in _own_rows(home, query, until, now):
                if not home.is_silent(part, start, end, now):
                    wh = (home.truth(part, metric, start, end) or 0.0) * _factor(home, metric, start, end)
                    found.energy(metric, _at(start), _at(end), wh, part=part)
    has_battery = bool(home.of_kind(DeviceKind.BATTERY))
    rows = found.readings(subject)
    return rows if subject else tuple(with_load(row, battery=has_battery) for row in rows)


def _factor(home: Home, metric: str, start: int, end: int) -> float:
    is_whole = (start % QUARTER_S, end - start) == (0, QUARTER_S)
    return home.spikes.get((None, start), 1.0) if metric == "solar_wh" and is_whole else 1.0


def _own_rows(home: Home, query: ReadingsQuery, until: float, now: float) -> Iterator[tuple[int, int]]:
    """Whole rows only, also those across the ends of what is asked: what runs is not told."""
    first = max(home.start, int(query.start.timestamp()))
    first -= (first - home.start) % home.row_s
    for start in range(first, min(math.ceil(until), home.end), home.row_s):
        if start + home.row_s <= now - home.lag_s:
            yield start, start + home.row_s


def _at(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC)


def _counters(home: Home, now: float) -> Iterator[Counter]:
    """Registers of the site and of each device, as they are now."""
    _, base, source = max(entry for entry in home.bases if entry[0] <= now)
    for subject in (None, *(device.vendor_id for device in home.devices)):
        values = {
            metric: base + curve.until(now)
            for (of, metric), curve in home.curves.items()
            if of == subject and not any(home.is_silent(part, now, now + 1, now) for part in _members(home, of, metric))
        }
        if values:
            yield Counter(at=_at(now), device_id=subject, source=source, **values)
    if not home.is_careful and home.rng.random() < 0.2:
        yield _odd_counter(home, now, base)


def _members(home: Home, subject: str | None, metric: str) -> list[str]:
    return [subject] if subject else home.parts(metric)


def _odd_counter(home: Home, now: float, base: float) -> Counter:
    odd = home.rng.choice(("future", "unknown", "old", "negative"))
    at = {"future": now + 7200, "old": now - 9000}.get(odd, now)
    device_id = UNKNOWN_DEVICE if odd == "unknown" else None
    if odd == "negative":
        return Counter(at=_at(now - 1), solar_wh=-5.0, import_wh=math.nan)
    return Counter(at=_at(at), device_id=device_id, solar_wh=base * 3, source="odd")


def _live(home: Home, now: float) -> Live | None:
    """Power of the step that is over, summed by the plugin; unknown where a part of it is silent."""
    at = now - now % STEP_S
    solar = _power(home, "solar_wh", at, now)
    stored, charged = _power(home, "discharge_wh", at, now), _power(home, "charge_wh", at, now)
    bought, sold = _power(home, "import_wh", at, now), _power(home, "export_wh", at, now)
    battery = None if stored is None or charged is None else stored - charged
    grid = None if bought is None or sold is None else bought - sold
    load = physics.home_load((solar, battery if home.of_kind(DeviceKind.BATTERY) else 0.0, grid)).watts
    told = Live(measured_at=_at(at), solar_w=solar, battery_w=battery, grid_w=grid, load_w=load, soc_percent=50.0)
    return told if home.is_careful else _careless_live(home, told)


def _power(home: Home, metric: str, at: float, now: float) -> float | None:
    curve = home.curves.get((None, metric))
    if curve is None or any(home.is_silent(part, at, at + 1, now) for part in home.parts(metric)):
        return None
    return curve.power(at)


def _careless_live(home: Home, told: Live) -> Live:
    bound = physics.nameplate_w(home.devices)
    odd = home.rng.choice(("", "", "", "spike", "standby", "reversed", "future", "nan", "charge"))
    if odd == "spike" and bound is not None and told.solar_w is not None:
        solar = bound * home.rng.randint(2, 50)
        return structs.replace(told, solar_w=solar, load_w=None if told.load_w is None else told.load_w + solar)
    if odd == "standby" and told.solar_w == 0:
        return structs.replace(told, solar_w=-12.0)
    if odd == "reversed" and told.solar_w is not None:
        return structs.replace(told, solar_w=-told.solar_w - 5_000.0, load_w=None)
    if odd == "future":
        return structs.replace(told, measured_at=told.measured_at + timedelta(hours=3), grid_w=77_000.0)
    if odd == "nan":
        return structs.replace(told, grid_w=math.nan, battery_w=math.inf)
    return structs.replace(told, soc_percent=163.0) if odd == "charge" else told


# --- carelessness of an answer: what a gate has to keep out


def _careless(rng: Random, rows: list[Reading], query: ReadingsQuery) -> list[Reading]:
    """The rows in any order, one or another made wrong, and some beside them that nobody asked for."""
    found = list(rows)
    for _ in range(rng.choice((0, 0, 1, 3)) if rows else 0):
        at = rng.randint(0, len(found))
        found[at:at] = rng.choice(_ODDITIES)(rng, rng.choice(rows), query)
    if rows and rng.random() < 0.3:
        at = rng.randrange(len(rows))
        found[found.index(rows[at])] = rng.choice(_WRONGS)(rng, rows[at])
    if rng.random() < 0.2:
        rng.shuffle(found)
    return found


def _changed(row: Reading, **members: object) -> Reading:
    """No check of types: plugins may answer anything."""
    known = {name: getattr(row, name) for name in row.__struct_fields__}
    return Reading(**{**known, **members})  # type: ignore[arg-type]


def _larger(row: Reading) -> dict[str, object]:
    return {name: getattr(row, name) * 7 + 100 for name in ENERGY_METRICS if getattr(row, name) is not None}


_ODDITIES: tuple[Callable[[Random, Reading, ReadingsQuery], list[Reading]], ...] = (
    lambda rng, row, query: [row],
    lambda rng, row, query: [_changed(row, **_larger(row))],
    lambda rng, row, query: [_changed(row, device_id=UNKNOWN_DEVICE, **_larger(row))],
    lambda rng, row, query: (
        [_changed(row, device_id=None if row.device_id else UNKNOWN_DEVICE, **_larger(row))] if query.device_id else []
    ),
    lambda rng, row, query: (
        [_changed(row, end=row.start + timedelta(hours=1), **_larger(row))]
        if query.resolution == "15mins"
        else [_changed(row, end=row.start + timedelta(hours=20), **_larger(row))]
    ),
    lambda rng, row, query: [
        _changed(row, start=row.start + timedelta(minutes=5), end=row.end + timedelta(minutes=5), **_larger(row))
    ],
    lambda rng, row, query: [
        _changed(
            row, start=query.start - timedelta(days=9), end=query.start - timedelta(days=9) + (row.end - row.start)
        )
    ],
    lambda rng, row, query: [
        _changed(row, start=row.start + timedelta(days=90), end=row.end + timedelta(days=90), **_larger(row))
    ],
    lambda rng, row, query: [
        _changed(row, start=row.start.replace(tzinfo=None), end=row.end.replace(tzinfo=None), **_larger(row))
    ],
    lambda rng, row, query: [_changed(row, start=row.end, end=row.start, **_larger(row))],
)
_WRONGS: tuple[Callable[[Random, Reading], Reading], ...] = (
    lambda rng, row: _changed(row, solar_wh=-9_000.0, load_wh=None),
    lambda rng, row: _changed(row, import_wh=math.nan),
    lambda rng, row: _changed(row, discharge_wh=math.inf),
    lambda rng, row: _changed(row, charge_wh=-500.0),
    lambda rng, row: _changed(row, export_wh=1e15),
    lambda rng, row: _changed(row, solar_wh="12"),
    lambda rng, row: _changed(row, soc_percent=163.0),
)
