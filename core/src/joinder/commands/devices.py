from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import rich_click as click

from joinder.commands import series
from joinder.commands.answering import Columns, print_list, print_one
from joinder.commands.running import json_option, on_hub
from joinder.commands.sites import account_of_site

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.readings.intervals import Page
    from joinder.services.readings.periods import SummaryLevel
    from joinder.store.sites import StoredDevice
    from joinder.wire.devices import Device

_NAMES = {"solr": "solar", "batt": "battery", "metr": "meter", "chrg": "charger"}  # by tag of the id
_COLUMNS: Columns[Device] = {
    "id": lambda one: one.id,
    "kind": lambda one: _NAMES.get(one.id[:4]),
    "model": lambda one: one.model,
    "serial": lambda one: one.serial_number,
    "name": lambda one: one.name,
    "reported": lambda one: one.reported_at,
    "silent since": lambda one: one.silent_since,
}


@click.group(name="devices")
def command() -> None:
    """Devices: inverters, batteries, meters, chargers. Example:  joinder devices list site-…"""


@command.command(name="list")
@click.argument("site_id")
@json_option
def list_all(site_id: str, as_json: bool) -> None:
    """List a site's devices. Example:  joinder devices list site-…"""
    from joinder.services.readings import sites

    async def look(hub: Hub) -> list[Device]:
        _, devices = await sites.get_site(hub, await account_of_site(hub, site_id), site_id)
        return [_told(device, devices) for device in devices]

    print_list(on_hub(look), _COLUMNS, as_json)


@command.command()
@click.argument("device_id")
@json_option
def show(device_id: str, as_json: bool) -> None:
    """Show a device. Example:  joinder devices show batt-…"""
    from joinder.services.readings import sites
    from joinder.store.sites import read_devices

    async def look(hub: Hub) -> Device:
        owner, kind = await _account(hub, device_id), series.kind_of(_kind(device_id))
        device = await sites.get_device(hub, owner, device_id, kind)
        return _told(device, await read_devices(hub.store, device.site_id))

    print_one(on_hub(look), as_json)


@command.command()
@click.argument("device_id")
@series.window_options
@json_option
def intervals(
    device_id: str, level: SummaryLevel, start: int | None, end: int | None, provenance: bool, as_json: bool
) -> None:
    """List the energy of a device. Example:  joinder devices intervals metr-… --level day --start 2026-06-01"""
    from joinder.services.readings import intervals

    async def look(hub: Hub) -> Page:
        owner, kind = await _account(hub, device_id), series.kind_of(_kind(device_id))
        return await series.read_all(
            lambda asked: intervals.of_device(hub, owner, device_id, kind, asked),
            series.window(level, start, end, provenance),
        )

    page = on_hub(look)
    series.print_intervals(device_id, _kind(device_id), level, page, provenance, as_json)


def _told(device: StoredDevice, all_of_site: Sequence[StoredDevice]) -> Device:
    from joinder.services.readings import silence
    from joinder.wire.devices import Battery, Charger, Meter, SolarInverter

    answers: dict[str, Callable[[StoredDevice, None, int | None], Device]]
    answers = {"solar": SolarInverter.of, "battery": Battery.of, "meter": Meter.of, "charger": Charger.of}
    return answers[_kind(device.id)](device, None, silence.since(device, all_of_site))


def _kind(device_id: str) -> str:
    """Returns the kind of device an id is of. Raises NotFound."""
    from joinder.services.refusals import NotFound

    if device_id[:4] not in _NAMES:
        raise NotFound("Nothing has this id.")
    return _NAMES[device_id[:4]]


async def _account(hub: Hub, device_id: str) -> str:
    from joinder.runtime.hub import account_of
    from joinder.store.tables import DeviceRow

    return await account_of(hub, DeviceRow, device_id)
