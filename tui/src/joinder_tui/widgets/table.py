"""A table that is filled anew every few seconds without losing the cursor, and draws only what changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import DataTable
from textual.widgets.data_table import ColumnKey

from joinder_tui.widgets.plain import line

Rows = Mapping[str, tuple[str | Text, ...]]  # by a key of the row, in order


class Table(DataTable[Any]):
    """Rows are selected as wholes.

    Columns are as wide as we say: a DataTable measures new rows when it is idle, and what it drew before that stays as
    narrow as the headings, because the lines it keeps do not know of widths (Textual 8.2, `_update_dimensions`).
    """

    def __init__(self, *columns: str, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(cursor_type="row", zebra_stripes=True, id=id, classes=classes)
        self._headings = columns
        self._shown: dict[str, tuple[str | Text, ...]] = {}

    def on_mount(self) -> None:
        for heading in self._headings:
            self.add_column(heading, key=heading, width=cell_len(heading))

    @property
    def selected(self) -> str:
        """Returns the key of the row the cursor is on; empty where there is none."""
        if not self.row_count or not self.is_valid_coordinate(self.cursor_coordinate):
            return ""
        return str(self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value or "")

    def fill(self, rows: Rows) -> None:
        if list(rows) == list(self._shown):
            self._change(rows)
        else:
            self._replace(rows)
        self._shown = dict(rows)

    def _change(self, rows: Rows) -> None:
        """Columns grow but do not shrink: the eye would have to follow."""
        self._widen(rows)
        for key, cells in rows.items():
            before = self._shown[key]
            for heading, old, new in zip(self._headings, before, cells, strict=True):
                if old != new:
                    self.update_cell(key, heading, line(new))

    def _replace(self, rows: Rows) -> None:
        """Leaves the cursor on its row, or where it was when that row is gone."""
        selected, at = self.selected, self.cursor_row
        self.clear()
        for heading in self._headings:
            self.columns[ColumnKey(heading)].width = cell_len(heading)
        self._widen(rows)
        for key, cells in rows.items():
            self.add_row(*(line(cell) for cell in cells), key=key)
        if rows:
            keys = list(rows)
            self.move_cursor(row=keys.index(selected) if selected in rows else min(at, len(keys) - 1), animate=False)

    def _widen(self, rows: Rows) -> None:
        for index, heading in enumerate(self._headings):
            column = self.columns[ColumnKey(heading)]
            widest = max((line(cells[index]).cell_len for cells in rows.values()), default=0)
            column.width = max(column.width, widest)
