"""The first screen: what needs the admin, what needs an owner, what needs nobody, and what ran in the last day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import DataTable, Sparkline

from joinder_tui import board, texts
from joinder_tui.acts import Act
from joinder_tui.pages import LOW, Page
from joinder_tui.widgets import funnel
from joinder_tui.widgets.plain import Static
from joinder_tui.widgets.table import Listed, Rows, Table

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.admin.enrollment_stats import Count, Ending
    from joinder.services.admin.join_attempts import Fault
    from joinder.services.admin.join_funnel import Funnel
    from joinder.services.calls.breaker_states import Standing

NOBODY = ("ok", "connecting", "degraded", "suspected", "pending_approval")
GROUPS = {  # who must act → the states that say so
    "operator": ("operator_action", "quarantined"),
    "owner": ("needs_consent", "lost_in_flight"),
    "nobody": NOBODY,
}
RUNS = {"refreshed": "Renewals", "polled": "Polls", "failed": "Failures"}
SLOW_TURNS = 15  # so many ticks between two looks at what walks more than an index
BREAKER_TURNS = 5


@dataclass(kw_only=True)
class Answer:
    """What a tick brought; the others are as they were."""

    counts: Sequence[Count] | None = None
    ran: board.Ran | None = None
    quotas: board.Quotas | None = None
    breakers: Sequence[Standing] | None = None
    ending: Sequence[Ending] | None = None
    faults: Sequence[Fault] | None = None
    joining: Funnel | None = None


class Now(Page):
    name_in_crumbs = "Now"
    BINDINGS: ClassVar[list[BindingType]] = [
        Act(
            "m",
            "only('operator')",
            "Needs me",
            tooltip="Enrollments that wait for the operator; the flows where only owners do who cannot join",
            twin="joinder enrollments list --filter actor:operator",
        ),
        Act(
            "o",
            "only('owner')",
            "Needs the owner",
            tooltip="Enrollments whose owner must consent again",
            twin="joinder enrollments list --filter actor:owner",
        ),
        Act(
            "enter",
            "open",
            "Open",
            tooltip="The enrollments of the vendor, most urgent first, or the one that ends",
            twin="joinder enrollments list --filter …",
        ),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._board = board.Board()
        self._ending: Sequence[Ending] = ()
        self._faults: Sequence[Fault] = ()

    def body(self) -> ComposeResult:
        with VerticalScroll(id="now"):
            with Horizontal(id="who"):
                for who in GROUPS:
                    yield Static("…", id=f"who-{who}", classes="who")
            with Horizontal(id="runs"):
                for what, label in RUNS.items():
                    with Vertical(classes="run"):
                        yield Static(label, id=f"label-{what}")
                        yield Sparkline([0.0] * 24, id=f"ran-{what}", classes="-unknown")
            yield Listed(Table(*board.COLUMNS, id="counts", keep=3))
            yield Static("Consents that end next", classes="heading")
            yield Listed(Table("Ends", "Site", "Vendor", "Enrollment", id="ending", keep=2))
            with Vertical(id="joining"):
                yield Static("Owners of the last 30 days", classes="heading")
                yield Static("", id="joined")

    def on_mount(self) -> None:
        self.query_one("#counts").focus(scroll_visible=False)

    async def load(self, hub: Hub) -> Answer:
        """Loads the counts, each second tick what ran; the first time, everything."""
        from joinder.services.admin import enrollment_stats, gauges, join_attempts, join_funnel
        from joinder.services.calls import activity, breaker_states

        if self.turn == 0:
            known = await board.read(hub)
            return Answer(
                counts=known.counts,
                ran=known.ran,
                quotas=known.quotas,
                breakers=known.breakers,
                ending=await enrollment_stats.ending(hub),
                faults=await join_attempts.faults(hub),
                joining=join_funnel.in_all((await join_funnel.of_flows(hub)).values()),
            )
        if self.turn % SLOW_TURNS == 0:
            return Answer(ending=await enrollment_stats.ending(hub))
        if self.turn % SLOW_TURNS == 1:
            return Answer(faults=await join_attempts.faults(hub))
        if self.turn % SLOW_TURNS == 2:
            return Answer(quotas=await gauges.quota_left(hub))
        if self.turn % SLOW_TURNS == 4:
            return Answer(joining=join_funnel.in_all((await join_funnel.of_flows(hub)).values()))
        if self.turn % BREAKER_TURNS == 3:
            return Answer(breakers=await breaker_states.standing(hub.store))
        if self.turn % 2:
            return Answer(ran=await activity.last_day_by_vendor(hub.store))
        return Answer(counts=await enrollment_stats.counts(hub))

    def show(self, answer: Answer) -> None:
        known = self._board
        known.counts = known.counts if answer.counts is None else answer.counts
        known.ran = known.ran if answer.ran is None else answer.ran
        known.quotas = known.quotas if answer.quotas is None else answer.quotas
        known.breakers = known.breakers if answer.breakers is None else answer.breakers
        self._faults = self._faults if answer.faults is None else answer.faults
        self._show_who()
        rows: Rows = {vendor: known.cells(vendor) for vendor in known.vendors}
        none = ("No enrollment yet: press 3 for a flow to send owners to.", *[""] * (len(board.COLUMNS) - 1))
        self.query_one("#counts", Table).fill(rows or {"": none})
        if answer.ran is not None:
            self._show_runs(answer.ran)
        if answer.ending is not None:
            self._ending = answer.ending
            self._show_ending()
        if answer.joining is not None:
            self.query_one("#joining").set_class(not answer.joining.started, "-nobody")
            self.query_one("#joined", Static).update(funnel.drawn(answer.joining))

    def on_resize(self) -> None:
        if self._board.ran is not None:  # nothing is known before, and unknown is not 0
            self._show_who()

    def _show_who(self) -> None:
        self.joinder.waiting = board.waiting(self._board.counts)
        is_high = self.size.height >= LOW
        for who in GROUPS:
            faults = self._faults if who == "operator" else ()
            self.query_one(f"#who-{who}", Static).update(_who(who, self._of(who), faults, is_high=is_high))

    def _of(self, who: str) -> list[Count]:
        """Returns those that wait for somebody; who waits for the vendor needs nobody here."""
        return [one for one in self._board.counts if (one.actor if one.actor in GROUPS else "nobody") == who]

    def _show_runs(self, by_vendor: board.Ran) -> None:
        from joinder.services.calls import activity

        ran = activity.in_all(by_vendor)
        for what, label in RUNS.items():
            counts = ran[what]
            drawn = self.query_one(f"#ran-{what}", Sparkline)
            drawn.data = [float(count) for count in counts]
            drawn.remove_class("-unknown")
            total = texts.count(sum(counts))
            self.query_one(f"#label-{what}", Static).update(
                f"{label}: {total} in 24 h, {texts.count(counts[-1])} this hour"
            )

    def _show_ending(self) -> None:
        rows: Rows = {
            one.enrollment_id: (texts.ago(one.ends_at), one.site_name or "–", one.vendor, one.enrollment_id)
            for one in self._ending
        }
        self.query_one("#ending", Table).fill(rows or {"": ("none", "", "", "")})

    def action_only(self, who: str) -> None:
        from joinder.services.records.health import BY_URGENCY
        from joinder_tui.screens.enrollments import Enrollments

        waiting = {one.health for one in self._of(who)}
        states = [state for state in BY_URGENCY if state in waiting]
        if who == "operator" and self._faults and not states:
            self.joinder.action_go("flows")  # it is owners who wait, and there stands for what
            return
        self.app.switch_screen(Enrollments(f"health:{','.join(states or GROUPS[who])} actor:{who}"))

    def action_open(self) -> None:
        table = self.focused
        if isinstance(table, Table) and table.selected:
            self._open(table)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if isinstance(event.data_table, Table) and event.data_table.selected:
            self._open(event.data_table)

    def _open(self, table: Table) -> None:
        from joinder_tui.screens.enrollment import Enrollment
        from joinder_tui.screens.enrollments import Enrollments

        if table.id == "ending":
            self.app.push_screen(Enrollment(table.selected))
            return
        self.app.switch_screen(Enrollments(f"vendor:{table.selected}", order="health"))


def _who(who: str, counts: Sequence[Count], faults: Sequence[Fault], *, is_high: bool) -> Text:
    """Owners who cannot join count beside the enrollments that wait. A line for each, or one where rows are few."""
    from joinder.services.join.join_ends import words_of

    total = sum(one.count for one in counts) + sum(one.count for one in faults)
    heading = {"operator": "Needs you (m)", "owner": "Needs the owner (o)", "nobody": "Needs nobody"}[who]
    colour = {"operator": "red", "owner": "magenta", "nobody": "green"}[who] if total else "dim"
    by_state: dict[str, tuple[Text, int]] = {}
    for one in counts:
        drawn = texts.health(one.health, actor=one.actor)
        by_state[drawn.plain] = (drawn, by_state.get(drawn.plain, (drawn, 0))[1] + one.count)
    parts = [Text(texts.count(total), f"bold {colour}")]
    parts += [drawn.append(f" {texts.count(count)}") for _, (drawn, count) in sorted(by_state.items())]
    parts += [
        Text(f"■ {fault.vendor} joins: {words_of(fault.code)} {texts.count(fault.count)}", "red") for fault in faults
    ]
    between = "\n" if is_high else "   "
    return Text(between).join([Text(heading if is_high else f"{heading:<19}", "bold"), *parts])
