"""Which device is silent while its site is read, and since when: what makes a sum over devices partial has a name.

Two things tell. Rows of the site that lack a device (`Reading.lacks`), while others of it are told: that is stored with
the device (`silent_since`), as it takes a look at rows that come one after the other. And the device's own word of when
it reported last: that is compared when somebody looks, and costs no query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from joinder.clean import clean_line
from joinder.clock import to_epoch
from joinder.energy import PARTS_MISSING, Device, DeviceKind, Reading
from joinder.services.readings import sums
from joinder.services.readings.coverage import HOLE_S
from joinder.services.readings.sites import device_of
from joinder.services.records import notices
from joinder.store.readings import METRICS
from joinder.store.sites import StoredDevice, StoredSite
from joinder.store.types import Write

SILENT_AFTER_S = 3600  # devices report at moments of their own: less means nothing
_RECENT_S = 3600  # an answer up to here tells how it is now; an older one how it was
_SET = "UPDATE device SET silent_since = :since WHERE id = :id"
_SLEEPERS = (DeviceKind.INVERTER, DeviceKind.CHARGER)
KINDS = {"inverter": "Inverter", "battery": "Battery", "meter": "Meter", "charger": "Charger"}


@dataclass(frozen=True, kw_only=True)
class Silent:
    """A device and the moment (epoch seconds) since which it told nothing."""

    device: StoredDevice
    since: int


@dataclass
class _Seen:
    """What an answer tells of one device. Epoch seconds."""

    told_until: int | None = None
    lacks_from: int | None = None  # of the rows after it that lack the device
    lacks_s: int = 0

    def row(self, start: int, end: int, *, is_told: bool) -> None:
        if is_told:
            self.told_until, self.lacks_from, self.lacks_s = end, None, 0
        else:
            self.lacks_from = start if self.lacks_from is None else self.lacks_from
            self.lacks_s += end - start


def since(device: StoredDevice, others: Iterable[StoredDevice]) -> int | None:
    """Returns the moment since which the device is silent, in epoch seconds; None while it is not.

    `others`: of its site.
    """
    return device.silent_since or _by_reports(device, others)


def is_late(device: StoredDevice) -> bool:
    """Tells whether its last report is so old that the other devices of its site must be looked at."""
    reported_at = _reported(device)
    return reported_at is not None and device.fetched_at - reported_at > SILENT_AFTER_S


def silent_of(devices: Sequence[StoredDevice], kind: str | None = None) -> list[Silent]:
    """Returns the devices of a site (of one kind) that are silent."""
    wanted = [device for device in devices if kind is None or device.kind == kind]
    moments = ((device, since(device, devices)) for device in wanted)
    return [Silent(device=device, since=moment) for device, moment in moments if moment is not None]


def _by_reports(device: StoredDevice, others: Iterable[StoredDevice]) -> int | None:
    """Returns the last report, in epoch seconds, since which the device is silent; None while it is not.

    An inverter sleeps at night and a charger without a car: one is silent when another reported since, or after a day.
    """
    reported_at = _reported(device)
    if reported_at is None or not is_late(device):
        return None
    if device.kind not in _SLEEPERS or device.fetched_at - reported_at > HOLE_S:
        return reported_at
    alike = (_reported(other) for other in others if other.kind == device.kind and other.id != device.id)
    newest = max((at for at in alike if at is not None), default=reported_at)
    return reported_at if newest - reported_at > SILENT_AFTER_S else None


def _reported(device: StoredDevice) -> int | None:
    return to_epoch(device_of(device).reported_at)


def named(device: StoredDevice) -> str:
    """Names the device as an operator knows it: by its name and serial, else by the vendor's id."""
    told = device_of(device)
    serial = told.serial or device.vendor_id
    return clean_line(f"{told.name} ({serial})" if told.name and told.name != serial else serial)


def sentence(device: StoredDevice) -> str:
    return f"{KINDS.get(device.kind, 'Device')} {named(device)} tells nothing while others do: sums of the site lack it"


def writes(
    site: StoredSite,
    devices: Sequence[StoredDevice],
    rows: Sequence[Reading],
    *,
    device_id: str | None,
    end: int,
    moment: int,
) -> list[Write]:
    """Makes the writes of who is silent, and a word for the operator, after an answer.

    `rows` are those of what was asked, the site's or one device's (`device_id`, the vendor's); `end`: up to when was
    asked, at `moment`, both in epoch seconds.
    """
    if not any(row.lacks for row in rows) and all(device.silent_since is None for device in devices):
        return []
    found: list[Write] = []
    seen = _of_device(rows, device_id) if device_id is not None else _of_site(rows, devices)
    for device in devices:
        if device.vendor_id not in seen:
            continue
        begin = _decided(device.silent_since, seen[device.vendor_id], is_recent=end >= moment - _RECENT_S)
        if begin != device.silent_since:
            found.append((_SET, {"id": device.id, "since": begin}))
        if begin is not None and device_id is None and seen[device.vendor_id].lacks_from is not None:
            text = sentence(device)
            found.append(notices.about_device(site.enrollment_id, site.id, device.id, PARTS_MISSING, text, begin))
    return found


def _of_site(rows: Iterable[Reading], devices: Sequence[StoredDevice]) -> dict[str, _Seen]:
    """Says what the site's rows tell of each device: only a row that tells what it would be a part of does."""
    metrics = _metrics([device_of(device) for device in devices])
    seen: dict[str, _Seen] = {}
    for row in rows:
        if row.device_id is not None:
            continue
        told = {metric for metric in METRICS if getattr(row, metric) is not None}
        for device_id, own in metrics.items():
            is_silent = device_id in row.lacks  # a plugin may leave the whole sum unknown then
            if is_silent or not own.isdisjoint(told):
                _note(seen, device_id, row, is_told=not is_silent)
    return seen


def _metrics(devices: Sequence[Device]) -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = {}
    for metric, members in sums.measured_by(devices).items():
        for device_id in members:
            found.setdefault(device_id, set()).add(metric)
    return found


def _of_device(rows: Iterable[Reading], device_id: str) -> dict[str, _Seen]:
    seen: dict[str, _Seen] = {}
    for row in rows:
        if any(getattr(row, metric) is not None for metric in METRICS):
            _note(seen, device_id, row, is_told=True)
    return seen


def _note(seen: dict[str, _Seen], device_id: str, row: Reading, *, is_told: bool) -> None:
    one = seen.setdefault(device_id, _Seen())
    one.row(int(row.start.timestamp()), int(row.end.timestamp()), is_told=is_told)


def _decided(before: int | None, seen: _Seen, *, is_recent: bool) -> int | None:
    """Says since when it is silent, after this answer. One of older days does not tell how it is now."""
    told = seen.told_until
    if before is not None and told is not None and told > before:
        before = told if seen.lacks_s >= SILENT_AFTER_S else None
    if not is_recent or seen.lacks_from is None:
        return before
    if before is None and seen.lacks_s < SILENT_AFTER_S:
        return None
    begin = seen.lacks_from if told is None else told
    return begin if before is None else min(before, begin)
