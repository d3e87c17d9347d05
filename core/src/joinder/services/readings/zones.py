"""Which time zone a site lies in: its vendor's word, else where it stands. An offset makes none: it follows summer."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from joinder.energy import Site
from joinder.places import zone_at

# Zones with nothing but an offset, as earlier versions made of what vendors told.
_OFFSET_ONLY = re.compile(r"Etc/GMT[+-]?\d+")


UNKNOWN = "The site's time zone is unknown: its days and months are those of UTC"


class Known(NamedTuple):
    """An IANA name, and who says so."""

    name: str | None
    by: Literal["vendor", "coordinates"] | None


def of_site(site: Site, before: str | None = None) -> Known:
    """Returns the site's zone, and who told it.

    `before`: what was known of the site until now, which a vendor that is silent for once does not unmake.
    """
    if site.timezone is not None:
        return Known(site.timezone, "vendor")
    found = zone_at(site.lat, site.lon)
    if found is not None:
        return Known(found, "coordinates")
    return Known(None, None) if before is None or _OFFSET_ONLY.fullmatch(before) else Known(before, "vendor")
