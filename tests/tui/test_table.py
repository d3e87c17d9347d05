"""The table that every list is."""

from __future__ import annotations

from joinder_tui.widgets.table import Table
from textual.app import App, ComposeResult
from textual.widgets.data_table import ColumnKey


class Shown(App[None]):
    def compose(self) -> ComposeResult:
        yield Table("State", id="table")


async def test_a_column_grows_with_what_changes_in_it() -> None:
    app = Shown()
    async with app.run_test() as pilot:
        table = app.query_one(Table)
        table.fill({"row": ("ok",)})
        await pilot.pause()
        table.fill({"row": ("disabled 3 h",)})
        await pilot.pause()
        assert table.columns[ColumnKey("State")].content_width == len("disabled 3 h")
