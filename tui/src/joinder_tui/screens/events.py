"""What happened, and who changed what, newest first; what is new appears by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.reactive import reactive
from textual.widgets import DataTable, Input, TabbedContent, TabPane

from joinder_tui import new_files, texts
from joinder_tui.acts import COPY_ACCOUNT, Act
from joinder_tui.event_log import AuditLog, EventLog, Log, as_json
from joinder_tui.pages import Page
from joinder_tui.widgets.plain import Static
from joinder_tui.widgets.table import Listed, Table

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder_tui.screens.ask import FormValues

TABS = ("happened", "changed")
Answer = tuple[Log[Any], Sequence[Any]]


class Events(Page):
    name_in_crumbs = "Events & audit"
    BINDINGS: ClassVar[list[BindingType]] = [
        Act(
            "tab,shift+tab",
            "other",
            "Other tab",
            tooltip="From events to the audit, and back",
            twin="joinder audit list",
        ),
        Act(
            "slash",
            "look",
            "Filter",
            tooltip="An enrollment's id, a type, an account's id; in the audit any id, and an action",
            twin="joinder events list --enrollment ID --type TYPE --account ID",
        ),
        Act(
            "enter",
            "open",
            "Open",
            tooltip="The enrollment, or else all that is known",
            twin="joinder enrollments show ID",
        ),
        Act("J", "whole", "JSON", tooltip="All that is known of it, to copy", twin="joinder events list --json"),
        Act("space", "hold", "Hold", tooltip="Hold what is shown, or follow what happens again"),
        Act("right_square_bracket", "turn(1)", "Next", show=False, tooltip="The page before in time"),
        Act("left_square_bracket", "turn(-1)", "Previous", show=False, tooltip="The page after in time"),
        COPY_ACCOUNT,
        Act("x", "export", "Export", tooltip="Write what is shown to a new file", twin="joinder events list --json"),
        Act("escape", "clear", "Back", show=False, tooltip="Forget the filter, then go to the first screen"),
    ]

    held: reactive[bool] = reactive(False)

    def __init__(self) -> None:
        super().__init__()
        self._logs: dict[str, Log[Any]] = {"happened": EventLog(), "changed": AuditLog()}
        self._hint = ""  # why what is in the filter is none yet

    def body(self) -> ComposeResult:
        yield Input(placeholder="filter: enrl-… enrollment.health acct-…", id="filter")
        with TabbedContent(initial="happened"):
            with TabPane("Events", id="happened"):
                yield Listed(
                    Table(*EventLog.columns, id="table-happened", keep=3, elastic="What", is_sorted_here=False)
                )
            with TabPane("Audit", id="changed"):
                yield Listed(
                    Table(*AuditLog.columns, id="table-changed", keep=3, elastic="Reason", is_sorted_here=False)
                )
        yield Static("", id="summary")

    def on_mount(self) -> None:
        self._table.focus()

    @property
    def _tab(self) -> str:
        return self.query_one(TabbedContent).active or TABS[0]  # it has none until it is mounted

    @property
    def _log(self) -> Log[Any]:
        return self._logs[self._tab]

    @property
    def _table(self) -> Table:
        return self.query_one(f"#table-{self._tab}", Table)

    def tick(self) -> None:
        """Asks on the first page only, as no other changes."""
        if not self.held and len(self._log.begins) == 1:
            super().tick()

    async def load(self, hub: Hub) -> Answer:
        log = self._log
        return log, await log.load(hub)

    def show(self, answer: Answer) -> None:
        log, rows = answer
        if log is not self._log:
            return
        log.take(rows)
        at_top = self._table.cursor_row == 0
        shown = {key: log.cells(row) for key, row in log.found.items()}
        self._table.fill(shown or {"": ("nothing fits", *[""] * (len(log.columns) - 1))})
        if at_top:
            self._table.move_cursor(row=0, animate=False)
        self._summarise()

    def _summarise(self) -> None:
        if self._hint:
            self.query_one("#summary", Static).update(Text(self._hint, "yellow"))
            return
        log = self._log
        page = len(log.begins)
        pages = [*([f"page {page}, [ back"] if page > 1 else []), *(["] next page"] if log.more else [])]
        mode = "held: space follows again" if self.held else "following" if page == 1 else ""
        parts = (f"{texts.count(len(log.found))} shown", mode, *pages)
        self.query_one("#summary", Static).update("   ".join(part for part in parts if part))

    def watch_held(self, before: bool, after: bool) -> None:
        if before != after and self.is_mounted:
            self._summarise()
            self.tick()

    def action_hold(self) -> None:
        self.held = not self.held

    def action_other(self) -> None:
        tabs = self.query_one(TabbedContent)
        tabs.active = TABS[TABS.index(self._tab) - 1]
        with self.prevent(Input.Changed):
            self.query_one("#filter", Input).value = self._log.looked_for
        self._hint = ""
        self.call_after_refresh(self._table.focus)
        self.reload()

    def action_turn(self, step: int) -> None:
        self._log.turn(step)
        self.reload()

    def action_look(self) -> None:
        self.query_one("#filter", Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Looks as it is typed; half a word waits for the rest."""
        from joinder.services.refusals import Invalid

        before, self._hint = self._log.wanted, ""
        try:
            self._log.look_for(event.value)
        except Invalid as error:
            self._hint = error.detail
        self._summarise()
        if self._log.wanted != before:
            self.reload()

    def on_input_submitted(self) -> None:
        self._table.focus()

    def action_clear(self) -> None:
        if isinstance(self.focused, Input):
            self._table.focus()
        elif self.query_one("#filter", Input).value:
            self.query_one("#filter", Input).value = ""
        else:
            self.joinder.action_go("now")

    def on_data_table_row_selected(self, _: DataTable.RowSelected) -> None:
        self.action_open()

    def action_open(self) -> None:
        from joinder_tui.screens.enrollment import Enrollment

        row = self._log.found.get(self._table.selected)
        enrollment_id = self._log.enrollment_id(row) if row is not None else ""
        if enrollment_id:
            self.app.push_screen(Enrollment(enrollment_id))
        else:
            self.action_whole()

    def action_whole(self) -> None:
        from joinder_tui.screens.whole import Whole

        row = self._log.found.get(self._table.selected)
        if row is not None:
            self.app.push_screen(Whole(self._log.key(row), self._log.told(row)))

    def action_copy_account(self) -> None:
        row = self._log.found.get(self._table.selected)
        if row is not None:
            self.joinder.copy(self._log.account_id(row), "Account id")

    def action_export(self) -> None:
        self.act(self._export([self._log.told(row) for row in self._log.found.values()]))

    async def _export(self, rows: Sequence[dict[str, Any]]) -> None:
        """Exports `rows` as they were when it was asked for."""
        from joinder_tui.screens.ask import Line, ask

        async def write(_: Hub, given: FormValues) -> str:
            path = given.lines["path"]
            await asyncio.to_thread(new_files.write, path, as_json(rows))
            return path

        path = await ask(
            self, f"Export {texts.counted(len(rows), 'row')}", (Line("path", "To a new file"),), "Export", write
        )
        if path is not None:
            self.notify(f"{texts.counted(len(rows), 'row')} written to {path}.")


def _table(log: type[Log[Any]], place: str, elastic: str) -> Table:
    return Table(*log.columns, id=place, keep=3, elastic=elastic, is_sorted_here=False)
