"""The tree of commands: quick, each with an example, none that takes a secret on the command line."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from joinder import cli

HEAVY = (
    *("litestar", "sqlmodel", "sqlalchemy", "granian", "alembic", "httpx", "authlib", "jinja2", "joinder_enphase"),
    *("msgspec", "asyncio", "joinder.settings", "cryptography"),
)
SECRET = re.compile(r"secret|passw|token|key(?!_id)", re.IGNORECASE)


def nodes(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            _, found, _ = command.resolve_command(context, [name])
            assert found is not None
            yield from nodes(found, *path, name)


NODES = dict(nodes(cli.group))


def test_plugins_commands_are_among_them() -> None:
    assert ("read-gateway",) in NODES
    assert len(NODES) >= 30


@pytest.mark.parametrize("path", NODES, ids=" ".join)
def test_help_begins_with_an_example(path: tuple[str, ...]) -> None:
    first, *_ = (NODES[path].help or "").split("\n\n")
    said = re.search(r"(Example|Try it): +(\S.*)", first)
    assert said is not None, first
    assert " ".join(("joinder", *path)) in " ".join(said[2].split())
    shown = CliRunner().invoke(cli.group, [*path, "--help"])
    assert (shown.exit_code, "Usage:" in shown.output) == (0, True)


def test_every_module_with_a_command_is_in_a_group_of_the_help() -> None:
    folder = Path(cli.__file__).parent / "commands"
    made = {path.stem for path in folder.glob("*.py") if re.search(r"^def command\(", path.read_text(), re.MULTILINE)}
    assert made == {name.replace("-", "_") for name in cli.COMMANDS}, "its name in one of cli.GROUPS"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_list_of_commands_says_what_their_help_says(name: str) -> None:
    help_text = NODES[name,].help or ""
    assert cli.first_words(name)
    assert " ".join(help_text.split()).startswith(cli.first_words(name))
    assert "xample" not in cli.first_words(name)


def test_nothing_takes_a_secret_from_the_command_line() -> None:
    """Other users of the machine see it. A file, or standard input, is fine."""
    taking = [
        (path, given.name)
        for path, command in NODES.items()
        for given in command.params
        if SECRET.search(" ".join((str(given.name), *given.opts))) and takes_text(given)
    ]
    assert taking == []


def takes_text(given: click.Parameter) -> bool:
    return not getattr(given, "is_flag", False) and not isinstance(given.type, click.Path | click.File)


@pytest.mark.parametrize(("name", "found"), [("apiKey", True), ("client-secret", True), ("key_id", False)])
def test_what_counts_as_a_secret(name: str, found: bool) -> None:
    assert bool(SECRET.search(name)) is found


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, click\n"
        "from joinder import cli\n"
        "cli.group(['--help'], standalone_mode=False)\n"
        "context = click.Context(cli.group)\n"
        "for name in cli.COMMANDS: cli.group.resolve_command(context, [name])\n"
        "print('MODULES', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "read-gateway" in done.stdout
    assert set(done.stdout.split("MODULES")[1].split()).isdisjoint(HEAVY)


def test_the_list_of_commands_imports_none_of_them() -> None:
    code = "import sys; from joinder.cli import group; group(['--help'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "joinder.commands" not in done.stdout


def test_commands_stand_in_groups() -> None:
    shown = CliRunner().invoke(cli.group, ["--help"], env={"COLUMNS": "120"}).output
    places = [shown.index(f" {title} ") for title in (*cli.GROUPS, "From plugins")]
    assert places == sorted(places)
    assert "A command of joinder-tui" not in shown
