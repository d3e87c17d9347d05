"""What the plugin tells against what the simulated sites really did (`Simulator.home`)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from joinder.energy import Device, ReadingsQuery, Site
from joinder.errors import NotSupported
from joinder.places import zone_at
from joinder.series import day_span, zone
from joinder.simulate.truth import TrueDevice, TrueSite
from joinder.testing.checks import check
from joinder.testing.expectations import expect_rows
from joinder.testing.flow import DAY, clock_changes, last_day, last_days
from joinder.testing.subject import NOON, DoesNotApply, Failed, Stand, Subject, standing
from joinder.testing.truth import (
    WH,
    energy,
    expect_gaps,
    expect_parts_add_up,
    expect_true_counters,
    expect_true_devices,
    expect_true_live,
    expect_true_rows,
    moments,
    promised,
)
from joinder.testing.views import SITES, View, first_view, kept, views
from joinder.testing.windows import days_agree, longest_is_answered, spans_agree, whole_hours
from joinder.vendor import Capability, Support, Vendor

AHEAD = timedelta(minutes=4)  # less than the skew that vendors refuse
LATER = timedelta(days=3)
BETWEEN_POLLS = timedelta(minutes=45)
EACH = 4  # devices of a site that are asked for their own rows


def _keeps_any(vendor: Vendor) -> bool:
    """for vendors that keep quarter hours or days"""
    return bool(vendor.limits.history)


def _keeps_quarters(vendor: Vendor) -> bool:
    """for vendors that keep quarter hours"""
    return vendor.limits.resolution("15mins") is not None


def _keeps_none(vendor: Vendor) -> bool:
    """for vendors without history, whose registers are polled"""
    return not vendor.limits.history


def _tells_live(vendor: Vendor) -> bool:
    """for vendors that tell live power"""
    return vendor.support(Capability.LIVE) is Support.YES


@check(_keeps_any)
async def rows_are_true(subject: Subject) -> None:
    """Quarter hours and days of every site are what its home did: member, unit, sign, time, and no zero for unknown."""
    async with standing(subject) as stand:
        async for view in views(stand):
            needed = promised(stand.vendor, view.truth)
            last = last_day(stand, view.site)
            query, rows = await view.rows(last.start, last.end) if "15mins" in kept(stand.vendor) else (last, [])
            expect_true_rows(rows, query, view.truth, needed=needed)
            days = last_days(stand, view.site)
            if days is not None:
                told = await view.fetch(days)
                expect_true_rows(told.intervals, days, view.truth, needed=needed)


@check(_keeps_any)
async def spans_begin_anywhere(subject: Subject) -> None:
    """A span that begins or ends on any second is answered by the rows inside it: none lost, none cut, no other."""
    async with standing(subject) as stand:
        await longest_is_answered(await anext(views(stand, "")))
        async for view in views(stand):
            last, days = last_day(stand, view.site), last_days(stand, view.site)
            for hour in whole_hours(view, last) if "15mins" in kept(stand.vendor) else ():
                await spans_agree(view, hour)
            if days is not None:
                await days_agree(view, days)


@check(_keeps_quarters)
async def gaps_stay_gaps(subject: Subject) -> None:
    """Where the vendor has no row, nothing is told; where a device was silent, the sum is partial."""
    async with standing(subject) as stand:
        gapped = [view for owner in ("", *stand.simulator.owners) for view in await _with_gaps(stand, owner)]
        if not gapped:
            raise DoesNotApply("no simulated site lacks a row or has a silent device")
        for view in gapped:
            last = last_day(stand, view.site)
            query, rows = await view.rows(last.start, last.end)
            expect_gaps(rows, view.truth, query)


async def _with_gaps(stand: Stand, owner: str) -> list[View]:
    known = stand.simulator.owners.get(owner)
    if known is None or not any(stand.truth(site_id).has_gaps for site_id in known.site_ids):
        return []
    return [view async for view in views(stand, owner) if view.truth.has_gaps]


@check(_keeps_any)
async def clock_changes_are_true(subject: Subject) -> None:
    """The days of 23 and of 25 hours are what the home did in them."""
    async with first_view(subject) as view:
        where = view.truth.home.zone
    changes = clock_changes(where, NOON.year)
    if not changes:
        raise DoesNotApply(f"the clock does not change in {where.key}")
    for day in changes:
        async with first_view(subject, day_span(day, where)[1] + timedelta(hours=12)) as view:
            await view.day_is_true(day)


@check(_keeps_any)
async def history_is_true_to_its_reach(subject: Subject) -> None:
    """The oldest day that Limits.history promises is there, and is what the home did."""
    async with first_view(subject) as view:
        now, where = view.stand.clock.now(), view.truth.home.zone
        reaches = [entry.reach for entry in view.stand.vendor.limits.history if entry.reach]
        first = (now - min(reaches)).astimezone(where).date() if reaches else date.min
        oldest, yesterday = max(first, view.truth.home.installed) + DAY, now.astimezone(where).date() - DAY
        await view.day_is_true(min(oldest, yesterday))


@check(_tells_live)
async def live_power_is_true(subject: Subject) -> None:
    """Live power is true at each hour of the day: battery charging, discharging and idle, grid in and out."""
    async with standing(subject) as stand:
        for view in [view async for view in views(stand)]:
            await _live_of_a_day(view)


async def _live_of_a_day(view: View) -> None:
    stand, noon = view.stand, view.stand.clock.now()
    for at in _next_day(view):
        told = await (await view.at(at)).fetch(_only_live(view.site, at))
        expect_true_live(stand.vendor, told.live, view.truth, at)
    stand.clock.freeze(noon.timestamp())


def _next_day(view: View) -> list[datetime]:
    """Its telling moments: after all that was asked before, as a vendor's clock does not go back."""
    noon, where = view.stand.clock.now(), view.truth.home.zone
    start, _ = day_span(noon.astimezone(where).date() + DAY, where)
    return moments(view.truth, start)


def _only_live(site: Site, at: datetime) -> ReadingsQuery:
    return ReadingsQuery(site=site, start=at, end=at, live=True)


@check(_tells_live)
async def measured_at_is_the_vendors(subject: Subject) -> None:
    """Live power is of the vendor's moment, even where our clock is four minutes ahead of it."""
    async with first_view(subject) as view:
        if not view.truth.live_every_s:
            raise DoesNotApply("the vendor does not say of when its live power is")
        now = view.stand.clock.now()
        view.stand.ahead = AHEAD
        told = await view.fetch(_only_live(view.site, now))
        expect_true_live(view.stand.vendor, told.live, view.truth, now)


@check(_keeps_none)
async def registers_are_true(subject: Subject) -> None:
    """Counters are those of the home, and move by what it did between two polls."""
    async with first_view(subject) as view:
        sunny = max(_next_day(view), key=lambda at: view.truth.home.power(at.timestamp()).solar_w)
        polls = []
        for at in (sunny - BETWEEN_POLLS, sunny):
            then = await view.at(at)
            told = await then.fetch(_only_live(view.site, at))
            polls.append({one.device_id: one for one in told.counters})
        if not all(None in poll for poll in polls):
            raise Failed("no counters of the site: a vendor without history answers its registers as Readings.counters")
        expect_true_counters(polls[0][None], polls[1][None], view.truth)
        view.stand.ahead = AHEAD
        late = await then.fetch(_only_live(view.site, sunny))
        if view.truth.live_every_s and any(one.at - sunny > AHEAD / 2 for one in late.counters):
            raise Failed("registers are told at our own clock's time; take that of the device's answer")
        expect_parts_add_up([one for one in polls[1].values() if one.device_id], view.truth, polls[1][None].at)


@check()
async def devices_are_true(subject: Subject) -> None:
    """Devices, kinds, roles, serials, sizes, power and the time zone are the site's own, by day and by night."""
    async with standing(subject) as stand:
        for view in [view async for view in views(stand)]:
            _expect_zone(view.site, view.truth)
            noon = stand.clock.now()
            for at in (noon, *_next_day(view)):
                await _devices_at(view, at)
            stand.clock.freeze(noon.timestamp())


async def _devices_at(view: View, at: datetime) -> None:
    then = await view.at(at)
    site = await view.stand.site(then.grant, view.site.vendor_id)
    expect_true_devices(site.devices, view.truth, at, whole=True)
    told = await replace(then, site=site).fetch(_only_live(site, at))
    expect_true_devices(told.devices, view.truth, at, whole=False)


def _expect_zone(site: Site, truth: TrueSite) -> None:
    true, place = truth.home.zone, zone_at(site.lat, site.lon)
    if truth.tells_zone and not _is_same_time(zone(site.timezone), true):
        raise Failed(
            f"site {site.vendor_id}: the time zone is {site.timezone}, really it is {true.key}; take the vendor's, or"
            " say TrueSite(tells_zone=False) where it tells none"
        )
    if not truth.tells_zone and place is not None and not _is_same_time(zone(place), true):
        raise Failed(
            f"site {site.vendor_id}: at lat {site.lat}, lon {site.lon} the time zone is {place}, really it is"
            f" {true.key}; are the two swapped?"
        )


def _is_same_time(told: ZoneInfo | None, true: ZoneInfo) -> bool:
    days = [datetime(2026, month, 15, 12, tzinfo=true) for month in range(1, 13)]
    return told is not None and all(day.astimezone(told).utcoffset() == day.utcoffset() for day in days)


@check()
async def ids_stay(subject: Subject) -> None:
    """Sites, accounts and devices keep their ids: from call to call, from consent to consent, and days later."""
    async with standing(subject) as stand:
        seen = []
        for later in (timedelta(0), timedelta(0), LATER):
            stand.clock.freeze((stand.clock.now() + later).timestamp())
            consent = await stand.consent()
            sites = [await stand.site(consent.grant, site_id) for site_id in consent.grant.site_ids[:SITES]]
            devices = {(site.vendor_id, *_identity(device)) for site in sites for device in site.devices}
            seen.append((consent.account_id, set(consent.grant.site_ids), devices))
    what = ("the account's id", "the ids of its sites", "the ids of devices")
    changed = [name for index, name in enumerate(what) if any(one[index] != seen[0][index] for one in seen)]
    if changed:
        raise Failed(f"{', '.join(changed)} changed between two calls; make ids of what the vendor calls them")


def _identity(device: Device) -> tuple[str, ...]:
    return (device.vendor_id, str(device.kind), device.serial or "", device.model or "")


@check(_keeps_any)
async def device_rows_are_true(subject: Subject) -> None:
    """Asked for one device, the rows are of that device and are what it did; NotSupported where the vendor has none."""
    asked = 0
    async with standing(subject) as stand:
        async for view in views(stand):
            for device, true in _some(view):
                asked += await _own_rows(view, device, true)
    if not asked:
        raise DoesNotApply("no device of this vendor tells rows of its own")


def _some(view: View) -> list[tuple[Device, TrueDevice]]:
    """Two inverters, a battery, a meter: those whose serial tells which they really are."""
    found: list[tuple[Device, TrueDevice]] = []
    for device in view.site.devices:
        true = next((one for one in view.truth.devices if (one.kind, one.serial) == (device.kind, device.serial)), None)
        same = sum(one.kind is device.kind for one, _ in found)
        if true and same < 2 and len(found) < EACH:
            found.append((device, true))
    return found


async def _own_rows(view: View, device: Device, true: TrueDevice) -> bool:
    """False: the vendor has none."""
    if "15mins" not in kept(view.stand.vendor):
        return False
    last = last_day(view.stand, view.site)
    try:
        query, rows = await view.rows(last.start, last.end, "15mins", device.vendor_id)
    except NotSupported:
        return False
    expect_rows(rows, query)
    if not rows and any(wh > WH for wh in true.energy(energy(view.truth, query.start, query.end)).values()):
        raise Failed(
            f"device {device.vendor_id} worked all day and has no rows; raise NotSupported where there are none"
        )
    expect_true_rows([row for row in rows if not true.silent(row.start.timestamp())], query, view.truth, device=true)
    zeros = [row for row in rows if true.silent(row.start.timestamp()) and row.quality == "measured"]
    if zeros:
        at = zeros[0].start
        raise Failed(f"device {device.vendor_id} told nothing at {at:%H:%M}; leave the quarter hour out, no zero")
    return bool(rows)
