from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from joinder.clean import clean_line
from joinder.cli import EXIT_FAILED
from joinder.commands.running import echo, fail, json_option, show

if TYPE_CHECKING:
    from joinder.testing.checks import Outcome


@click.command(name="check")
@click.argument("vendor", nargs=-1, required=True)
@click.option(
    "--cassettes",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the cassettes. Default: tests/plugins/VENDOR/cassettes, or tests/cassettes.",
)
@json_option
def command(vendor: tuple[str, ...], cassettes: Path | None, as_json: bool) -> None:
    """Run the conformance checks on installed vendor plugins. Example:  joinder check acme

    Everything happens on 127.0.0.1: the plugin meets its own simulator and its cassettes. Exit code 1 when a check
    fails.
    """
    import asyncio
    import logging

    from joinder.settings import plugins_from_env
    from joinder.testing.checks import all_checks, run
    from joinder.testing.subject import Subject

    logging.disable(logging.NOTSET)
    allow = plugins_from_env()
    found: dict[str, list[Outcome]] = {}
    for name in vendor:
        try:
            subject = Subject.installed(name, cassettes=cassettes or _cassettes(name), allow=allow)
        except LookupError as error:
            fail(str(error), 3)
        found[name] = [asyncio.run(run(entry, subject)) for entry in all_checks()]
        if not as_json:
            _show(name, found[name])
    if as_json:
        show([row for name, outcomes in found.items() for row in _rows(name, outcomes)], as_json)
    failed = any(outcome.state == "failed" for outcomes in found.values() for outcome in outcomes)
    sys.exit(EXIT_FAILED if failed else 0)


def _cassettes(name: str) -> Path | None:
    return next(
        (folder for folder in (Path(f"tests/plugins/{name}/cassettes"), Path("tests/cassettes")) if folder.is_dir()),
        None,
    )


def _rows(name: str, outcomes: list[Outcome]) -> list[dict[str, str]]:
    return [
        {"vendor": name, "group": one.check.group, "check": one.check.name, "state": one.state, "reason": one.reason}
        for one in outcomes
    ]


def _show(name: str, outcomes: list[Outcome]) -> None:
    from collections import Counter

    counts = Counter(outcome.state for outcome in outcomes)
    group = ""
    for one in outcomes:
        if one.check.group != group:
            group = one.check.group
            echo(f"\n{name} · {group}")
        reason = f"  {clean_line(one.reason)}" if one.reason else ""
        echo(f"  {one.state:<8} {one.check.name.replace('_', ' ')}{reason}")
    echo(f"\n{name}: " + ", ".join(f"{counts[state]} {state}" for state in ("passed", "failed", "skipped", "n/a")))
