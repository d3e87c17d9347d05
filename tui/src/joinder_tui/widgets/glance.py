"""The home under the cursor, beside the list where the terminal is wide: as a picture, before it is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical

from joinder_tui import lacks, texts
from joinder_tui.widgets import life
from joinder_tui.widgets.chart import PowerChart
from joinder_tui.widgets.plain import Static

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.admin.detail import Chart, Detail

Seen = tuple["Detail", "Chart | None"]


class Glance(Vertical):
    def compose(self) -> ComposeResult:
        yield Static("", id="glance-picture")
        yield PowerChart(id="glance-day")
        yield Static("", id="glance-notes")

    def draw(self, seen: Seen) -> None:
        detail, day = seen
        row = detail.overview.row
        head = Text.assemble((detail.name or row.id, "bold"), f"  {row.vendor}  ")
        head.append_text(texts.health(row.health, paused=row.paused_at is not None, actor=row.health_actor)).append(
            "\n"
        )
        self.query_one("#glance-picture", Static).update(
            head.append_text(life.picture(detail, day, self.size.width - 2))
        )
        chart = self.query_one("#glance-day", PowerChart)
        chart.display = day is not None and bool(day.starts)
        self.query_one("#glance-notes", Static).update("\n".join(lacks.lines(day)) if day is not None else "")
        if day is not None:
            chart.draw(day)


async def look(hub: Hub, enrollment_id: str) -> Seen | None:
    """Reads what is stored of one; no vendor is asked. None: it has ended."""
    from joinder.services.admin import detail
    from joinder.services.refusals import NotFound

    try:
        found = await detail.load(hub, enrollment_id)
    except NotFound:
        return None
    return found, await detail.day(hub, found.sites[0][0]) if found.sites else None
