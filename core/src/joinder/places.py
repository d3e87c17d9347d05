"""Which time zone a place lies in, found offline."""

from __future__ import annotations

from joinder.local_time import zone


def zone_at(lat: float | None, lon: float | None) -> str | None:
    """Returns the IANA name of a place's zone; None at sea, and where a coordinate is missing.

    Both being 0 is a form left empty: None too.
    """
    if lat is None or lon is None or (lat == 0 and lon == 0):
        return None
    import tzfpy  # reads its map, some megabytes, when it is first asked

    name = tzfpy.get_tz(lon, lat)
    return None if not name or name.startswith("Etc/") or zone(name) is None else name
