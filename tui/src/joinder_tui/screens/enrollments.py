"""Every enrollment, a page at a time: looked for, marked, and acted upon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.reactive import reactive
from textual.timer import Timer
from textual.widgets import DataTable, Input

from joinder_tui import enrollment_acts, texts
from joinder_tui.acts import Act
from joinder_tui.pages import Page
from joinder_tui.widgets import glance
from joinder_tui.widgets.glance import Glance
from joinder_tui.widgets.plain import Static
from joinder_tui.widgets.table import DOWN, UP, Rows, Table

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.admin.search import EnrollmentListRow, Place, Query
    from joinder.services.admin.site_powers import SitePower

ROWS = 100  # of a page; 500 are the most anything loads
COLUMNS = ("", "Health", "Site", "Vendor", "Now", "24 h", "Energy", "Since", "Last read", "Enrollment")
POWER_TURNS = 15  # ticks between two looks at what the sites give
RESTS_S = 0.15  # so long the cursor stays on a row before its home is read


class Enrollments(Page):
    """`looked_for` is what the filter line says (services/admin/search.py)."""

    name_in_crumbs = "Enrollments"
    BINDINGS: ClassVar[list[BindingType]] = [
        Act(
            "slash",
            "look",
            "Filter",
            tooltip="Words, !words, vendor: health: status: account: flow: credentials: is:paused",
            twin="joinder enrollments list --filter TEXT",
        ),
        Act(
            "f",
            "faults",
            "Faults only",
            tooltip="Only those that are not ok, or all again",
            twin="joinder enrollments list --faults",
        ),
        Act("enter", "open", "Open", tooltip="One enrollment, whole", twin="joinder enrollments show ID"),
        Act(
            "s",
            "sort",
            "Sort",
            tooltip="Newest first, most urgent first, by site, by vendor, since when, longest unread; or click a head",
        ),
        Act("space", "mark", "Mark", show=False, tooltip="Mark the row; acts are for all marked ones"),
        Act("ctrl+a", "mark_page", "Mark all", show=False, tooltip="Mark the whole page, or none of it"),
        Act(
            "right_square_bracket",
            "next_page",
            "Next",
            show=False,
            tooltip="The next page",
            twin="joinder enrollments list --all",
        ),
        Act("left_square_bracket", "previous_page", "Previous", show=False, tooltip="The page before"),
        *enrollment_acts.ACTS,
        Act("escape", "clear", "Back", tooltip="Forget marks and filter, then go to the first screen"),
    ]

    faults: reactive[bool] = reactive(False)

    def __init__(self, looked_for: str = "", *, order: str = "newest") -> None:
        super().__init__()
        self._looked_for = looked_for
        self._place: Place | None = None  # the page begins after it
        self._places: list[Place | None] = []  # where the pages before began
        self._found: Sequence[EnrollmentListRow] = ()
        self._marked: set[str] = set()
        self._total: int | None = None
        self._more = False
        self._hint = ""  # what is wrong with the filter as it is typed
        self._order = order
        self._answer: Sequence[EnrollmentListRow] = ()
        self._powers: Mapping[str, SitePower] = {}
        self._resting: Timer | None = None

    def body(self) -> ComposeResult:
        yield Input(self._looked_for, placeholder="filter: vendor:acme health:needs_consent !roof", id="filter")
        with Horizontal(id="beside"):
            yield Table(*COLUMNS, id="enrollments", keep=3, is_sorted_here=False)
            yield Glance()
        yield Static("", id="reason")
        yield Static("", id="summary")

    def on_mount(self) -> None:
        self.query_one("#enrollments").focus()
        self._mark_order()

    @property
    def crumb(self) -> str:
        return f"Enrollments [{self._looked_for}]" if self._looked_for else "Enrollments"

    def _query(self) -> Query:
        from joinder.services.admin import search

        return search.parse(self._looked_for, faults_only=self.faults)

    async def load(self, hub: Hub) -> list[EnrollmentListRow]:
        """Loads one page; what its sites give now and then, in a tick of its own."""
        from joinder.services.admin import search, site_powers

        if self.turn % POWER_TURNS == 1:
            self._powers = await site_powers.of_enrollments(hub, [row.id for row in self._found])
            return list(self._answer)
        order = search.ORDERS[self._order]
        return await search.page(hub, self._query(), after=self._place, limit=ROWS + 1, order=order)

    def show(self, answer: list[EnrollmentListRow]) -> None:
        self._answer = answer
        self._found, self._more = answer[:ROWS], len(answer) > ROWS
        if not self._more:  # the last page tells how many there are, also when one has just come
            self._total = len(self._places) * ROWS + len(self._found)
        self.query_one("#enrollments", Table).fill(self._rows())
        self._summarise()
        self._tell_reason()
        if self._total is None:
            self._show_total()
        if self.turn % POWER_TURNS == 2:
            self._look_soon()
        if self.turn == 1:
            self.call_after_refresh(self.tick)  # what they give comes after what they are

    @work(group="count", exclusive=True, exit_on_error=False)
    async def _show_total(self) -> None:
        """Shows how many there are in all, once for each filter: it walks them, so the page does not wait for it."""
        from joinder.services.admin import search

        query = self._query()
        total = await self.joinder.asked(lambda hub: search.count(hub, query))
        if total is not None and query == self._query():
            self._total = total
            self._summarise()

    def _rows(self) -> Rows:
        marks = {row.id: "◆" if row.id in self._marked else " " for row in self._found}
        return {row.id: (marks[row.id], *_cells(row, self._powers.get(row.id))) for row in self._found}

    def _summarise(self) -> None:
        first = len(self._places) * ROWS + 1 if self._found else 0
        total = "…" if self._total is None else texts.count(self._total)
        text = f"{texts.count(first)}–{texts.count(first + len(self._found) - 1)} of {total}"
        text = "1 enrollment" if self._total == 1 else text
        is_all = not self._looked_for and not self.faults
        nothing = "no enrollment: press 3 for a flow to send owners to" if is_all else "nothing fits"
        parts = [text if self._found else nothing, *([f"{len(self._marked)} marked"] if self._marked else [])]
        parts += ["faults only"] if self.faults else []
        parts += [f"sorted by {self._order}"] if self._order != "newest" else []
        told = "   ".join([*parts, "] next page" if self._more else ""])
        self.query_one("#summary", Static).update(Text(self._hint, "yellow") if self._hint else Text(told))

    def _begin_again(self) -> None:
        self._place, self._places, self._total = None, [], None
        self.reload()

    def watch_faults(self, before: bool, after: bool) -> None:
        if before != after and self.is_mounted:
            self._begin_again()

    def action_look(self) -> None:
        self.query_one("#filter", Input).focus()

    def action_faults(self) -> None:
        self.faults = not self.faults

    def on_input_changed(self, event: Input.Changed) -> None:
        """Looks as it is typed; half a word such as `vendor:` waits for the rest."""
        from joinder.services.refusals import Invalid

        before, self._looked_for = self._looked_for, event.value
        try:
            self._query()
        except Invalid as error:
            self._looked_for, self._hint = before, error.detail
            self._summarise()
            return
        self._hint = ""
        self._summarise()
        if self._looked_for != before:
            self._begin_again()

    def on_input_submitted(self) -> None:
        self.query_one("#enrollments").focus()

    def action_sort(self) -> None:
        from joinder.services.admin import search

        names = list(search.ORDERS)
        self._sort(names[(names.index(self._order) + 1) % len(names)])

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        from joinder.services.admin import search

        heads = {order.head: name for name, order in search.ORDERS.items()}
        name = heads.get(str(event.column_key.value), "")
        if name:
            self._sort("newest" if name == self._order else name)

    def _sort(self, name: str) -> None:
        self._order = name
        self._mark_order()
        self._begin_again()

    def _mark_order(self) -> None:
        from joinder.services.admin import search

        order = search.ORDERS[self._order]
        self.query_one("#enrollments", Table).mark(order.head, DOWN if order.is_falling else UP)

    def on_data_table_row_highlighted(self) -> None:
        self._tell_reason()
        self._look_soon()

    def on_resize(self) -> None:
        self._look_soon()

    def _look_soon(self) -> None:
        """Looks at the home under the cursor once that rests: who walks a list asks for nothing on the way."""
        if self._resting is not None:
            self._resting.stop()
        self._resting = self.set_timer(RESTS_S, self._look_closer)

    @work(group="glance", exclusive=True, exit_on_error=False)
    async def _look_closer(self) -> None:
        beside = self.query_one(Glance)
        selected = self.query_one("#enrollments", Table).selected
        if not beside.display or not selected:
            return
        seen = await self.joinder.asked(lambda hub: glance.look(hub, selected))
        if seen is not None and self.is_attached:
            beside.draw(seen)

    def _tell_reason(self) -> None:
        """Says below the list, whole, why the enrollment under the cursor is as it is, and what has no room above."""
        table = self.query_one("#enrollments", Table)
        row = next((row for row in self._found if row.id == table.selected), None)
        self.query_one("#reason", Static).update(_reason(row, table.fallen) if row is not None else "")

    def action_next_page(self) -> None:
        if self._more:
            self._places.append(self._place)
            self._place = self._found[-1].place
            self.reload()

    def action_previous_page(self) -> None:
        if self._places:
            self._place = self._places.pop()
            self.reload()

    def action_mark(self) -> None:
        self._marked ^= {self.query_one("#enrollments", Table).selected} - {""}
        self.query_one("#enrollments", Table).fill(self._rows())
        self.query_one("#enrollments", Table).action_cursor_down()
        self._summarise()

    def action_mark_page(self) -> None:
        page = {row.id for row in self._found}
        self._marked = self._marked - page if page <= self._marked else self._marked | page
        self.query_one("#enrollments", Table).fill(self._rows())
        self._summarise()

    def action_clear(self) -> None:
        if isinstance(self.focused, Input):
            self.query_one("#enrollments").focus()
        elif self._marked:
            self._marked.clear()
            self.query_one("#enrollments", Table).fill(self._rows())
            self._summarise()
        elif self._looked_for:
            self.query_one("#filter", Input).value = ""
        else:
            self.joinder.action_go("now")

    def action_open(self) -> None:
        from joinder_tui.screens.enrollment import Enrollment

        selected = self.query_one("#enrollments", Table).selected
        name = next((row.site_name for row in self._found if row.id == selected), None)
        if selected:
            self.app.push_screen(Enrollment(selected, name or ""))

    def on_data_table_row_selected(self, _: DataTable.RowSelected) -> None:
        self.action_open()

    def _chosen(self) -> list[str]:
        """Returns the marked ones, else the one under the cursor."""
        selected = self.query_one("#enrollments", Table).selected
        return sorted(self._marked) or ([selected] if selected else [])

    def action_do(self, name: str) -> None:
        chosen = self._chosen()
        if chosen:
            self.act(enrollment_acts.run(self, name, chosen))


def _cells(row: EnrollmentListRow, power: SitePower | None) -> tuple[str | Text, ...]:
    return (
        texts.health(row.health, paused=row.paused_at is not None, actor=row.health_actor),
        row.site_name or "–",
        row.vendor,
        texts.power(power.solar_w if power else None),
        Text(texts.sparkline(power.hours_wh) if power else "", "yellow"),
        texts.energy(power.day_wh if power else None),
        texts.short_ago(row.health_since),
        texts.short_ago(row.last_success_at),
        row.id,
    )


def _reason(row: EnrollmentListRow, fallen: Sequence[tuple[str, Text]]) -> Text:
    from joinder.services.records import health

    text = Text.assemble((row.site_name or row.id, "bold"))
    for sentence in (row.health_reason, health.next_step(row.health, row.status, row.health_actor)):
        text.append(f"  {sentence}" if sentence else "")
    if way_on := enrollment_acts.way_on(row.health, row.health_actor):
        text.append("  ").append_text(way_on)
    for heading, cell in fallen:
        if heading == "Site":  # it was cut, and begins the line
            continue
        text.append(f"   {heading.lower()} ", "dim").append_text(cell)
    return text
