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
        assert table.columns[ColumnKey("State")].width == len("disabled 3 h")


async def test_a_column_is_as_wide_as_what_is_in_it_now() -> None:
    app = Shown()
    async with app.run_test() as pilot:
        table = app.query_one(Table)
        for word in ("disabled 3 h", "ok"):
            table.fill({word: (word,)})
            await pilot.pause()
            assert table.columns[ColumnKey("State")].width == max(len("State"), len(word))


async def test_what_is_drawn_at_once_is_as_wide_as_what_is_drawn_later() -> None:
    app = Shown()
    async with app.run_test():
        table = app.query_one(Table)
        table.fill({"row": ("disabled 3 h",)})
        assert "disabled 3 h" in table.render_line(1).text
