"""One poll of one gateway: which pages are asked, in which order, and what a refusal means.

The gateway is a small box: one call at a time, no page that nothing is taken from, and /production.json (seconds)
only where no quick page serves. GET only, and only the paths named here: an owner's token could also switch a battery's
mode or take the house off the grid.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import TYPE_CHECKING, Literal, TypeVar

from joinder.errors import AuthorizationLost, DeviceIdentityChanged, VendorError, VendorTimeout
from joinder.http import Answer, raise_for_status
from joinder.series import zone
from joinder_iq_gateway import cts, payloads
from joinder_iq_gateway.devices import box_time, devices_of, inverters_of
from joinder_iq_gateway.info import parse_info, version

if TYPE_CHECKING:
    from joinder.http import DeviceHttp

T = TypeVar("T")
INFO = "/info"
METERS = "/ivp/meters"
READINGS = "/ivp/meters/readings"
PRODUCTION = "/api/v1/production"
INVERTERS = "/api/v1/production/inverters"
DEVICE_DATA = "/ivp/pdm/device_data"
SEGMENTS = "/production.json"
ENSEMBLE = "/ivp/ensemble/inventory"
ENSEMBLE_POWER = "/ivp/ensemble/power"
ENSEMBLE_STATE = "/ivp/ensemble/secctrl"
GENERATOR = "/ivp/ensemble/generator"
HOME = "/home"
INVENTORY = "/inventory.json"

QUICK_S, SLOW_S = 10.0, 40.0  # /production.json took up to 5.4 s and /home 9.3 s on 8.3.5169; evcc users needed 30 s
SLOW_PAGES = (SEGMENTS, HOME, INVENTORY)
CYCLE_S = 75.0  # below core's deadline for a hook
V1_STALLS_FROM = (8, 2, 4264)  # /api/v1/production of metered boxes without CT
NIGHTLY_STALL = (
    time(22, 57),
    time(23, 10),
)  # gateway local time; /ivp/pdm/device_data hangs (home-assistant/core#156189)

Source = Literal["ct", "eim", "v1", "inverters"]


class Gateway:
    """A proven gateway during one poll. Every failing page is kept in `failed`, the others still count."""

    def __init__(self, box: DeviceHttp, token: str, *, expires_at: datetime | None, now: datetime) -> None:
        self.failed: dict[str, VendorError] = {}
        self._box = box
        self._headers = {"authorization": f"Bearer {token}", "accept-encoding": "identity"}
        self._expired = expires_at is not None and expires_at <= now
        self._rechecked = False
        self._ends = asyncio.get_running_loop().time() + CYCLE_S

    async def open_session(self) -> None:
        """Has the token checked once; the session cookie it earns is cheaper to the box than a token per call.

        Raises AuthorizationLost when the box refuses the token, DeviceUnreachable when nothing answers.
        """
        answer = await self._call("/auth/check_jwt")
        if answer.status in (401, 403):
            raise self._lost()

    async def read(self, path: str, into: type[T]) -> T | None:
        """Reads a page as `into`; None when the box has no such page, refuses it to this role, or failed (`failed`).

        Raises AuthorizationLost and DeviceIdentityChanged.
        """
        try:
            answer = await self._get(path)
            if _is_absent(answer):
                return None
            raise_for_status(answer)
            return answer.json(into)
        except (AuthorizationLost, DeviceIdentityChanged):
            raise
        except VendorError as error:
            self.failed[path] = error
            return None

    async def firmware(self) -> str | None:
        """Asks /info for the firmware, which may have been updated since the owner joined.

        None when that failed (`failed`). Raises AuthorizationLost and DeviceIdentityChanged.
        """
        try:
            return parse_info(await self._get(INFO)).firmware
        except (AuthorizationLost, DeviceIdentityChanged):
            raise
        except VendorError as error:
            self.failed[INFO] = error
            return None

    async def _get(self, path: str) -> Answer:
        """Sends a GET, with one new session on a refusal: refused again, it is this page that the role may not read."""
        answer = await self._call(path)
        if answer.status not in (401, 403):
            return answer
        if self._expired:
            raise self._lost()
        if self._rechecked:
            return answer
        self._rechecked = True
        await self.open_session()
        return await self._call(path)

    async def _call(self, path: str) -> Answer:
        left = self._ends - asyncio.get_running_loop().time()
        if left <= 0:
            raise VendorTimeout("The gateway answers too slowly to read all its pages")
        url = f"{self._box.origin}{path}"
        return await self._box.request(
            "GET", url, headers=self._headers, deadline=min(SLOW_S if path in SLOW_PAGES else QUICK_S, left)
        )

    def _lost(self) -> AuthorizationLost:
        why = "has expired" if self._expired else "is no longer accepted by the gateway"
        return AuthorizationLost(f"The token {why}; its owner must make a new one")


@dataclass(kw_only=True)
class Snapshot:
    """What one poll brought. None: the box has no such page or it failed; `failed` names the latter."""

    meters: list[payloads.Meter] = field(default_factory=list)
    ct_readings: list[payloads.CtReading] = field(default_factory=list)
    production: payloads.Production | None = None
    segments: payloads.Segments | None = None
    source: Source | None = None  # of the site's solar figures; None: unknown this time
    has_phantom_ct: bool = False  # an enabled production CT that is not installed
    device_data: list[payloads.DeviceData] = field(default_factory=list)  # only when it lists every device
    inverters: list[payloads.InverterReport] = field(default_factory=list)
    ensemble: list[payloads.EnsembleGroup] = field(default_factory=list)
    battery_power: payloads.EnsemblePower | None = None
    ensemble_state: payloads.EnsembleState | None = None
    generator: payloads.Generator | None = None  # asked only where a system controller is listed
    failed: dict[str, VendorError] = field(default_factory=dict)

    @property
    def iq_batteries(self) -> list[payloads.EnsembleDevice]:
        return [device for group in self.ensemble if group.type == "ENCHARGE" for device in group.devices]

    @property
    def controllers(self) -> list[payloads.EnsembleDevice]:
        """Returns system controllers and meter collars: what cuts the home from the grid, or lets a generator in."""
        return [device for group in self.ensemble if group.type != "ENCHARGE" for device in group.devices]

    @property
    def ac_batteries(self) -> list[payloads.DeviceData]:
        """Returns AC Batteries with measured power, which only device_data has by unit."""
        return [device for device in self.device_data if device.dev_name == "acb" and device.active]

    @property
    def unmeasured_ac_batteries(self) -> list[payloads.InverterReport]:
        return [report for report in self.inverters if report.dev_type == payloads.AC_BATTERY]


async def take_snapshot(gateway: Gateway, *, firmware: str, now: datetime, timezone: str | None) -> Snapshot:
    """Asks every page this gateway's readings come from; `firmware` may be of the day the owner joined.

    Raises AuthorizationLost and DeviceIdentityChanged; every other failure is in `failed`.
    """
    snapshot = Snapshot(failed=gateway.failed)
    meters = await gateway.read(METERS, list[payloads.Meter])
    snapshot.meters = list({meter.eid: meter for meter in meters or []}.values())  # one listed twice counts once
    if any(meter.enabled for meter in snapshot.meters):
        snapshot.ct_readings = await gateway.read(READINGS, list[payloads.CtReading]) or []
    await _read_inverters(gateway, snapshot, stalls=_is_nightly_stall(now, timezone))
    await _read_solar(gateway, snapshot, firmware, has_meters_page=meters is not None)
    await _leave_phantom_ct(gateway, snapshot, firmware, now)
    await _read_batteries(gateway, snapshot)
    return snapshot


async def _read_solar(gateway: Gateway, snapshot: Snapshot, firmware: str, *, has_meters_page: bool) -> None:
    """Reads one source for the site's solar figures, the same on every poll: mixing them makes the counters jump.

    1. An enabled production CT, and nothing else then. 2. Without the meters page, CTs in /production.json.
    3. /api/v1/production, unless it stalls. 4. The sum over inverters. A CT that is enabled and not installed is
    none; a box that has just started answers zeros to all of them, and for a while another source than before.
    """
    if METERS in gateway.failed:
        return
    if any(meter.enabled and meter.measurement_type == "production" for meter in snapshot.meters):
        snapshot.source = "ct"
        return
    if not has_meters_page:
        await _read_segments(gateway, snapshot)
        if snapshot.segments and any(_is_measured(segment) for segment in snapshot.segments.production):
            snapshot.source = "eim"
        if snapshot.source or SEGMENTS in gateway.failed:
            return
    snapshot.production = await gateway.read(PRODUCTION, payloads.Production)
    if PRODUCTION in gateway.failed:
        return
    if await _v1_counts(gateway, snapshot, firmware):
        snapshot.source = "v1"
    elif INFO not in gateway.failed:
        await _read_segments(gateway, snapshot)
        snapshot.source = "inverters" if snapshot.segments else None


async def _leave_phantom_ct(gateway: Gateway, snapshot: Snapshot, firmware: str, now: datetime) -> None:
    """Takes the sum over inverters instead of a production CT that measures nothing.

    /api/v1/production only repeats the CT.
    """
    at = box_time((reading.timestamp for reading in snapshot.ct_readings), now)
    inverters = inverters_of(devices_of(snapshot, at=at, firmware=firmware), at=at)
    ct = _production_ct(snapshot, inverters.standby_w)
    if ct is None or not cts.measures_nothing(ct, inverters):
        return
    await _read_segments(gateway, snapshot)
    snapshot.has_phantom_ct = True
    snapshot.source = "inverters" if snapshot.segments else None


def _production_ct(snapshot: Snapshot, standby_w: float) -> cts.Ct | None:
    """Returns the source's CT; None where the source is no CT, or one that another rule refuses."""
    if snapshot.source == "ct":
        return cts.raw_production(snapshot.meters, snapshot.ct_readings, standby_w=standby_w)
    if snapshot.source == "eim" and snapshot.segments:
        measured = next(filter(_is_measured, snapshot.segments.production))
        return None if cts.is_negative(measured.w_now, standby_w) else cts.of_segment(measured)
    return None


async def _v1_counts(gateway: Gateway, snapshot: Snapshot, firmware: str) -> bool:
    """Tells whether /api/v1/production moves.

    Metered boxes without CT answer zeros (7.x) or stand still (8.2.4264 on).
    """
    v1 = snapshot.production
    if v1 is None or not (v1.watt_hours_today or v1.watt_hours_seven_days or v1.watt_hours_lifetime):
        return False
    if not snapshot.meters:
        return True
    if version(firmware) >= V1_STALLS_FROM:
        return False
    current = await gateway.firmware()
    return current is not None and version(current) < V1_STALLS_FROM


async def _read_segments(gateway: Gateway, snapshot: Snapshot) -> None:
    """Reads the segments, once a poll at most; a box without the page has none of them."""
    if snapshot.segments is None and SEGMENTS not in gateway.failed:
        found = await gateway.read(SEGMENTS, payloads.Segments)
        snapshot.segments = payloads.Segments() if found is None and SEGMENTS not in gateway.failed else found


async def _read_inverters(gateway: Gateway, snapshot: Snapshot, *, stalls: bool) -> None:
    table = None if stalls else await gateway.read(DEVICE_DATA, payloads.DeviceTable)
    snapshot.device_data = _complete_list(table or {})
    if not snapshot.device_data:
        snapshot.inverters = await gateway.read(INVERTERS, list[payloads.InverterReport]) or []


async def _read_batteries(gateway: Gateway, snapshot: Snapshot) -> None:
    snapshot.ensemble = await gateway.read(ENSEMBLE, list[payloads.EnsembleGroup]) or []
    if snapshot.iq_batteries:
        snapshot.battery_power = await gateway.read(ENSEMBLE_POWER, payloads.EnsemblePower)
    if snapshot.controllers:
        snapshot.generator = await gateway.read(GENERATOR, payloads.Generator)
    if snapshot.unmeasured_ac_batteries:
        await _read_segments(gateway, snapshot)
    if snapshot.iq_batteries and (snapshot.unmeasured_ac_batteries or snapshot.ac_batteries):
        snapshot.ensemble_state = await gateway.read(ENSEMBLE_STATE, payloads.EnsembleState)


def _complete_list(table: payloads.DeviceTable) -> list[payloads.DeviceData]:
    """Returns all devices; empty unless all are there: the page lists 50 at most, with retired ones and meters."""
    count, limit = table.get("deviceCount"), table.get("deviceDataLimit", 50)
    if not isinstance(count, int) or not isinstance(limit, int) or count >= limit:
        return []
    devices = [entry for entry in table.values() if isinstance(entry, payloads.DeviceData)]
    return devices if any(device.dev_name == "pcu" for device in devices) else []


def _is_measured(segment: payloads.Segment) -> bool:
    """Tells whether an eim entry has an active CT; without one it carries noise."""
    return segment.type == "eim" and bool(segment.active_count)


def _is_absent(answer: Answer) -> bool:
    """Tells whether this firmware has no such page (3xx: never followed), or not for this role, or nothing in it."""
    gone = answer.status in (301, 302, 303, 307, 308, 401, 403, 404, 405)
    return gone or (answer.ok and answer.content.strip() == b"{}")


def _is_nightly_stall(now: datetime, timezone: str | None) -> bool:
    where = zone(timezone)
    return where is not None and NIGHTLY_STALL[0] <= now.astimezone(where).time() < NIGHTLY_STALL[1]
