"""The table that every list is."""

from __future__ import annotations

from joinder_tui.widgets.plain import WIDEST
from joinder_tui.widgets.table import Listed, Rows, Table
from rich.text import Text
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


async def test_a_colour_that_changes_is_drawn_though_the_words_stay() -> None:
    app = Shown()
    async with app.run_test():
        table = app.query_one(Table)
        for colour in ("green", "red"):
            table.fill({"row": (Text("ok", colour),)})
            assert table.get_cell("row", "State").style == colour


async def test_only_the_beginning_of_a_very_long_text_is_looked_at() -> None:
    app = Shown()
    async with app.run_test():
        table = app.query_one(Table)
        table.fill({"row": ("x" * 1_000_000,), "wide": ("\u6850" * 1_000_000,)})
        for key in ("row", "wide"):
            cell = table.get_cell(key, "State")
            assert cell.plain.endswith("…")
            assert cell.cell_len <= WIDEST


class Places(App[None]):
    def compose(self) -> ComposeResult:
        yield Listed(Table("Name", "Count", "Since", "Where it is", id="table", keep=2))


ROWS: Rows = {
    "a": ("beta", "1 200", "3 h", "far away in the north of the country"),
    "b": ("alpha", "90", "12 d", "here"),
    "c": ("Gamma", "–", "40 min", "nowhere"),
}


async def test_a_list_sorts_by_what_its_cells_amount_to_and_shows_by_which() -> None:
    app = Places()
    async with app.run_test(size=(120, 20)) as pilot:
        table = app.query_one(Table)
        table.fill(ROWS)
        names = []
        for _ in range(7):
            await pilot.press("s")
            names.append("".join(str(table.get_row_at(row)[0])[0] for row in range(3)))
        assert names[:6] == ["abG", "Gba", "abG", "Gba", "Gba", "abG"]
        assert "Where it is ▲" in table.render_line(0).text
        for _ in range(2):
            await pilot.press("s")
        assert str(table.get_row_at(0)[0]) == "beta"
        assert "▲" not in table.render_line(0).text
        await pilot.click(Table, offset=(2, 0))
        await pilot.pause()
        assert "Name ▲" in table.render_line(0).text


async def test_letters_move_as_the_arrows_do() -> None:
    app = Places()
    async with app.run_test() as pilot:
        table = app.query_one(Table)
        table.fill(ROWS)
        seen = []
        for key in ("j", "k", "G", "g", "end", "home"):
            await pilot.press(key)
            await pilot.pause()
            seen.append(table.selected)
        assert seen == ["b", "a", "c", "a", "c", "a"]


async def test_columns_without_room_fall_away_from_the_right_and_are_told_below() -> None:
    app = Places()
    async with app.run_test(size=(30, 20)) as pilot:
        table, below = app.query_one(Table), app.query_one(".fallen")
        table.fill(ROWS)
        await pilot.pause()
        assert "Where" not in table.render_line(0).text
        assert "Count" in table.render_line(0).text
        await pilot.press("j")
        await pilot.pause()
        assert "where it is here" in str(below.render())
        table.fill({**ROWS, "b": ("alpha", "90", "12 d", "there")})
        await pilot.pause()
        assert "where it is there" in str(below.render())
        await pilot.resize_terminal(120, 20)
        await pilot.pause()
        assert "Where it is" in table.render_line(0).text
        assert not below.display
        await pilot.resize_terminal(12, 20)
        await pilot.pause()
        assert [str(column.label) for column in table.ordered_columns] == ["Name", "Count"]


async def test_what_is_made_is_selected_when_it_comes() -> None:
    app = Places()
    async with app.run_test() as pilot:
        table = app.query_one(Table)
        table.fill(ROWS)
        table.choose("d")
        await pilot.pause()
        assert table.selected == "a"
        table.fill({**ROWS, "d": ("delta", "1", "1 s", "new")})
        await pilot.pause()
        assert table.selected == "d"
        table.choose("b")
        assert table.selected == "b"


class Told(App[None]):
    def compose(self) -> ComposeResult:
        yield Listed(Table("When", "Where", "What", "Id", id="table", keep=2, elastic="What"))


async def test_what_has_no_room_is_cut_or_falls_away_is_told_below_and_nothing_scrolls_sideways() -> None:
    app, sentence = Told(), "the vendor answers 503, and has done so since Tuesday"
    async with app.run_test(size=(120, 8)) as pilot:
        table = app.query_one(Table)
        table.fill({str(row): ("12:00", "Hauptstraße 4", sentence, "id-0123456789") for row in range(12)})
        shown = {}
        for width in (120, 84, 70, 40, 20):
            await pilot.resize_terminal(width, 8)
            await pilot.pause()
            shown[width] = table.render_line(1).text.rstrip()
            told = [cell.plain for _, cell in table.fallen]
            assert table.max_scroll_x == 0
            assert all(one in told for one in (sentence, "id-0123456789") if one not in shown[width])
        assert "id-0123456789" in shown[120]
        assert "the vendor answers 503" in shown[84]
        assert "the vendor answers 503" in shown[70]
        assert "id-0123456789" not in shown[70]
        assert "…" in shown[70]
        assert "Hauptstraße 4" in shown[40]
        assert "…" in shown[20]


async def test_one_long_name_sends_no_column_away() -> None:
    app, name = Told(), "x" * 200
    async with app.run_test(size=(100, 8)) as pilot:
        table = app.query_one(Table)
        table.fill({"a": ("12:00", name, "ok", "id-0123456789"), "b": ("12:01", "home", "failed", "id-9876543210")})
        await pilot.pause()
        assert "id-0123456789" in table.render_line(1).text
        assert ("Where", name) in [(heading, cell.plain) for heading, cell in table.fallen]
        assert table.max_scroll_x == 0


async def test_what_an_empty_list_says_has_no_heading_where_it_is_told_below() -> None:
    app, said = Told(), "No enrollment yet: press 3 for a flow to send owners to."
    async with app.run_test(size=(50, 8)) as pilot:
        app.query_one(Table).fill({"": (said, "", "", "")})
        await pilot.pause()
        assert str(app.query_one(".fallen").render()).strip() == said
