"""Where a site is and what its batteries hold, out of members whose type no document tells. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joinder.series import zone

NO_ZONE = "SolarEdge names a time zone that is an offset or not known: it is left out"
_LEAST_BARE_WH = 1000.0  # a nameplate without unit: no battery of SolarEdge holds 1 MWh, and none as little as 1 kWh
_ENERGY_UNITS = {"WH": 1.0, "KWH": 1e3, "MWH": 1e6}


def zone_name(told: str | None) -> tuple[str | None, tuple[str, ...]]:
    """Returns an IANA name and no warning, or None and what is wrong.

    An offset, also one dressed as a name (Etc/GMT+5), knows no summer time and is none.
    """
    if not told:
        return None, ()
    is_offset = told.startswith(("Etc/GMT+", "Etc/GMT-"))
    return (None, (NO_ZONE,)) if is_offset or zone(told) is None else (told, ())


def place(latitude: Any, longitude: Any) -> tuple[float | None, float | None]:
    """Returns latitude and longitude, or None for both; 0, 0 is where nobody entered anything."""
    lat, lon = _number(latitude), _number(longitude)
    if lat is None or lon is None or abs(lat) > 90 or abs(lon) > 180 or (lat, lon) == (0, 0):
        return None, None
    return lat, lon


def _number(told: Any) -> float | None:
    """Parses a number of whatever stands there, texts too; None where it is none."""
    if isinstance(told, bool) or not isinstance(told, int | float | str):
        return None
    try:
        value = float(told)
    except (ValueError, OverflowError):
        return None
    return value if abs(value) <= 1e12 else None  # neither "nan" nor "inf"


def capacity_wh(nameplate: Any) -> float | None:
    """Returns Wh of a value with its unit, or of a bare number, which is kWh where it is too small for Wh.

    None where it is neither.
    """
    if isinstance(nameplate, Mapping):
        value, factor = _number(nameplate.get("value")), _ENERGY_UNITS.get(str(nameplate.get("unit")).upper())
        return value * factor if value and value > 0 and factor else None
    bare = _number(nameplate)
    if bare is None or bare <= 0:
        return None
    return bare if bare >= _LEAST_BARE_WH else bare * 1e3
