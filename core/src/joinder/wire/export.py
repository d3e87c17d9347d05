"""A fleet's energy in a file: a row a site and period, in kWh and with the site's own offset."""

from __future__ import annotations

from itertools import repeat

from joinder.services.readings.export import Site
from joinder.services.readings.periods import zone_of
from joinder.services.readings.totals import Totals
from joinder.store.readings import METRICS
from joinder.wire.intervals import shown
from joinder.wire.local_times import spans

_WIRE = {
    "solar_wh": "solarKwh",
    "charge_wh": "chargeKwh",
    "discharge_wh": "dischargeKwh",
    "import_wh": "importKwh",
    "export_wh": "exportKwh",
    "load_wh": "consumptionKwh",
    "charger_wh": "chargerKwh",
    "soc_percent": "stateOfChargePercent",
}
ENERGIES = tuple(_WIRE[name] for name in METRICS)
NAMES = ("siteID", "vendor", "vendorID", "reference")
COLUMNS = (*NAMES, "start", "end", *ENERGIES, "quality")
Cell = str | float | None


def cells(site: Site, level: str, periods: Totals) -> list[tuple[Cell, ...]]:
    """Returns the rows of these periods, in the order of COLUMNS."""
    named = map(repeat, (site.id, site.vendor, site.vendor_id, site.reference))
    when = spans(level, zone_of(site.timezone), periods.starts, periods.ends)
    values = (shown(name, column) for name, column in periods.values.items())
    return list(zip(*named, *when, *values, periods.qualities, strict=False))  # names have no end
