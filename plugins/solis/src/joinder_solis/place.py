"""Where a plant lies: its time zone by name, its coordinates. An offset makes no zone, for it follows summer time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from joinder.series import zone
from joinder_solis.api import Record
from joinder_solis.doubt import Say

_ZONE_TAIL = re.compile(r"\)\s*([A-Za-z_]+/[\w/+-]+)$")
NO_ZONE = (
    "SolisCloud does not name the time zone of this plant, and an offset is none: days cannot be read until the owner "
    "sets the plant's time zone there"
)
ZONES_DIFFER = (
    "SolisCloud contradicts itself about the time zone of this plant: it is unknown until the owner corrects it"
)


def zone_name(station: Record, now: datetime, say: Say) -> str | None:
    """Returns the zone's IANA name where all that tells it, and the standard offset beside it, agree; else None."""
    tail = _ZONE_TAIL.search(station.text("timeZoneName") or "")
    told = (station.text("timeZoneStandardId"), tail.group(1) if tail else None)
    names = [name for name in told if name and _is_place(name)]
    if not names:
        if coordinates(station) == (None, None):
            say(NO_ZONE)
        return None
    years, hours = {_year(name, now) for name in names}, station.number("timeZone")
    if len(years) > 1 or (hours is not None and hours not in next(iter(years))):
        say(ZONES_DIFFER)
        return None
    return names[0]


def _is_place(name: str) -> bool:
    """Tells whether a name is a place's, not UTC, EST or Etc/GMT-10: those are offsets with a name."""
    return "/" in name and not name.lower().startswith("etc/") and zone(name) is not None


def _year(name: str, now: datetime) -> tuple[float, ...]:
    """Returns the offsets of January and July, in hours; which of them is standard differs by country."""
    moments = (datetime(now.year, month, 1, tzinfo=UTC).astimezone(zone(name)) for month in (1, 7))
    return tuple((moment.utcoffset() or timedelta(0)).total_seconds() / 3600 for moment in moments)


def coordinates(station: Record) -> tuple[float | None, float | None]:
    """Returns latitude and longitude, or None for both; 0, 0 is where nobody filled them in."""
    lat, lon = station.number("latitude"), station.number("longitude")
    if lat is None or lon is None or abs(lat) > 90 or abs(lon) > 180 or (lat == 0 and lon == 0):
        return None, None
    return lat, lon
