"""A fleet's energy in a file: a row a site and period, in kWh and with the site's own offset."""

from __future__ import annotations

from datetime import datetime

from joinder.services.readings.export import Energy, Site
from joinder.services.readings.periods import zone_of
from joinder.store.readings import METRICS
from joinder.wire.base import kilo

_WIRE = {
    "solar_wh": "solarKwh",
    "charge_wh": "chargeKwh",
    "discharge_wh": "dischargeKwh",
    "import_wh": "importKwh",
    "export_wh": "exportKwh",
    "load_wh": "consumptionKwh",
    "soc_percent": "stateOfChargePercent",
}
ENERGIES = tuple(_WIRE[name] for name in METRICS)
NAMES = ("siteID", "vendor", "vendorID", "reference")
COLUMNS = (*NAMES, "start", "end", *ENERGIES, "quality")
Cell = str | float | None


def cells(site: Site, periods: list[Energy]) -> list[tuple[Cell, ...]]:
    """Returns the rows of these periods, in the order of COLUMNS."""
    zone = zone_of(site.timezone)
    named = (site.id, site.vendor, site.vendor_id, site.reference)
    return [
        (
            *named,
            datetime.fromtimestamp(one.start, zone).isoformat(),
            datetime.fromtimestamp(one.end, zone).isoformat(),
            *map(kilo, one.values[:-1]),
            one.values[-1],
            one.quality,
        )
        for one in periods
    ]
