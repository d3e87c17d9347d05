"""The vendor of virtual mode: homes that exist only here, through the same hooks and the same gate as any vendor's.

What a home is stands in the facts of its grant (configuration.py); what it does follows from that (simulation.py).
Nobody is called. Owners consent on a page of our own (api/virtual.py), which core sends them to in place of HOST.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec

from joinder.energy import Device, DeviceKind, Live, Reading, Readings, ReadingsQuery, Site
from joinder.errors import ApprovalRefused, ConsentInvalid
from joinder.grants import AuthorizeRequest, Callback, Consent, Context, Grant, GrantState
from joinder.hookspecs import hookimpl
from joinder.oauth import code_from
from joinder.redact import Secrets
from joinder.series import day_span, days_between
from joinder.vendor import SOLAR_AND_STORAGE, Flow, History, Limits, Refresh, Support, Vendor
from joinder.virtual import simulation
from joinder.virtual.configuration import (
    HOME,
    VirtualDevice,
    VirtualHome,
    as_device,
    facts_of,
    home_of,
    meter_of,
    new_device,
)
from joinder.virtual.simulation import Quarter, Shape

NAME = "virtual"
HOST = "virtual.invalid"  # no such place: the owner is sent to our own page instead
DECIDED_AFTER = timedelta(minutes=1)  # by a vendor that lets owners wait
GRANTS, APPROVES, REJECTS, ASKS = "grants", "approves-later", "rejects-later", "asks-operator"
DECISIONS = (GRANTS, APPROVES, REJECTS)  # what an owner's page answers as a code
_WAITS, _SINCE, _REASON = "waits", "since", "reason"  # facts of a grant that is not approved yet
_DAYS_AT_ONCE = 8  # simulated before others have their turn

VENDOR = Vendor(
    name=NAME,
    label="Virtual home",
    docs_url="docs/virtual.md",
    flow=Flow.REDIRECT,
    hosts=(HOST,),
    refresh=Refresh.NONE,
    limits=Limits(
        poll_every=timedelta(minutes=15),
        live_max_age=timedelta(minutes=1),
        history=(
            History(resolution="15mins", window=timedelta(days=31), settles_after=timedelta(0)),
            History(resolution="day", window=timedelta(days=366), settles_after=timedelta(0)),
        ),
    ),
    capabilities=dict.fromkeys(SOLAR_AND_STORAGE, Support.YES),
    compatible=True,
)


@hookimpl
def describe_vendor() -> Vendor:
    return VENDOR


@hookimpl
async def build_authorize_url(ctx: Context, request: AuthorizeRequest) -> str:
    return f"https://{HOST}/consent?" + urlencode({"state": request.state, "redirect_uri": request.redirect_uri})


@hookimpl
async def handle_callback(ctx: Context, callback: Callback) -> Consent:
    """Answers the home that was set up over REST, or that of an owner, who has one like it whenever they come."""
    if callback.redirect_uri is None:
        return _set_up(ctx, callback)
    decision, owner = code_from(callback), callback.values.get("owner", "")
    if decision not in DECISIONS or not 1 <= len(owner) <= 100:
        raise ConsentInvalid("The virtual owner's page answers with what was chosen there and the owner's name")
    return Consent(grant=_granted(ctx, owners_home(owner), decision), account_id=owner)


@hookimpl
async def refresh(ctx: Context, grant: Grant) -> Grant:
    """Tells whether a grant that waits is approved: a minute after the consent, or when an operator says so."""
    waits = grant.facts.get(_WAITS)
    if waits is None:
        return grant
    if waits == ASKS or ctx.now() < datetime.fromisoformat(grant.facts[_SINCE]) + DECIDED_AFTER:
        return grant
    if waits == REJECTS:
        raise ApprovalRefused(grant.facts.get(_REASON) or "The virtual vendor decided against it")
    return approved(grant)


@hookimpl
async def fetch_site(ctx: Context, grant: Grant, site_id: str) -> Site:
    home = home_of(grant.facts)
    return Site(
        vendor_id=home.vendor_id,
        name=home.name,
        timezone=home.timezone,
        lat=home.lat,
        lon=home.lon,
        operational_since=home.operational_since,
        devices=tuple(_told(home, ctx.now())),
    )


@hookimpl
async def fetch_readings(ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
    home = home_of(grant.facts)
    shape, rows = Shape.of(home), list[Reading]()
    days = [] if query.start >= query.end else list(days_between(query.start, query.end, ZoneInfo(home.timezone)))
    for index, day in enumerate(days):
        if index % _DAYS_AT_ONCE == 0:
            await asyncio.sleep(0)
        quarters = [row for row in simulation.quarters(shape, day) if row.start >= home.operational_since.timestamp()]
        rows += _day(home, quarters, query) if query.resolution == "day" else _quarter_hours(home, quarters, query)
    ended = [row for row in rows if query.start <= row.start and row.end <= min(query.end, ctx.now())]
    live = _live(home, ctx.now()) if query.live else None
    return Readings(intervals=tuple(ended), live=live, devices=tuple(_told(home, ctx.now())) if query.live else ())


def decided(waits: str, reason: str | None = None) -> dict[str, str]:
    """Returns the facts of a grant that an operator decided of; ASKS: that waits for one."""
    return {_WAITS: waits, _SINCE: datetime.fromtimestamp(0, UTC).isoformat(), **({_REASON: reason} if reason else {})}


def approved(grant: Grant) -> Grant:
    """Returns a grant that waits no more."""
    facts = {name: value for name, value in grant.facts.items() if name not in (_WAITS, _SINCE, _REASON)}
    return Grant(secrets=grant.secrets, facts=facts, site_ids=grant.site_ids)


def owners_home(owner: str, name: str | None = None) -> VirtualHome:
    """Makes the home of an owner: with sun, a battery and a meter, the same each time. `name`: what it is called."""
    home_id = hashlib.sha256(owner.encode()).hexdigest()[:24]
    devices = (
        new_device(f"{home_id[:12]}-sun", DeviceKind.INVERTER),
        new_device(f"{home_id[:12]}-bat", DeviceKind.BATTERY),
    )
    return VirtualHome(
        vendor_id=home_id,
        name=name or f"Home of {owner}",
        devices=devices,
        timezone="Europe/Berlin",
        lat=52.5,
        lon=13.4,
    )


def _set_up(ctx: Context, callback: Callback) -> Consent:
    """Answers the home in `home`; with `decision`, it waits for one."""
    try:
        home = msgspec.json.decode(callback.values.get(HOME, ""), type=VirtualHome)
    except msgspec.MsgspecError:
        raise ConsentInvalid("This describes no virtual home") from None
    return Consent(grant=_granted(ctx, home, callback.values.get("decision", GRANTS)))


def _granted(ctx: Context, home: VirtualHome, decision: str) -> Grant:
    facts, state = facts_of(home), GrantState.ACTIVE
    if decision != GRANTS:
        facts |= {_WAITS: decision, _SINCE: ctx.now().isoformat()}
        state = GrantState.PENDING_APPROVAL
    return Grant(secrets=Secrets({}), facts=facts, site_ids=(home.vendor_id,), state=state)


def _told(home: VirtualHome, now: datetime) -> Iterable[Device]:
    """Yields the home's devices as they are now."""
    shape = Shape.of(home)
    quarter = simulation.quarter_at(shape, now)
    reported_at = now.replace(second=0, microsecond=0)
    for kind in (DeviceKind.INVERTER, DeviceKind.BATTERY):
        devices = home.of_kind(kind)
        weights = simulation.shares(devices)
        flow = quarter.solar if kind is DeviceKind.INVERTER else quarter.discharge - quarter.charge
        for index, (device, part) in enumerate(zip(devices, simulation.shared(flow, weights), strict=True)):
            told = msgspec.structs.replace(as_device(device, home), power_w=4.0 * part)
            told = msgspec.structs.replace(told, reported_at=device.reported_at or reported_at)
            if kind is DeviceKind.BATTERY:
                yield msgspec.structs.replace(told, soc_percent=_soc(device, quarter))
            else:
                yield _with_lifetime(told, device, home, _share(weights, index), now)
    power_w = 4.0 * (quarter.imported - quarter.exported)
    yield msgspec.structs.replace(meter_of(home), power_w=power_w, reported_at=reported_at)


def _with_lifetime(told: Device, device: VirtualDevice, home: VirtualHome, share: float, now: datetime) -> Device:
    since, given = device.lifetime_since or home.operational_since, device.lifetime_wh
    made = round(simulation.lifetime_wh(Shape.of(home), since, now) * share) if given is None else given
    return msgspec.structs.replace(told, lifetime_wh=float(made), lifetime_since=since)


def _share(weights: Sequence[float], index: int) -> float:
    return weights[index] / sum(weights) if sum(weights) else 0.0


def _soc(device: VirtualDevice, quarter: Quarter) -> float:
    if device.soc_percent is not None:
        return device.soc_percent
    return 100.0 if device.is_backup else quarter.soc_percent


def _site_soc(home: VirtualHome, quarter: Quarter) -> float | None:
    """Returns the charge over all batteries, by their size; None where there is none."""
    batteries = [one for one in home.of_kind(DeviceKind.BATTERY) if one.capacity_wh]
    whole = sum(one.capacity_wh for one in batteries)
    return round(sum(_soc(one, quarter) * one.capacity_wh for one in batteries) / whole, 1) if whole else None


def _live(home: VirtualHome, now: datetime) -> Live:
    quarter = simulation.quarter_at(Shape.of(home), now)
    return Live(
        measured_at=now.replace(second=0, microsecond=0),
        solar_w=4.0 * quarter.solar if home.of_kind(DeviceKind.INVERTER) else None,
        battery_w=4.0 * (quarter.discharge - quarter.charge) if home.of_kind(DeviceKind.BATTERY) else None,
        grid_w=4.0 * (quarter.imported - quarter.exported),
        load_w=4.0 * quarter.load,
        soc_percent=_site_soc(home, quarter),
    )


def _quarter_hours(home: VirtualHome, quarters: Sequence[Quarter], query: ReadingsQuery) -> list[Reading]:
    return [_reading(home, [quarter], query.device_id) for quarter in quarters]


def _day(home: VirtualHome, quarters: Sequence[Quarter], query: ReadingsQuery) -> list[Reading]:
    """Returns the day as one row, of its quarter hours since the home began to operate."""
    return [_reading(home, quarters, query.device_id, is_day=True)] if quarters else []


def _reading(home: VirtualHome, quarters: Sequence[Quarter], device_id: str | None, *, is_day: bool = False) -> Reading:
    """Adds quarter hours up to one row, of the home or of one of its devices."""
    end = datetime.fromtimestamp(quarters[-1].start + simulation.QUARTER_S, UTC)
    start = datetime.fromtimestamp(quarters[0].start, UTC)
    if is_day:
        (day,) = days_between(end - timedelta(seconds=1), end, ZoneInfo(home.timezone))
        start = day_span(day, ZoneInfo(home.timezone))[0]
    device = home.device(device_id) if device_id is not None else None
    told = _of_home(home, quarters) if device_id is None else _of_meter(quarters)
    told = told if device is None else _of_device(home, device, quarters)
    return Reading(start=start, end=end, device_id=device_id, **told)


def _of_home(home: VirtualHome, quarters: Sequence[Quarter]) -> dict[str, Any]:
    told: dict[str, Any] = {**_of_meter(quarters), "load_wh": float(sum(row.load for row in quarters))}
    if home.of_kind(DeviceKind.INVERTER):
        told["solar_wh"] = float(sum(row.solar for row in quarters))
    if home.of_kind(DeviceKind.BATTERY):
        told |= {"charge_wh": float(sum(row.charge for row in quarters))}
        told |= {"discharge_wh": float(sum(row.discharge for row in quarters))}
        told["soc_percent"] = _mean([_site_soc(home, row) for row in quarters])
    return told


def _of_meter(quarters: Sequence[Quarter]) -> dict[str, Any]:
    imported, exported = (sum(row.imported for row in quarters), sum(row.exported for row in quarters))
    return {"import_wh": float(imported), "export_wh": float(exported)}


def _of_device(home: VirtualHome, device: VirtualDevice, quarters: Sequence[Quarter]) -> dict[str, Any]:
    devices = home.of_kind(device.kind)
    place, weights = devices.index(device), simulation.shares(devices)

    def share(totals: Iterable[int]) -> float:
        return float(sum(simulation.shared(total, weights)[place] for total in totals))

    if device.kind is DeviceKind.INVERTER:
        return {"solar_wh": share(row.solar for row in quarters)}
    soc = _mean([100.0 if device.is_backup else row.soc_percent for row in quarters])
    flows = {
        "charge_wh": share(row.charge for row in quarters),
        "discharge_wh": share(row.discharge for row in quarters),
    }
    return {**flows, "soc_percent": soc}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 1) if known else None
