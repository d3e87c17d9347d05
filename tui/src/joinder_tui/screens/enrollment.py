"""One enrollment: its health and who must act, its tokens, sites and devices, a day, a month, and what happened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, ClassVar

from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import TabbedContent, TabPane

from joinder.clean import clean_line
from joinder.clock import now
from joinder_tui import enrollment_acts, lacks, texts, when
from joinder_tui.acts import Act
from joinder_tui.pages import Page
from joinder_tui.widgets import life
from joinder_tui.widgets.chart import EnergyChart, EnergyPicture, PowerChart
from joinder_tui.widgets.crumbs import Crumbs
from joinder_tui.widgets.plain import Static, line
from joinder_tui.widgets.table import Listed, Table

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.admin.detail import Chart, Detail
    from joinder.store.sites import StoredDevice, StoredSite

TABS = ("health", "sites", "day", "month", "tokens", "happened")
CHART_ROWS = 10  # with less room the day is left to its own tab
ROWS_AROUND = 11  # of the screen beside the picture, the day and the facts
TWO_FACTS_WIDE = 100
SENTENCES = ("Reason", "Next step")
NAME_WIDE = 24  # columns of a fact's name, and around it
SAME_S = 5  # between two moments that are told as one
GONE = "This enrollment has ended; escape goes back."

Fact = tuple[str, str | Text]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`detail` None: nothing has changed. Charts are of the site that is shown."""

    detail: Detail | None = None
    day: Chart | None = None
    month: Chart | None = None
    gone: bool = False
    mark: Any = None


class Enrollment(Page):
    BINDINGS: ClassVar[list[BindingType]] = [
        *enrollment_acts.ACTS,
        Act("tab", "tab(1)", "Next tab", tooltip="The next tab"),
        Act("shift+tab", "tab(-1)", "Tab before", show=False, tooltip="The tab before"),
        Act(
            "right",
            "read(1)",
            "Later",
            show=False,
            tooltip="Read a chart further on; elsewhere the next tab",
            priority=True,
        ),
        Act(
            "left",
            "read(-1)",
            "Earlier",
            show=False,
            tooltip="Read a chart further back; elsewhere the tab before",
            priority=True,
        ),
        Act("right_square_bracket", "site(1)", "Next site", show=False, tooltip="The next site of several"),
        Act("left_square_bracket", "site(-1)", "Site before", show=False, tooltip="The site before of several"),
        Act("comma", "day(1)", "Day before", show=False, tooltip="The power of the day before"),
        Act("full_stop", "day(-1)", "Day after", show=False, tooltip="The power of the day after"),
        Act("slash", "read_at", "Read at", show=False, tooltip="Read the day's chart at a time that you type"),
        Act("i", "copy_id", "Copy id", show=False, tooltip="Copy the enrollment's id"),
        Act("escape", "app.pop_screen", "Back", tooltip="Back to where you came from"),
    ]

    def __init__(self, enrollment_id: str, name: str = "") -> None:
        """`name`: what it was called where it was opened, until its own is read."""
        super().__init__()
        self.enrollment_id = enrollment_id
        self._mark: Any = None
        self._days_ago = 0
        self._clock: time | None = None  # the chart of a day that is being read is to be read there
        self._site = 0  # which of several is shown
        self._shown: tuple[Detail, Chart | None] | None = None
        self._name = name

    @property
    def crumb(self) -> str:
        return self._name or self.enrollment_id

    def body(self) -> ComposeResult:
        with TabbedContent(initial="health"):
            with TabPane("Now", id="health"), VerticalScroll():
                yield Static("…", id="picture")
                yield PowerChart(id="today")
                yield Static(id="facts")
                yield Static(id="warnings")
            with TabPane("Sites", id="sites"), VerticalScroll():
                yield Static("…", id="site-list")
            with TabPane("Day", id="day"):
                yield PowerChart(id="power")
                yield Static(id="power-notes")
            with TabPane("Month", id="month"):
                yield EnergyChart(id="energy")
            with TabPane("Tokens", id="tokens"):
                columns = ("Version", "Obtained by", "When", "Access ends", "Refresh ends")
                yield Listed(Table(*columns, id="lineage", keep=2))
            with TabPane("Events", id="happened"):
                yield Listed(Table("When", "What", "Details", id="events", keep=2, elastic="Details"))

    async def load(self, hub: Hub) -> Answer:
        """Looks whether anything changed; loads everything anew only then."""
        from joinder.services.admin import detail

        mark = await detail.mark(hub, self.enrollment_id)
        if mark is None:
            return Answer(gone=True)
        mark = (*mark, self._days_ago, self._site)
        if mark == self._mark:
            return Answer()
        found = await detail.load(hub, self.enrollment_id)
        if not found.sites:
            return Answer(detail=found, mark=mark)
        site = found.sites[self._site % len(found.sites)][0]
        day = await detail.day(hub, site, days_ago=self._days_ago)
        return Answer(detail=found, day=day, month=await detail.month(hub, site), mark=mark)

    def show(self, answer: Answer) -> None:
        if answer.gone:
            self.query_one("#picture", Static).update(GONE)
            self.query_one("#facts", Static).update("")
        if answer.detail is not None:
            self._mark = answer.mark
            self._shown = (answer.detail, answer.day)
            self._show_detail(answer.detail)
            self._draw_picture()
        if answer.day is not None and answer.month is not None:
            for chart in self.query(PowerChart):
                chart.draw(answer.day)
            self.query_one("#power-notes", Static).update(Text("\n".join(lacks.lines(answer.day))))
            self.query_one(EnergyChart).draw(answer.month)
            self._point(self._clock)

    def on_resize(self) -> None:
        self._draw_picture()

    def _draw_picture(self) -> None:
        """Draws what is now, and between it and the facts the day, where there is room for it."""
        chart = self.query_one("#today", PowerChart)
        if self._shown is None:
            chart.display = False
            return
        detail, day = self._shown
        has_room = self.size.width >= TWO_FACTS_WIDE
        picture = life.picture(detail, day, self.size.width - 4)
        long, short = _parted(_facts(detail), self.size.width // 2 if has_room else 0)
        rows = sum(-(-len(value) // (self.size.width - NAME_WIDE)) for _, value in long) + -(-len(short) // 2)
        left = self.size.height - ROWS_AROUND - picture.plain.count("\n") - rows
        chart.display = day is not None and bool(day.starts) and has_room and left >= CHART_ROWS
        chart.styles.height = left
        self.query_one("#picture", Static).update(picture)
        self.query_one("#facts", Static).update(Group(_two_columns(long), _side_by_side(short)))

    def _show_detail(self, detail: Detail) -> None:
        self._name = self._named(detail)
        self.query_one(Crumbs).redraw()
        self.query_one("#warnings", Static).update(_warnings(detail) if detail.notices else "")
        self.query_one("#site-list", Static).update(_sites(detail))
        self.query_one("#lineage", Table).fill(
            {
                str(row.version): (
                    str(row.version),
                    row.obtained_by,
                    texts.moment(row.obtained_at),
                    texts.ago(row.expires_at) if row.expires_at else "–",
                    texts.ago(row.refresh_expires_at) if row.refresh_expires_at else "–",
                )
                for row in detail.lineage
            }
        )
        self.query_one("#events", Table).fill(
            {
                told.row.id: (texts.moment(told.row.at), told.row.type, texts.details(told.data))
                for told in detail.events
            }
        )

    def action_do(self, name: str) -> None:
        self._mark = None
        self.act(enrollment_acts.run(self, name, [self.enrollment_id]))

    def action_tab(self, step: int) -> None:
        tabs = self.query_one(TabbedContent)
        tabs.active = TABS[(TABS.index(tabs.active) + step) % len(TABS)]

    def _named(self, detail: Detail) -> str:
        """Returns the name of the site that is shown, and which of several it is."""
        if not detail.sites:
            return ""
        at = self._site % len(detail.sites)
        several = f" ({at + 1} of {len(detail.sites)})" if len(detail.sites) > 1 else ""
        return (detail.sites[at][0].name or self.enrollment_id) + several

    def action_read(self, step: int) -> None:
        """Moves the cursor of a chart, and else from tab to tab."""
        active = self.query_one(TabbedContent).active
        charts = {"health": "#today", "day": "#power", "month": "#energy"}
        chart = self.query_one(charts[active], EnergyPicture) if active in charts else None
        if chart is None or not chart.display or not chart.move(step):
            self.action_tab(step)

    def action_site(self, step: int) -> None:
        self._site += step
        self.reload()

    def action_day(self, step: int) -> None:
        self._days_ago = max(0, self._days_ago + step)
        self.query_one(TabbedContent).active = "day"
        self.reload()

    def action_read_at(self) -> None:
        self.act(self._read_at())

    async def _read_at(self) -> None:
        from joinder_tui.screens.one_line import OneLine

        hint = f"Such as {when.EXAMPLES}, in the site's own time."
        answer: str | None = await self.joinder.push_screen_wait(OneLine("Read the day's chart at what time?", hint))
        day = self._shown[1] if self._shown is not None else None
        if answer is None:
            return
        if day is None:
            self.app.notify("No site of it has been read yet.", severity="warning")
            return
        today = datetime.fromtimestamp(now(), day.zone).date()
        try:
            asked = when.read(answer, today)
        except ValueError as why:
            self.app.notify(str(why), severity="error")
            return
        self._go_to(asked.clock, (today - asked.day).days if asked.day is not None else self._days_ago)

    def _go_to(self, clock: time | None, days_ago: int) -> None:
        self.query_one(TabbedContent).active = "day"
        if days_ago == self._days_ago:
            self._point(clock)
        else:
            self._days_ago, self._clock = days_ago, clock
            self.reload()

    def _point(self, clock: time | None) -> None:
        self._clock = None
        if clock is not None and not self.query_one("#power", PowerChart).read_at(clock):
            self.app.notify(f"That day has no {clock:%H:%M}: the clock was put forward.", severity="warning")

    def action_copy_id(self) -> None:
        self.joinder.copy(self.enrollment_id, "Id")


def _facts(detail: Detail) -> list[Fact]:
    from joinder.services.grants import expiry
    from joinder.services.records import health

    row, grant = detail.overview.row, detail.overview.grant
    next_step = health.next_step(row.health, row.status, row.health_actor)
    health_text = texts.health(row.health, paused=row.paused_at is not None, actor=row.health_actor)
    warned = expiry.shown(row, grant) if grant else None
    return [
        ("Health", health_text.append(f", {texts.ago(row.health_since)}")),
        ("Reason", (warned.reason if warned else row.health_reason) or "–"),
        ("Who must act", (warned.actor if warned else row.health_actor) or "nobody"),
        ("Next step", (warned.next_step if warned else next_step) or "none"),
        ("Enrollment", Text(row.id, "dim")),
        ("Vendor", f"{row.vendor}, account {row.vendor_account_id or 'unknown'}"),
        ("Sites read", f"{detail.overview.sites_read} of {len(detail.overview.site_ids)}"),
        ("Last read", _last_read(row.last_success_at, row.last_attempt_at)),
        ("Failures in a row", str(row.failures)),
        *_of_now(detail),
        ("Reconnect link", "for the owner: c copies it" if detail.overview.reconnect_url else "–"),
        ("Account", _with_id(detail.account_name, detail.account_id)),
        ("Flow", Text(row.flow_id or "–", "dim")),
        ("Credentials", _with_id(detail.credentials_name, row.credentials_id)),
        ("Since", texts.moment(row.created_at)),
    ]


def _with_id(name: str | None, row_id: str | None) -> str | Text:
    """Writes what people call it, then the id, dim."""
    if not name or not row_id:
        return row_id or "–"
    return Text.assemble(name, "  ", (row_id, "dim"))


def _of_now(detail: Detail) -> Iterator[tuple[str, str]]:
    """Yields what there is at times only: a token, a pause, a backfill."""
    grant, paused_at, backfill = detail.overview.grant, detail.overview.row.paused_at, detail.backfill
    if grant is not None:
        yield "Token", f"version {grant.version}, by {grant.obtained_by} {texts.ago(grant.obtained_at)}"
        yield "Access ends", texts.ago(grant.expires_at) if grant.expires_at else "not told"
        yield "Refresh ends", texts.ago(grant.refresh_expires_at) if grant.refresh_expires_at else "not told"
    if paused_at is not None:
        yield "Paused", texts.ago(paused_at)
    if backfill is not None:
        job = backfill.job
        waits = f"; waits: {job.reason}" if job.reason else ""
        yield "Backfill", f"{backfill.percent} %, {job.windows_done} of {job.windows_total} windows{waits}"


def _two_columns(facts: Iterable[Fact]) -> RichTable:
    table = RichTable(box=None, show_header=False, padding=(0, 2, 0, 0), expand=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(ratio=1)
    for name, value in facts:
        table.add_row(name, line(value))
    return table


def _parted(facts: Sequence[Fact], room: int) -> tuple[list[Fact], list[Fact]]:
    """Parts sentences that want lines of their own, or all where nothing has room beside another, from the others."""
    long = [fact for fact in facts if not room or (fact[0] in SENTENCES and len(fact[1]) > room - NAME_WIDE)]
    return long, [fact for fact in facts if fact not in long]


def _side_by_side(facts: Sequence[Fact]) -> RichTable:
    """Writes the first half of them left, the others right."""
    table, rows = RichTable(box=None, show_header=False, padding=(0, 2, 0, 0), expand=True), -(-len(facts) // 2)
    for _ in range(2):
        table.add_column(style="bold", no_wrap=True)
        table.add_column(ratio=1)
    for left, right in zip_longest(facts[:rows], facts[rows:], fillvalue=("", "")):
        table.add_row(left[0], line(left[1]), right[0], line(right[1]))
    return table


def _warnings(detail: Detail) -> RichTable:
    """Lists what was doubtful about its vendor's answers in the last week, the newest first."""
    table = RichTable(box=None, padding=(0, 2, 0, 0), expand=True)
    for heading, ratio in (("Warning", 1), ("Times", None), ("Since", None), ("Last", None)):
        table.add_column(heading, ratio=ratio, no_wrap=ratio is None)
    for one in detail.notices:
        times = (texts.count(one.count), texts.minute(one.since), texts.short_ago(one.last_at))
        table.add_row(Text(clean_line(one.text)), *times)
    return table


def _sites(detail: Detail) -> RichTable:
    from joinder.services.readings import silence

    table = RichTable(box=None, padding=(0, 2, 0, 0), expand=True)
    for heading in ("Site or device", "Kind", "Read", "At the vendor", "Id"):
        table.add_column(heading)
    for site, devices in detail.sites:
        kind = line(f"site, {site.timezone or 'no time zone told'}")
        name = line(Text(site.name or "–", "bold"))
        table.add_row(name, kind, texts.short_ago(site.fetched_at), *_ids(site))
        for device in devices:
            called = str(device.state.get("name") or device.state.get("model") or device.vendor_id)
            shown = line(f"  {called}" + (" (gone)" if device.gone_at else ""))
            since = silence.since(device, devices)
            if since is not None:
                shown.append(f", silent since {texts.minute(since)}", "red")
            table.add_row(shown, device.kind, texts.short_ago(device.fetched_at), *_ids(device))
    return table


def _ids(row: StoredSite | StoredDevice) -> tuple[Text, Text]:
    return line(Text(row.vendor_id, "dim")), Text(row.id, "dim")


def _last_read(read_at: int | None, tried_at: int | None) -> str:
    """Says when it was read, and when it was tried last, where that is something else."""
    is_same = read_at is not None and tried_at is not None and abs(tried_at - read_at) <= SAME_S
    return texts.ago(read_at) if is_same else f"{texts.ago(read_at)}; last try {texts.ago(tried_at)}"
