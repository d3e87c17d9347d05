"""Who is to be sent a link, as whoever writes to owners must know them: by site, vendor and their own number."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from joinder.clean import clean_cell
from joinder.runtime.hub import Hub

HEADINGS = ("site", "vendor", "reference", "enrollment", "link")
MOST = 500  # asked for at once
_ROWS = (
    "SELECT e.id, e.vendor, e.reference, (SELECT min(s.name) FROM site s WHERE s.enrollment_id = e.id) "
    "FROM enrollment e WHERE e.id IN ({ids})"
)


@dataclass(frozen=True, kw_only=True)
class OwnerLink:
    """`reference` is the integrator's own number of the owner."""

    enrollment_id: str
    site_name: str
    vendor: str
    reference: str
    url: str


async def told(hub: Hub, urls: Mapping[str, str]) -> list[OwnerLink]:
    """Tells whose links these are, in their order; `urls` by enrollment. One that has ended meanwhile is left out."""
    found: dict[str, OwnerLink] = {}
    wanted = list(urls)
    for first in range(0, len(wanted), MOST):
        values = {f"id_{index}": each for index, each in enumerate(wanted[first : first + MOST])}
        for row in await hub.store.scan(_ROWS.format(ids=", ".join(f":{name}" for name in values)), values):
            found[row[0]] = OwnerLink(
                enrollment_id=row[0], vendor=row[1], reference=row[2] or "", site_name=row[3] or "", url=urls[row[0]]
            )
    return [found[each] for each in urls if each in found]


def as_csv(links: Iterable[OwnerLink]) -> str:
    """Writes a row for each, safe in a spreadsheet."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(HEADINGS)
    for one in links:
        told = (one.site_name, one.vendor, one.reference, one.enrollment_id, one.url)
        rows.writerow([clean_cell(cell) for cell in told])
    return text.getvalue()
