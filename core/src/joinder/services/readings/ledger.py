"""What the ledger says of a site: which spans of each series were asked of the vendor, when, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from joinder.errors import UnknownVendor
from joinder.ids import is_id
from joinder.runtime.hub import Hub
from joinder.services.refusals import NotFound
from joinder.store.readings import CoveredSpan
from joinder.store.sites import StoredDevice, read_devices, read_site
from joinder.vendor import Resolution

SPANS_MOST = 500  # in one answer, over all series
OF_A_SERIES_LEAST = 5
_SPANS = (
    'SELECT subject_id, resolution, start, "end", fetched_at, tries, total FROM ('
    'SELECT subject_id, resolution, start, "end", fetched_at, tries, '
    "count(*) OVER (PARTITION BY subject_id, resolution) AS total, "
    "row_number() OVER (PARTITION BY subject_id, resolution ORDER BY start DESC) AS place "
    "FROM coverage WHERE subject_id IN ({places})) AS spans "
    "WHERE place <= :most ORDER BY subject_id, resolution, start DESC"
)
_SERIES = (
    "SELECT count(*) FROM (SELECT DISTINCT subject_id, resolution FROM coverage WHERE subject_id IN ({places})) AS s"
)


class Entry(Struct, frozen=True):
    """[start, end) in epoch seconds. `state`: told, told_nothing (`tries` times), not_asked (`fetched_at` None)."""

    start: int
    end: int
    state: str
    fetched_at: int | None = None
    tries: int | None = None


class LedgerSeries(Struct, frozen=True):
    """Of the site as a whole (`device` None) or of one device; the newest span first, `more` are left out."""

    subject_id: str
    device: StoredDevice | None
    resolution: str
    entries: list[Entry]
    more: int = 0


async def of_site(hub: Hub, account_id: str, site_id: str) -> list[LedgerSeries]:
    """Returns the site's series, then those of devices that have one of their own. Asks no vendor. Raises NotFound."""
    site = await read_site(hub.store, account_id, site_id) if is_id(site_id, "site") else None
    if site is None:
        raise NotFound
    devices = {device.id: device for device in await read_devices(hub.store, site_id)}
    found = await _stored(hub, [site_id, *devices])
    for resolution in _kept(hub, site.vendor):
        found.setdefault((site_id, resolution), ([], 0))
    return [
        LedgerSeries(subject, devices.get(subject), resolution, list(_entries(spans)), total - len(spans))
        for (subject, resolution), (spans, total) in sorted(found.items(), key=lambda one: _place(site_id, *one[0]))
    ]


def _place(site_id: str, subject: str, resolution: str) -> tuple[bool, str, bool]:
    return subject != site_id, subject, resolution != "15mins"


def _kept(hub: Hub, vendor: str) -> list[Resolution]:
    """Returns what the vendor keeps of a site, whether it was asked for or not."""
    try:
        return [history.resolution for history in hub.registry.vendor(vendor).limits.history]
    except UnknownVendor:
        return []


async def _stored(hub: Hub, subjects: Sequence[str]) -> dict[tuple[str, str], tuple[list[CoveredSpan], int]]:
    """Returns, by subject and resolution, its newest spans, and how many there are."""
    names = {f"id{index}": subject for index, subject in enumerate(subjects)}
    places = ", ".join(f":{name}" for name in names)
    ((series,),) = await hub.store.rows(_SERIES.format(places=places), names)
    most = max(OF_A_SERIES_LEAST, SPANS_MOST // max(1, series))
    found: dict[tuple[str, str], tuple[list[CoveredSpan], int]] = {}
    for subject, resolution, *span, total in await hub.store.rows(
        _SPANS.format(places=places), {**names, "most": most}
    ):
        found.setdefault((subject, resolution), ([], total))[0].append(CoveredSpan(*span))
    return found


def _entries(spans: Sequence[CoveredSpan]) -> Iterator[Entry]:
    """Yields the ledger, `spans` the newest first; what lies between two of them was not asked."""
    after: CoveredSpan | None = None
    for span in spans:
        if after is not None and span.end < after.start:
            yield Entry(span.end, after.start, "not_asked")
        state = "told_nothing" if span.tries else "told"
        yield Entry(span.start, span.end, state, span.fetched_at, span.tries or None)
        after = span
