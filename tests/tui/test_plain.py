"""What draws the names of others: cleaned, never markup, and as wide as it was."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from joinder_tui import screens, texts
from joinder_tui.widgets.plain import WIDEST, Visible, flowing, line, lines
from rich.cells import cell_len
from rich.segment import ControlType, Segment
from rich.text import Text
from textual.color import Color

from hostile import HOSTILE, SURROGATE, unseen
from joinder.clean import MARK


@pytest.mark.parametrize("name", [*HOSTILE.values(), SURROGATE, "ok", "🏠 屋根"])
def test_a_line_that_is_drawn_stays_as_long_as_it_was(name: str) -> None:
    one_line = name.replace("\n", "").replace("\t", "")
    (drawn,) = Visible().apply([Segment(one_line)], Color(0, 0, 0))
    assert cell_len(drawn.text) == cell_len(one_line)
    assert unseen(drawn.text) == set()


def test_what_orders_the_cursor_is_textuals_own_and_stays() -> None:
    own = Segment("\x1b[H", None, [(ControlType.HOME,)])
    assert Visible().apply([own], Color(0, 0, 0)) == [own]


def test_a_clean_text_is_drawn_as_the_same_object_and_styles_stay_in_place() -> None:
    styled = Text.assemble(("ok", "green"), " roof")
    assert line(styled) is styled
    assert lines(styled) is styled
    marked = line(Text.assemble(("a\x1bb", "green"), ("c\u202ed", "red")))
    assert marked.plain == f"a{MARK}bc{MARK}d"
    assert [(span.start, span.end) for span in marked.spans] == [(0, 3), (3, 6)]
    long = Text("x" * 10_000, "red")
    assert len(line(long)) == WIDEST
    assert len(long) == 10_000


def test_no_screen_uses_a_widget_that_reads_markup() -> None:
    """Textual's own `Static` and `Label` do; ours does not."""
    folder = Path(next(iter(screens.__path__))).parent
    for path in folder.rglob("*.py"):
        source = path.read_text()
        if path.name != "plain.py":
            assert not re.search(r"from textual\.widgets import .*\b(Static|Label|Link|Markdown)\b", source), path
            assert "markup=True" not in source, path
            assert "from_markup" not in source, path


def test_an_event_begins_with_what_happened() -> None:
    data = {"enrollmentID": "enrl-a", "vendor": "acme", "state": "opaque", "from": "ok", "to": "degraded"}
    assert texts.details(data) == "ok → degraded  state opaque"


def test_lines_end_between_parts_and_not_between_a_number_and_its_unit() -> None:
    parts = [Text("in all  solar 981.3 kWh"), Text("home 507.5 kWh"), Text("grid out 549.5 kWh", "blue")]
    assert [one.plain for one in flowing(parts, 44)] == [
        "in all  solar 981.3 kWh   home 507.5 kWh",
        "grid out 549.5 kWh",
    ]
    assert [one.plain for one in flowing(parts, 5)] == [one.plain for one in parts]
    assert flowing([], 10) == []
