"""A home's life at a hub: reads in any order while time goes on, and every value that is served beside the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from cases.homes import DAY_S, VENDORS, Careless, Home, consent_of, vendor_of
from joinder.energy import DeviceKind
from joinder.errors import VendorError
from joinder.runtime.hub import Hub, open_hub
from joinder.services.join import stored_consents
from joinder.services.join.stored_consents import Origin
from joinder.services.readings import backfill, backfill_steps, intervals, poll, sites
from joinder.services.readings import live as live_power
from joinder.services.readings.intervals import Page, Window
from joinder.services.readings.periods import SummaryLevel, ceiling, floor, following
from joinder.services.readings.totals import Total
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.vendors.registry import Registry

WITHIN_WH, WITHIN_SHARE = 1.0, 0.005
LEVELS: tuple[SummaryLevel, ...] = ("15mins", "hour", "day", "month")
METRICS = {
    DeviceKind.INVERTER: ("solar_wh",),
    DeviceKind.BATTERY: ("charge_wh", "discharge_wh"),
    DeviceKind.METER: ("import_wh", "export_wh", "load_wh"),
}


class Time:
    """Stands in for `joinder.clock.civil_time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Tally:
    """What was read and judged. `wrong` tells each in a line."""

    homes: int = 0
    reads: int = 0
    values: int = 0
    live: int = 0
    complete: int = 0
    qualities: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        served = ", ".join(f"{count} {name}" for name, count in sorted(self.qualities.items()))
        return (
            f"{self.homes} homes, {self.reads} reads, {self.values} values and {self.live} live powers checked "
            f"(intervals: {served}; {self.complete} answers complete), {len(self.wrong)} wrong"
        )


@dataclass
class Stage:
    """A hub that can be closed and opened again on the same store, with the vendors of `homes.py`."""

    settings: Settings
    vendors: dict[str, Careless] = field(default_factory=lambda: {name: Careless(one) for name, one in VENDORS.items()})
    account_id: str = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Hub]:
        registry = Registry()
        for name, plugin in self.vendors.items():
            assert registry.add(name, plugin).problem is None
        async with open_hub(self.settings, registry) as hub:
            if not self.account_id:
                self.account_id = (await accounts.create_account(hub, "test")).id
            yield hub

    def forget(self, home: Home) -> None:
        """Its curves are megabytes."""
        del self.vendors[vendor_of(home)].homes[home.name]


@dataclass
class Life:
    """One home, enrolled."""

    hub: Hub
    home: Home
    account_id: str
    enrollment_id: str
    site_id: str
    time: Time
    tally: Tally
    ids: dict[str, str] = field(default_factory=dict)  # by the vendor's id of a device

    async def read(
        self, kind: DeviceKind, level: SummaryLevel, start: int, end: int, device: str | None = None
    ) -> Page:
        """Of the site or one device, judged. Raises the vendor's error."""
        window = Window(level=level, start=start, end=end, limit=100_000)
        of = intervals.of_device if device else intervals.of_site
        page = await of(self.hub, self.account_id, self.ids[device] if device else self.site_id, kind, window)
        self.tally.reads += 1
        self._judge(page, kind, window, device)
        return page

    def _judge(self, page: Page, kind: DeviceKind, window: Window, device: str | None) -> None:
        own = device if device and len(self.home.of_kind(kind)) > 1 else None
        for total in page.totals:
            self.tally.qualities[total.quality] += 1
            if total.end != following(total.start, window.level, page.zone):
                self._wrong(window.level, kind, own, total, "is no period")
            if total.quality == "measured":
                self._judge_total(total, window.level, kind, own)
        if page.is_complete:
            self.tally.complete += 1
            self._judge_complete(page, kind, window, own)

    def _judge_total(self, total: Total, level: SummaryLevel, kind: DeviceKind, own: str | None) -> None:
        for metric in METRICS[kind]:
            value = total.values.get(metric)
            if value is None:
                continue
            truth = self.home.truth(own, metric, total.start, total.end)
            self.tally.values += 1
            if truth is None or abs(value - truth) > max(WITHIN_WH, truth * WITHIN_SHARE):
                self._wrong(level, kind, own, total, f"{metric} is {value:.1f}, in truth {truth}")

    def _judge_complete(self, page: Page, kind: DeviceKind, window: Window, own: str | None) -> None:
        """Every period, each with all that this home measures."""
        at, until = floor(window.start, window.level, page.zone), ceiling(window.end, window.level, page.zone)
        most = max((len(self._told(total, kind)) for total in page.totals), default=0)
        for total in page.totals:
            if total.start != at:
                self._wrong(window.level, kind, own, total, f"is complete without {at}")
            if len(self._told(total, kind)) < most:
                self._wrong(window.level, kind, own, total, f"is complete with {self._told(total, kind)} only")
            at = total.end
        if at < until:
            self._wrong(window.level, kind, own, None, f"is complete without {at} to {until}")

    @staticmethod
    def _told(total: Total, kind: DeviceKind) -> list[str]:
        return [metric for metric in METRICS[kind] if total.values.get(metric) is not None]

    def _wrong(self, level: str, kind: DeviceKind, own: str | None, total: Total | None, text: str) -> None:
        when = f"{total.start} to {total.end}" if total else "it"
        home = f"{self.home.name} ({self.home.style}, {vendor_of(self.home)})"
        self.tally.wrong.append(f"{home} {level} {own or 'site'} {kind}: {when} {text}")

    async def live(self) -> None:
        """Judged at the moment it says it was measured. Raises the vendor's error."""
        power = await live_power.get_live(self.hub, self.account_id, self.site_id)
        self.tally.reads += 1
        truths = self.truth_of_power(power.measured_at)
        for name, truth in truths.items():
            value = getattr(power, name)
            if value is not None:
                self.tally.live += 1
                if truth is None or abs(value - truth) > max(1.0, abs(truth) * WITHIN_SHARE):
                    self.tally.wrong.append(f"{self.home.name} live {name} is {value}, in truth {truth}")

    def truth_of_power(self, at: int) -> dict[str, float | None]:
        watts = {metric: curve.power(at) for (of, metric), curve in self.home.curves.items() if of is None}
        pairs = {
            "battery_w": (watts.get("discharge_wh"), watts.get("charge_wh")),
            "grid_w": (watts.get("import_wh"), watts.get("export_wh")),
        }
        nets = {name: None if a is None or b is None else a - b for name, (a, b) in pairs.items()}
        return {"solar_w": watts.get("solar_wh"), "load_w": watts.get("load_wh"), **nets}

    async def poll(self) -> None:
        await poll.poll(self.hub, self.enrollment_id)
        self.tally.reads += 1

    async def refresh(self) -> None:
        """What the vendor says of the site."""
        site, _ = await sites.get_site(self.hub, self.account_id, self.site_id)
        await sites.refresh_site(self.hub, site)

    async def backfill(self) -> None:
        """A job over the last days, as far as one step brings it."""
        if self.hub.registry.vendor(vendor_of(self.home)).limits.history:
            since = int(self.time.now) - 3 * DAY_S
            await backfill.start(self.hub, self.account_id, "test", self.enrollment_id, start=since)
            await backfill_steps.work_one(self.hub, self.enrollment_id)
            self.tally.reads += 1


async def enrolled(stage: Stage, hub: Hub, home: Home, time: Time, tally: Tally) -> Life:
    """The home's owner has just consented."""
    name = vendor_of(home)
    stage.vendors[name].homes[home.name] = home
    async with hub.store.write() as session:
        row = await stored_consents.store(hub, session, stage.account_id, consent_of(home), Origin(vendor=name))
        enrollment_id = row.id
    ((site_id,),) = await hub.store.rows("SELECT id FROM site WHERE enrollment_id = :id", {"id": enrollment_id})
    life = Life(hub, home, stage.account_id, enrollment_id, site_id, time, tally)
    await sites.get_site(hub, stage.account_id, site_id)
    rows = await hub.store.rows("SELECT vendor_id, id FROM device WHERE site_id = :id", {"id": site_id})
    life.ids = {str(row[0]): str(row[1]) for row in rows}
    tally.homes += 1
    return life


async def lived(life: Life, again: Callable[[], Awaitable[Hub]], moments: int = 8) -> None:
    """Reads at random moments until all has settled, then everything once."""
    home, rng, time = life.home, life.home.rng, life.time
    time.now = home.start + rng.randrange(3600, 2 * DAY_S, 60)
    if home.style == "registers":
        await _polled(life, again)
    for _ in range(moments):
        home.is_away = rng.random() < 0.05
        if home.new_zone and rng.random() < 0.5:  # days of the old midnights are there when it changes
            with _vendors_trouble():
                await life.read(rng.choice(list(DeviceKind)), "day", home.start, int(time.now) + 1)
        await _something(life)
        if rng.random() < 0.05:
            life.hub = await again()
        time.now += rng.choice((0, 60, 900, 3600, 6 * 3600, DAY_S))
    home.is_away = False
    time.now = max(time.now, home.end) + 2 * DAY_S
    home.is_careful = rng.random() < 0.5
    await life.refresh()
    await everything(life)


async def _polled(life: Life, again: Callable[[], Awaitable[Hub]]) -> None:
    """A day and more of polls, at whole steps; now and then the hub or the box is away."""
    rng, time = life.home.rng, life.time
    time.now = life.home.start + rng.randrange(0, 8 * 3600, 300)
    until = time.now + rng.choice((3, 8, 14)) * 3600
    while time.now < until:
        with _vendors_trouble():
            await life.poll()
        if rng.random() < 0.02:
            life.hub = await again()
        rare = (900 - time.now % 900, 600, 1200, 3600, 3 * 3600)
        time.now += rng.choice(rare) if rng.random() < 0.25 else 300


async def _something(life: Life) -> None:
    rng = life.home.rng
    act = rng.choice(("site", "site", "device", "device", "live", "poll", "backfill", "refresh"))
    with _vendors_trouble():
        if act == "live":
            await life.live()
        elif act == "poll":
            await life.poll()
        elif act == "backfill":
            await life.backfill()
        elif act == "refresh":
            await life.refresh()
        else:
            await _one_read(life, device=act == "device")


async def _one_read(life: Life, *, device: bool) -> None:
    home, rng = life.home, life.home.rng
    found = rng.choice(home.devices)
    kind = found.kind if device else rng.choice(list(DeviceKind))
    level = rng.choice(LEVELS[:3])
    start = int(life.time.now) - rng.randrange(0, 3 * DAY_S)
    length = rng.choice((900, 2 * 3600, DAY_S, 2 * DAY_S))
    await life.read(kind, level, start, start + length, found.vendor_id if device else None)


async def everything(life: Life) -> None:
    """Every series at every level."""
    home = life.home
    for level in LEVELS:
        for kind in DeviceKind:
            devices = [device.vendor_id for device in home.of_kind(kind)]
            for device in (None, *(devices if len(devices) > 1 or level == "15mins" else ())):
                with _vendors_trouble():
                    await life.read(kind, level, *_span(home, level), device)
    with _vendors_trouble():
        await life.live()


def _span(home: Home, level: SummaryLevel) -> tuple[int, int]:
    """Its whole life where that is short; else the last days, but of registers the first, in which they are polled."""
    if level in ("day", "month"):
        return home.start, home.end
    if home.style == "registers":
        return home.start, home.start + 3 * DAY_S
    return max(home.start, home.end - 3 * DAY_S), home.end


def _vendors_trouble() -> suppress:
    """A read that fails serves nothing, and nothing wrong."""
    return suppress(VendorError)
