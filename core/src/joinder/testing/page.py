"""`joinder check --html`: one page of what was checked, and of what the plugin said against what really happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape

from joinder.clean import clean_line
from joinder.energy import ENERGY_METRICS, Live, Site
from joinder.grants import Grant
from joinder.plurals import counted
from joinder.series import QUARTER, day_span, zone
from joinder.testing.advice import Trouble, troubles, what_to_do
from joinder.testing.checks import Outcome
from joinder.testing.flow import last_day, quarter_before
from joinder.testing.subject import Stand, Subject, standing

WIDTH, HEIGHT = 720, 140
LIVE = ("solar_w", "battery_w", "grid_w", "load_w")
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse }} td, th {{ text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0 }}
pre {{ white-space: pre-wrap; margin: .2rem 0 }} svg {{ max-width: 100%; height: auto; border-bottom: 1px solid gray }}
.failed {{ color: #b00020 }} .truth {{ stroke: #888; stroke-width: 5; opacity: .5 }}
.said {{ stroke: #0a62c9; stroke-width: 1.5 }} polyline {{ fill: none }}
@media (prefers-color-scheme: dark) {{ .failed {{ color: #ff8a80 }} .said {{ stroke: #8ab4f8 }} }}
</style></head><body>
"""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One figure over a day: what the plugin said, and what really happened. None where nothing was said."""

    title: str
    said: Sequence[float | None]
    truth: Sequence[float | None]


async def charts_of(subject: Subject) -> list[Chart]:
    """Asks the plugin for the last day of its first site, and the simulated world what it did. Raises as hooks do."""
    async with standing(subject) as stand:
        grant = await stand.granted()
        site = await stand.site(grant, grant.site_ids[0])
        return [*await _energies(stand, grant, site), *await _powers(stand, grant, site)]


async def _energies(stand: Stand, grant: Grant, site: Site) -> list[Chart]:
    query = last_day(stand, site)
    readings = await stand.registry.fetch_readings(stand.vendor.name, stand.context(), grant, query)
    rows = {row.start: row for row in readings.intervals}
    starts = [query.start + QUARTER * step for step in range(int((query.end - query.start) / QUARTER))]
    truth = [stand.truth(site.vendor_id).energy(at.timestamp(), (at + QUARTER).timestamp()) for at in starts]
    return [
        Chart(
            title=f"{metric} by quarter hour",
            said=[getattr(rows.get(at), metric, None) for at in starts],
            truth=[getattr(energy, metric, None) for energy in truth],
        )
        for metric in ENERGY_METRICS
        if starts
    ]


async def _powers(stand: Stand, grant: Grant, site: Site) -> list[Chart]:
    """Asks for live power every half hour of the local day."""
    where = zone(site.timezone)
    day = stand.clock.now().astimezone(where).date()
    start = day_span(day, where)[0] if where is not None else quarter_before(stand.clock.now())
    said, truth = [], []
    for step in range(48):
        at = start + timedelta(minutes=30) * step
        said.append(await _live(stand, grant, site, at))
        truth.append(stand.truth(site.vendor_id).live(at.timestamp()))
    return [
        Chart(
            title=f"{name} live",
            said=[getattr(one, name, None) for one in said],
            truth=[getattr(one, name, None) for one in truth],
        )
        for name in LIVE
    ]


async def _live(stand: Stand, grant: Grant, site: Site, at: datetime) -> Live | None:
    stand.clock.freeze(at.timestamp())
    query = last_day(stand, site)
    alone = type(query)(site=site, start=query.end, end=query.end, live=True)
    readings = await stand.registry.fetch_readings(stand.vendor.name, stand.context(), grant, alone)
    return readings.live


def page(subject: Subject, outcomes: Sequence[Outcome], charts: Sequence[Chart], trouble: str = "") -> str:
    """Returns the page as a text; `trouble`: why there are no charts."""
    title = f"joinder check {subject.name}"
    failed = [one for one in outcomes if one.state == "failed"]
    parts = [_HEAD.format(title=escape(title)), f"<h1>{escape(title)}</h1>"]
    parts.append(f"<p>{len(outcomes)} checks, {len(failed)} failed.</p>")
    told = troubles(outcomes, subject)
    parts += [_failure(one, told[one.check.name], subject) for one in failed]
    parts.append("<h2>What it said, and what happened</h2>")
    parts.append("<p>Grey and wide: the simulated home. Blue and thin: the plugin. A gap is what it did not tell.</p>")
    parts.append(f"<p>{escape(clean_line(trouble))}</p>" if trouble else "")
    parts += [_drawn(one) for one in charts]
    parts.append("<h2>All checks</h2><table>")
    parts += [_row(one) for one in outcomes]
    return "\n".join([*parts, "</table></body></html>\n"])


def _failure(one: Outcome, trouble: Trouble, subject: Subject) -> str:
    begins = f'<h2 class="failed">{escape(_words(one.check.name))}</h2><p>{escape(one.check.promise)}</p>'
    if trouble.as_in:
        return f"{begins}<p>As {escape(_words(trouble.as_in))}.</p>"
    others = f"<p>The same in {counted(trouble.others, 'other check')}.</p>" if trouble.others else ""
    return (
        f"{begins}<p>{escape(clean_line(one.reason))}</p><pre>{escape(trouble.place)}</pre>{others}"
        f"<p><strong>{escape(what_to_do(one.check, subject.name))}</strong></p>"
    )


def _words(check: str) -> str:
    return check.replace("_", " ")


def _row(one: Outcome) -> str:
    cells = (one.check.group, _words(one.check.name), one.state, clean_line(one.reason))
    return f'<tr class="{one.state if one.state == "failed" else ""}">' + "".join(
        f"<td>{escape(cell)}</td>" for cell in cells
    )


def _drawn(chart: Chart) -> str:
    known = [value for value in (*chart.said, *chart.truth) if value is not None]
    if not known:
        return ""
    low, high = min(0.0, *known), max(*known, 1.0, min(known) + 1.0)
    lines = [
        f'<polyline class="{kind}" points="{" ".join(points)}"/>'
        for kind, values in (("truth", chart.truth), ("said", chart.said))
        for points in _pieces(values, low, high)
    ]
    label = f"{chart.title}: {low:.0f} to {high:.0f}"
    return (
        f'<h3>{escape(label)}</h3><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" '
        f'aria-label="{escape(label)}">{"".join(lines)}</svg>'
    )


def _pieces(values: Sequence[float | None], low: float, high: float) -> Iterable[list[str]]:
    """Yields the points of each stretch without a gap."""
    piece: list[str] = []
    for index, value in enumerate(values):
        if value is None:
            if piece:
                yield piece
            piece = []
        else:
            x, y = index * WIDTH / max(1, len(values) - 1), HEIGHT - (value - low) / (high - low) * HEIGHT
            piece.append(f"{x:.1f},{y:.1f}")
    if piece:
        yield piece
