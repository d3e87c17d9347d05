"""Every key has a sentence, a command that does the same where it does anything, and a test that pressed it."""

from __future__ import annotations

import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import joinder_tui.screens
import pytest
import rich_click as click
from joinder_tui.acts import Act
from joinder_tui.app import JoinderApp
from joinder_tui.pages import PAGES
from joinder_tui.widgets.table import Table
from textual.binding import Binding
from textual.screen import Screen

from joinder.cli import group
from joinder.services.admin.enrollment_operations import OPERATIONS
from tui.test_hostile_names import ACTS


def screens() -> list[type[Screen[object]]]:
    """Those of joinder_tui.screens that are shown, by their own module."""
    found = []
    for entry in pkgutil.iter_modules(joinder_tui.screens.__path__):
        module = import_module(f"joinder_tui.screens.{entry.name}")
        found += [
            kind
            for _, kind in inspect.getmembers(module, inspect.isclass)
            if issubclass(kind, Screen) and kind.__module__ == module.__name__
        ]
    return found


def own_acts(kind: type) -> list[Act]:
    return [act for act in kind.__dict__.get("BINDINGS", []) if isinstance(act, Act)]


PLACES = [(kind.__name__, act) for kind in (*screens(), JoinderApp) for act in own_acts(kind)]
WITH_TWINS = sorted({act.twin for _, act in PLACES if act.twin})


def test_every_binding_is_an_act() -> None:
    for kind in (*screens(), JoinderApp):
        assert [bound for bound in kind.__dict__.get("BINDINGS", []) if not isinstance(bound, Act)] == []


@pytest.mark.parametrize(("place", "act"), PLACES, ids=lambda value: value if isinstance(value, str) else value.action)
def test_each_has_a_sentence_and_what_changes_anything_has_a_command(place: str, act: Act) -> None:
    assert isinstance(act, Binding)
    assert act.tooltip
    assert act.description
    if act.changes:
        assert act.twin, f"{place} {act.action}"


@pytest.mark.parametrize("twin", WITH_TWINS)
def test_the_command_exists_and_takes_these_options(twin: str) -> None:
    program, *words = twin.split()
    assert program == "joinder"
    command: click.Command = group
    context = click.Context(group)
    while words and isinstance(command, click.Group):
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= options


def test_one_key_does_one_thing_on_a_screen() -> None:
    for kind in screens():
        keys = [key.strip() for act in own_acts(kind) for key in act.key.split(",")]
        assert len(keys) == len(set(keys)), kind.__name__


def test_an_operations_key_does_nothing_else_where_it_is_pressed() -> None:
    """`Table` and the app have keys on every screen; a table that is in front takes its own first."""
    everywhere = {act.key for kind in (Table, JoinderApp) for act in own_acts(kind)}
    assert {each.key for each in OPERATIONS} & everywhere == set(), "choose another key in enrollment_operations.py"


def test_every_page_is_described_and_asked_with_what_others_named() -> None:
    page = (Path(__file__).parents[2] / "docs/terminal.md").read_text()
    rows = [f"| `{each.key}` | {each.label} |" for each in PAGES]
    assert [row for row in rows if row not in page] == [], "its row in docs/terminal.md"
    assert set(ACTS) == {each.name for each in PAGES}, "its keys that ask, in test_hostile_names.ACTS; () for none"


def pressed_with(name: str) -> set[str]:
    """Every text in a call of `press` in the tests that import this screen."""
    found: set[str] = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        source = path.read_text()
        if path != Path(__file__) and (name == JoinderApp.__name__ or re.search(rf"import .*\b{name}\b", source)):
            found |= set(re.findall(r'"([A-Za-z0-9_+]+)"', " ".join(re.findall(r"press\(([^)]*)\)", source))))
            found |= set(
                re.findall(r'"([A-Za-z0-9_+]+)"', " ".join(re.findall(r"^PLACES = .*$", source, re.MULTILINE)))
            )
    return found


def test_every_key_is_pressed_by_a_test() -> None:
    missing = [
        f"{place}: {act.key} ({act.action})"
        for place, act in PLACES
        if not {key.strip() for key in act.key.split(",")} & pressed_with(place)
    ]
    counts = f"{len(screens())} screens, {len(PLACES)} acts, {len(WITH_TWINS)} command twins"
    print(f"\n{counts}, not pressed: {missing}")
    assert missing == [], "a test that imports the screen presses it, as tests/tui/test_flows.py and test_acts.py do"
