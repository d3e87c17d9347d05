"""Tables fit the terminal, and no id is cut; what goes into a pipe stays one line a row."""

from __future__ import annotations

from itertools import pairwise

import pytest

from cli.conftest import Shell
from joinder.commands.tables import table

ROWS = [
    {"id": "enrl-abcdefghijklmnop", "what happened": "the vendor refused the app's secret twice, minutes apart"},
    {"id": "enrl-ponmlkjihgfedcba", "what happened": "well"},
]


@pytest.mark.parametrize("width", range(36, 90))
def test_no_line_is_wider_and_no_word_is_lost(width: int) -> None:
    lines = table(ROWS, width)
    assert max(map(len, lines)) <= width
    said = " ".join(lines).split()
    for row in ROWS:
        assert set(" ".join(row.values()).split()) <= set(said)


def test_where_ids_do_not_fit_beside_each_other_each_row_is_a_few_lines() -> None:
    rows = [{"a": "x" * 30, "bb": "y" * 30}, {"a": "1", "bb": "2"}]
    assert table(rows, 40) == [f"a   {'x' * 30}", f"bb  {'y' * 30}", "", "a   1", "bb  2"]


def test_a_pipe_gets_one_line_a_row(joinder: Shell) -> None:
    joinder.env.pop("COLUMNS", None)
    row = joinder.json("accounts", "create", "A name that is rather long for a narrow terminal")[0]
    lines = joinder("accounts", "list").stdout.splitlines()
    assert lines[1] == f"{row['id']}  {row['name']}  production"
    narrow = joinder("accounts", "list", COLUMNS="50").stdout.splitlines()
    assert max(map(len, narrow)) <= 50
    columns = [narrow[0].index(title) for title in ("id", "name", "mode")]
    cells = [" ".join(line[of:to].strip() for line in narrow[1:]) for of, to in pairwise([*columns, None])]
    assert [cell.strip() for cell in cells] == [row["id"], row["name"], "production"]
