"""Vendor plugins: what each can, whether it works, and whether it keeps the contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import DataTable

from joinder_tui import board, texts
from joinder_tui.acts import Act
from joinder_tui.conformance import FAILED_SHOWN, CheckBroke, Result, check
from joinder_tui.pages import Page
from joinder_tui.widgets.plain import Static
from joinder_tui.widgets.table import Listed, Rows, Table

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.calls.breaker_states import Standing
    from joinder.vendor import Limits, Per, Vendor
    from joinder.vendors.registry import Installed

CHECK_TWIN = "joinder check VENDOR"
SLOW_TURNS = 15  # plugins change with a restart only, and counting enrollments walks them all
COLUMNS = ("Vendor", "State", *board.COLUMNS[1:], "Conformance", "Version", "Consent", "Refresh")
ROWS_OF = {"15mins": "quarter hours", "day": "days"}
SUPPORT = {
    "yes": ("●", "green", "can"),
    "vendor_has_none": ("–", "dim", "vendor has none"),
    "not_yet": ("○", "yellow", "not yet"),
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """None: nothing was asked this time."""

    installed: Sequence[Installed]
    board: board.Board | None = None


class Vendors(Page):
    name_in_crumbs = "Vendors"
    BINDINGS: ClassVar[list[BindingType]] = [
        Act(
            "t",
            "check",
            "Check",
            tooltip="Run the conformance checks on this plugin, against its simulator on this machine",
            twin=CHECK_TWIN,
        ),
        Act(
            "enter",
            "open",
            "Enrollments",
            tooltip="The enrollments of this vendor",
            twin="joinder enrollments list --filter vendor:NAME",
        ),
        Act("escape", "app.go('now')", "Back", show=False, tooltip="To the first screen"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._installed: dict[str, Installed] = {}
        self._board = board.Board()

    def body(self) -> ComposeResult:
        yield Listed(Table(*COLUMNS, id="vendors", keep=3))
        with VerticalScroll(classes="facts"):
            yield Static("", id="facts")

    async def load(self, hub: Hub) -> Answer:
        if self.turn % SLOW_TURNS:
            return Answer(installed=hub.registry.installed)
        return Answer(installed=hub.registry.installed, board=await board.read(hub))

    def show(self, answer: Answer) -> None:
        self._installed = {entry.name: entry for entry in answer.installed}
        if answer.board is not None:
            self._board = answer.board
        gone = sorted(set(self._board.vendors) - set(self._installed))
        rows: Rows = {name: self._cells(name) for name in [*self._installed, *gone]}
        self.query_one(Table).fill(rows or {"": ("none installed", *[""] * (len(COLUMNS) - 1))})
        self._show_facts()

    def _cells(self, name: str) -> tuple[str | Text, ...]:
        entry = self._installed.get(name)
        vendor = entry.vendor if entry else None
        return (
            name,
            _state(entry),
            *self._board.cells(name)[1:],
            _conformance(self.joinder.checked.get(name)),
            entry.version if entry else "–",
            str(vendor.flow) if vendor else "–",
            str(vendor.refresh) if vendor else "–",
        )

    def on_data_table_row_highlighted(self) -> None:
        self._show_facts()

    def _show_facts(self) -> None:
        name = self.query_one(Table).selected
        entry = self._installed.get(name)
        result = self.joinder.checked.get(name)
        outcome = _outcome(result) if result else Text()
        facts = _facts(entry) if entry else Text(_GONE if name else "")
        not_called = _not_called(self._board.breakers_of(name))
        self.query_one("#facts", Static).update(outcome.append_text(not_called).append_text(facts))

    def action_check(self) -> None:
        name = self.query_one(Table).selected
        if name in self._installed:
            self.act(self._check(name))

    async def _check(self, name: str) -> None:
        broke: list[CheckBroke] = []

        async def run(_: Hub) -> None:
            try:
                self.joinder.checked[name] = await check(name)
            except CheckBroke as error:
                broke.append(error)

        problem = await self.outcome(f"Checking {name}", run)
        if broke or problem:
            said = problem or f"The checks of {name} did not run: {broke[0]}"
            self.app.notify(said, severity="error", timeout=10)
        if self.is_attached:
            self.reload()

    def action_open(self) -> None:
        from joinder_tui.screens.enrollments import Enrollments

        if name := self.query_one(Table).selected:
            self.app.switch_screen(Enrollments(f"vendor:{name}"))

    def on_data_table_row_selected(self, _: DataTable.RowSelected) -> None:
        self.action_open()


_GONE = "Enrollments of this vendor are stored, but no plugin of it is installed: they are not read or renewed."


def _state(entry: Installed | None) -> Text:
    if entry is None:
        return Text.assemble(("▲", "magenta"), " no plugin")
    if entry.problem is None:
        return Text.assemble(("●", "green"), " ok")
    off = "not enabled" in entry.problem
    return Text.assemble(("○", "dim") if off else ("■", "red"), " not enabled" if off else " broken")


def _conformance(result: Result | None) -> Text:
    if result is None:
        return Text("press t", "dim")
    if result.failed:
        return Text.assemble(("✗", "red"), f" {result.failed} of {result.failed + result.passed} failed")
    return Text.assemble(("✓", "green"), f" {result.passed} passed")


def _facts(entry: Installed) -> Text:
    text = Text.assemble((entry.vendor.label if entry.vendor else entry.name, "bold"))
    text.append(f"  {entry.distribution} {entry.version}\n")
    if entry.vendor is None:
        return text.append(f"{entry.problem}\n", "red")
    text.append_text(_can(entry.vendor))
    text.append(f"{_limits(entry.vendor.limits)}\n")
    text.append(f"{entry.vendor.docs_url}\n", "dim")
    return text


def _not_called(breakers: Sequence[Standing]) -> Text:
    """Says which hooks wait for the vendor to answer again."""
    text = Text()
    for one in breakers:
        if not one.is_closed:
            text.append_text(board.breaker([one])).append(f": {one.hook.replace('_', ' ')} did not answer five times")
            text.append(" in a row; asked by one probe at a time\n")
    return text


def _can(vendor: Vendor) -> Text:
    """Returns a line for each degree of support, with the sign it has in the table."""
    from joinder.vendor import Capability

    text = Text()
    for support, (sign, colour, words) in SUPPORT.items():
        named = [each.replace("_", " ") for each in Capability if vendor.support(each) == support]
        if named:
            text.append(sign, colour).append(f" {words}: {', '.join(named)}\n")
    return text


def _limits(limits: Limits) -> str:
    spans: tuple[Per, ...] = ("minute", "hour", "day", "month")
    calls = {span: limits.most(span) for span in spans}
    stated = [f"{texts.count(most)} calls a {span}" for span, most in calls.items() if most is not None]
    beside = [rate for rate in limits.calls if rate.scope != "app" or rate.per == "second"]
    stated += [f"{texts.count(rate.number)} a {rate.per} of each {rate.scope}" for rate in beside]
    history = [f"{ROWS_OF[entry.resolution]} {_reach(entry.reach)}" for entry in limits.history]
    every = f"read every {texts.span(limits.poll_every.total_seconds())}"
    return "; ".join([every, *(stated or ["no limit of calls stated"]), *(history or ["no history"])])


def _reach(reach: timedelta | None) -> str:
    return "from the beginning" if reach is None else f"of {texts.span(reach.total_seconds())}"


def _outcome(result: Result) -> Text:
    text = Text(
        f"Checked {texts.ago(result.at)}: {result.passed} passed, {result.failed} failed, {result.skipped} skipped, "
        f"{result.not_applicable} do not apply\n"
    )
    for reason in result.reasons[:FAILED_SHOWN]:
        text.append(f"✗ {reason}\n", "red")
    more = len(result.reasons) - FAILED_SHOWN
    return text.append(f"and {more} more: {CHECK_TWIN}\n" if more > 0 else "")
