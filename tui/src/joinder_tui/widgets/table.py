"""A table that is filled anew every few seconds without losing the cursor, and draws only what changed.

It sorts by any column, and where it is `Listed`, columns without room fall away and are told below.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.events import Resize
from textual.message import Message
from textual.widgets import DataTable
from textual.widgets.data_table import ColumnKey

from joinder.ids import is_id
from joinder_tui import texts
from joinder_tui.acts import Act
from joinder_tui.widgets.plain import Static, line

Cells = tuple[str | Text, ...]
Rows = Mapping[str, Cells]  # by a key of the row, in order
Lines = dict[str, tuple[Text, ...]]  # the same, cleaned, and cut where they are very long
Widths = Mapping[str, int]  # columns of the screen by heading
UP, DOWN = "▲", "▼"
LEAST, LEAST_ELASTIC = 8, 36  # columns that are left of what is cut for want of room; with fewer it falls away
_NUMBER = re.compile(r"\W*(\d[\d ]*(?:\.\d+)?)( ?(?:d|h|min|s)\b)?")


class Table(DataTable[Any], inherit_bindings=False):
    """Rows are selected as wholes.

    Columns are as wide as we say: a DataTable measures new rows when it is idle, and what it drew before that stays as
    narrow as the headings, because the lines it keeps do not know of widths (Textual 8.2, `_update_dimensions`).

    `keep`: so many columns never fall away for want of room, and do not scroll; None: all stay. One long name sends
    nothing away: what is wide is cut before anything falls, `elastic` first, and where not even what stays has room,
    the widest is cut further. `is_sorted_here`: what is shown is all there is, so it can be sorted by what is shown.
    Its keys are its own, so that `enter` is the page's, and stands on its bar.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Act("j,down", "cursor_down", "Down", show=False, tooltip="The next row"),
        Act("k,up", "cursor_up", "Up", show=False, tooltip="The row before"),
        Act("g,home", "scroll_top", "First", show=False, tooltip="The first row"),
        Act("G,end", "scroll_bottom", "Last", show=False, tooltip="The last row"),
        Act("pagedown", "page_down", "Further", show=False, tooltip="As many rows further as are shown"),
        Act("pageup", "page_up", "Back", show=False, tooltip="As many rows back as are shown"),
        Act("s", "sort", "Sort", show=False, tooltip="Sort by the next column, down, and as it was; or click its head"),
    ]

    class Filled(Message):
        """Says that what is shown may be other than it was."""

    def __init__(
        self,
        *columns: str,
        id: str | None = None,
        classes: str | None = None,
        keep: int | None = None,
        elastic: str | None = None,
        is_sorted_here: bool = True,
    ) -> None:
        super().__init__(cursor_type="row", id=id, classes=classes)
        self._headings = columns
        self._keep = keep
        self._elastic = elastic
        self._most: dict[str, int] = {}  # heading → the columns its cells are cut to
        self._is_sorted_here = is_sorted_here
        self._marks: dict[str, str] = {}  # heading → the arrow beside it
        self._there: Sequence[str] = ()  # headings that are drawn
        self._rows: Lines = {}  # in the order they were given
        self._shown: Lines = {}  # in the order they are drawn
        self._wanted = ""  # a row that is to be selected once it is there

    def on_mount(self) -> None:
        self._set_columns(self._headings)

    @property
    def selected(self) -> str:
        """Returns the key of the row the cursor is on; empty where there is none."""
        if not self.row_count or not self.is_valid_coordinate(self.cursor_coordinate):
            return ""
        return str(self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value or "")

    @property
    def wanted(self) -> str:
        """Returns the key of the row that is selected as soon as it is there."""
        return self._wanted

    @property
    def fallen(self) -> list[tuple[str, Text]]:
        """Returns headings without room, with what the row under the cursor has there; what is cut, too."""
        pairs = list(zip(self._headings, self._shown.get(self.selected, ()), strict=False))
        return [pair for pair in pairs if pair[0] not in self._there or self._is_cut(*pair)]

    def choose(self, key: str) -> None:
        """Moves the cursor to a row, now or when it comes: a made thing is selected."""
        if key in self._shown:
            self.move_cursor(row=list(self._shown).index(key), animate=False)
        else:
            self._wanted = key

    def fill(self, rows: Rows) -> None:
        self._rows = {key: tuple(map(_cell, cells)) for key, cells in rows.items()}
        self._draw()

    def mark(self, heading: str, arrow: str) -> None:
        """Shows by which column the rows are sorted; an empty heading: by none that is drawn."""
        self._marks = {heading: arrow} if heading else {}
        self._there = ()  # so that the heads are drawn anew
        self._draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self._is_sorted_here if action == "sort" else True

    def action_sort(self) -> None:
        """Goes from column to column, up and then down, and back to the order in which they came."""
        steps = [("", ""), *((heading, arrow) for heading in self._headings if heading for arrow in (UP, DOWN))]
        at = next(iter(self._marks.items()), ("", ""))
        self.mark(*steps[(steps.index(at) + 1) % len(steps)])

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        heading = str(event.column_key.value)
        if self._is_sorted_here and heading:
            self.mark(heading, DOWN if self._marks.get(heading) == UP else UP)

    def on_resize(self, _: Resize) -> None:
        if self._keep is not None:
            self._draw()

    def _draw(self) -> None:
        rows = self._in_order()
        widths = {heading: self._width(heading, rows) for heading in self._headings}
        there, before = self._fitting(widths), self._most
        self._most = self._cuts({heading: widths[heading] for heading in there})
        same = there == self._there and list(rows) == list(self._shown) and before == self._most
        if same and not self._wanted:
            self._change(rows, widths)
        else:
            self._replace(rows, there, widths)
        self.post_message(self.Filled())

    def _in_order(self) -> Lines:
        if not self._is_sorted_here or not self._marks or len(self._rows) < 2:
            return dict(self._rows)
        heading, arrow = next(iter(self._marks.items()))
        index = self._headings.index(heading)
        pairs = sorted(self._rows.items(), key=lambda pair: _weight(pair[1][index]), reverse=arrow == DOWN)
        return dict(pairs)

    def _fitting(self, widths: Widths) -> list[str]:
        """Returns the headings there is room for; those on the right fall away first."""
        there = list(self._headings)
        room = self.scrollable_content_region.width
        while self._keep is not None and room and len(there) > self._keep and self._needs(there, widths) > room:
            there.pop()
        return there

    def _needs(self, headings: Sequence[str], widths: Widths) -> int:
        return sum(min(LEAST_ELASTIC, widths[heading]) + 2 * self.cell_padding for heading in headings)

    def _cuts(self, widths: Widths) -> dict[str, int]:
        """Cuts what is wide, the elastic column first, and at last the widest, to the room that the others leave."""
        room = self.scrollable_content_region.width - 2 * self.cell_padding * len(widths)
        lacks = sum(widths.values()) - room
        if self._keep is None or not self.size.width or lacks <= 0:
            return {}
        cuts: dict[str, int] = {}
        for heading in sorted(widths, key=lambda one: (one != self._elastic, -widths[one])):
            gives = min(lacks, widths[heading] - LEAST_ELASTIC)
            if gives > 0:
                cuts[heading] = widths[heading] - gives
                lacks -= gives
        if lacks > 0:
            widest = max(widths, key=lambda one: cuts.get(one, widths[one]))
            cuts[widest] = max(LEAST, cuts.get(widest, widths[widest]) - lacks)
        return cuts

    def _is_cut(self, heading: str, cell: Text) -> bool:
        return cell.cell_len > self._most.get(heading, cell.cell_len)

    def _cell(self, heading: str, cell: Text) -> Text:
        if not self._is_cut(heading, cell):
            return cell
        shown = cell.copy()
        shown.truncate(self._most[heading], overflow="ellipsis")
        return shown

    def _width(self, heading: str, rows: Lines) -> int:
        index = self._headings.index(heading)
        cells = (row[index].cell_len for row in rows.values() if index < len(row))
        return max(cell_len(self._label(heading)), max(cells, default=0))

    def _label(self, heading: str) -> str:
        return f"{heading} {self._marks[heading]}" if heading in self._marks else heading

    def _set_columns(self, headings: Sequence[str]) -> None:
        self.clear(columns=True)
        for heading in headings:
            label = self._label(heading)
            self.add_column(label, key=heading, width=cell_len(label))
        self.fixed_columns = min(self._keep or 0, len(headings))
        self._there = list(headings)

    def _change(self, rows: Lines, widths: Widths) -> None:
        """Columns grow but do not shrink: the eye would have to follow."""
        self._widen(widths)
        for key, cells in rows.items():
            for heading, old, new in zip(self._headings, self._shown[key], cells, strict=True):
                if heading in self._there and (old.style != new.style or old != new):
                    self.update_cell(key, heading, self._cell(heading, new))
        self._shown = dict(rows)

    def _replace(self, rows: Lines, there: Sequence[str], widths: Widths) -> None:
        """Leaves the cursor on its row, or where it was when that row is gone."""
        selected, at = self.selected, self.cursor_row
        if list(there) != self._there:
            self._set_columns(there)
        else:
            self.clear()
        for heading in there:
            self.columns[ColumnKey(heading)].width = cell_len(self._label(heading))
        self._shown = dict(rows)
        self._widen(widths)
        for key, cells in rows.items():
            pairs = zip(self._headings, cells, strict=True)
            self.add_row(*(self._cell(heading, cell) for heading, cell in pairs if heading in there), key=key)
        if self._wanted in rows:
            selected, self._wanted = self._wanted, ""
        if rows:
            keys = list(rows)
            self.move_cursor(row=keys.index(selected) if selected in rows else min(at, len(keys) - 1), animate=False)

    def _widen(self, widths: Widths) -> None:
        for heading in self._there:
            column = self.columns[ColumnKey(heading)]
            width = max(column.width, widths[heading])
            column.width = min(width, self._most.get(heading, width))


class Listed(Vertical):
    """A table whose columns fall away from the right, and below it what they say of the row under the cursor."""

    def __init__(self, table: Table, *, id: str | None = None) -> None:
        super().__init__(id=id, classes="listed")
        self._table = table

    def compose(self) -> ComposeResult:
        yield self._table
        yield Static("", classes="fallen")

    def on_data_table_row_highlighted(self) -> None:
        self._tell()

    def on_table_filled(self) -> None:
        self._tell()

    def _tell(self) -> None:
        below = self.query_one(".fallen", Static)
        told = [(heading, cell) for heading, cell in self._table.fallen if cell.plain.strip()]
        below.display = bool(self._table.fallen)
        text = Text()
        for heading, cell in told:
            named = f"{heading.lower()} " if self._table.selected else ""  # else it is what an empty table says
            text.append(named, "dim").append_text(cell).append("   ")
        below.update(text)


def _cell(cell: str | Text) -> Text:
    """Makes a line of it; an id is dim, as names are what is looked for."""
    drawn = line(cell)
    return Text(drawn.plain, "dim") if is_id(drawn.plain) else drawn


def _weight(cell: Text) -> tuple[int, float, str]:
    """Sorts amounts by what they amount to, before words; what is unknown comes last."""
    text = cell.plain
    number = _NUMBER.match(text)
    if number:
        amount = float(number[1].replace(" ", ""))
        return 0, amount * texts.UNITS.get((number[2] or "").strip(), 1), text.casefold()
    return (2 if text.strip(" –") == "" else 1), 0.0, text.casefold()
