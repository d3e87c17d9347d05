"""Two tables: below is what belongs to the row under the cursor above."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.widgets import DataTable

from joinder_tui.acts import Act
from joinder_tui.pages import Page
from joinder_tui.widgets.plain import Static, line
from joinder_tui.widgets.table import Cells, Listed, Table

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub

U = TypeVar("U")
L = TypeVar("L")
MOVES: tuple[Act, ...] = (
    Act("tab,shift+tab", "other", "Other table", show=False, tooltip="To the table below, and back"),
    Act("escape", "app.go('now')", "Back", show=False, tooltip="To the first screen"),
)


@dataclass(frozen=True)
class Answer(Generic[U, L]):
    """`below` belongs to `key`; None: as it was."""

    above: Mapping[str, U] | None
    key: str
    below: Mapping[str, L] | None


class Pair(Page, Generic[U, L]):
    """Rows by their keys. A tick asks for what is above or for what is below, in turn."""

    columns_above: ClassVar[tuple[str, ...]]
    columns_below: ClassVar[tuple[str, ...]]
    none_above: ClassVar[Cells]
    none_below: ClassVar[Cells]

    def __init__(self) -> None:
        super().__init__()
        self._above: Mapping[str, U] = {}
        self._below: Mapping[str, L] = {}
        self._shown_of = ""  # whose rows are below

    async def load_above(self, hub: Hub) -> Mapping[str, U]:
        raise NotImplementedError

    async def load_below(self, hub: Hub, one: U) -> Mapping[str, L]:
        raise NotImplementedError

    def cells_above(self, one: U) -> Cells:
        raise NotImplementedError

    def cells_below(self, one: L) -> Cells:
        raise NotImplementedError

    def between(self, one: U) -> str:
        """Returns the line that says what is below."""
        raise NotImplementedError

    def body(self) -> ComposeResult:
        yield Listed(Table(*self.columns_above, id="above", keep=2))
        yield Static("", id="between")
        yield Listed(Table(*self.columns_below, id="below", keep=2))

    def on_mount(self) -> None:
        self.query_one("#above").focus()

    @property
    def chosen(self) -> U | None:
        return self._above.get(self.query_one("#above", Table).selected)

    @property
    def chosen_below(self) -> L | None:
        return self._below.get(self.query_one("#below", Table).selected)

    async def load(self, hub: Hub) -> Answer[U, L]:
        above = await self.load_above(hub) if self.turn % 2 == 0 else None
        known = self._above if above is None else above
        table = self.query_one("#above", Table)
        key = next((key for key in (table.wanted, table.selected) if key in known), next(iter(known), ""))
        below = await self.load_below(hub, known[key]) if key and (self.turn == 0 or self.turn % 2) else None
        return Answer(above, key, below)

    def show(self, answer: Answer[U, L]) -> None:
        if answer.above is not None:
            self._above = answer.above
            rows = {key: self.cells_above(one) for key, one in self._above.items()}
            self.query_one("#above", Table).fill(rows or {"": self.none_above})
        if answer.below is not None:
            self._show_below(answer.key, answer.below)
        elif not self._above:
            self._show_below("", {})

    def _show_below(self, key: str, below: Mapping[str, L]) -> None:
        self._shown_of, self._below = key, below
        rows = {key: self.cells_below(one) for key, one in below.items()}
        self.query_one("#below", Table).fill(rows or {"": self.none_below})
        self.query_one("#between", Static).update(line(self.between(self._above[key]) if key in self._above else ""))

    def ask_below(self) -> None:
        self.turn = 1
        self.ask()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        selected = self.query_one("#above", Table).selected
        if event.data_table.id == "above" and selected and selected != self._shown_of:
            self.ask_below()

    def action_other(self) -> None:
        focused = self.focused
        self.query_one("#above" if focused is not None and focused.id == "below" else "#below").focus()
