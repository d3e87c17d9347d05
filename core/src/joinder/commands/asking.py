"""Before something is taken away: what it touches is said, and somebody agrees."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from joinder.clean import clean_line
from joinder.cli import EXIT_FAILED, EXIT_USAGE
from joinder.commands.running import echo, fail
from joinder.small_files import MOST_BYTES

F = TypeVar("F", bound=Callable[..., Any])
_dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be touched.")


def moderate(command: F) -> F:
    """Adds --yes and --dry-run, as `yes` and `dry_run`."""
    return _dry_run(click.option("--yes", "-y", is_flag=True, help="Do not ask.")(command))


def severe(command: F) -> F:
    """Adds --confirm and --dry-run, as `confirm` and `dry_run`."""
    return _dry_run(click.option("--confirm", metavar="NAME", help="The name or id that would be typed.")(command))


def agreed(touches: Sequence[str], *, yes: bool, dry_run: bool) -> bool:
    """Tells the user what is touched, and whether to go on: False after a dry run.

    Ends the program when nobody agrees.
    """
    _tell(touches)
    if dry_run:
        return False
    if not yes:
        _must_be_able_to_ask("--yes")
        if not click.confirm("Go on?", err=True):
            fail("Nothing was done.", EXIT_FAILED)
    return True


def agreed_by_name(name: str, touches: Sequence[str], *, confirm: str | None, dry_run: bool) -> bool:
    """Asks as `agreed` does, to be confirmed by typing `name`."""
    _tell(touches)
    if dry_run:
        return False
    if confirm is None:
        _must_be_able_to_ask(f"--confirm {name}")
        confirm = click.prompt(f"Type {clean_line(name)} to go on", err=True, default="", show_default=False)
    if confirm.strip() != name:
        fail(f"That is not {name}. Nothing was done.", EXIT_FAILED)
    return True


def secret_from(file: Path | None) -> str:
    """Reads a secret from a file, or from standard input (`-`).

    No option takes one itself: others see a command line.
    """
    if file is None or str(file) == "-":
        if sys.stdin.isatty():
            _must_be_able_to_ask("a file")
            return str(click.prompt("Secret", hide_input=True, err=True))
        return sys.stdin.read().strip()
    try:
        with file.open(encoding="utf-8") as source:  # a pipe too, as of <(pass show acme)
            return source.read(MOST_BYTES).strip()
    except (OSError, ValueError) as error:
        fail(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'not a text'}", EXIT_FAILED)


def _tell(touches: Sequence[str]) -> None:
    for line in touches:
        echo(clean_line(line), err=True)


def may_ask() -> bool:
    """Tells whether somebody is there to answer, and --no-input was not given."""
    context = click.get_current_context(silent=True)
    no_input = context is not None and (context.find_root().obj or {}).get("no_input", False)
    return not no_input and sys.stdin.isatty()


def _must_be_able_to_ask(instead: str) -> None:
    if not may_ask():
        fail(f"This must be agreed to: give {instead}. Nothing was done.", EXIT_USAGE)
