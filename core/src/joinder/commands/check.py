from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from joinder.clean import clean_line
from joinder.cli import EXIT_FAILED
from joinder.commands.answering import say
from joinder.commands.running import echo, fail, json_option, show, write

if TYPE_CHECKING:
    from joinder.testing.advice import Trouble
    from joinder.testing.checks import Outcome
    from joinder.testing.subject import Subject


@click.command(name="check")
@click.argument("vendor", nargs=-1, required=True)
@click.option(
    "--cassettes",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the cassettes. Default: tests/plugins/VENDOR/cassettes, tests/cassettes, or the plugin's own.",
)
@click.option(
    "--html",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for a page per vendor: what it said, drawn beside what really happened, and what to do.",
)
@json_option
def command(vendor: tuple[str, ...], cassettes: Path | None, html: Path | None, as_json: bool) -> None:
    """Run the conformance checks on installed vendor plugins. Example:  joinder check acme

    Everything happens on 127.0.0.1: the plugin meets its own simulator and its cassettes. What fails is told
    with its place in your code, and what to do. Exit code 1 when a check fails.
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
            _show(subject, found[name])
        if html is not None:
            say(f"wrote {_page(subject, found[name], html)}")
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


def _page(subject: Subject, outcomes: list[Outcome], folder: Path) -> Path:
    import asyncio

    from joinder.testing.page import charts_of, page

    charts, trouble = [], ""
    try:
        charts = asyncio.run(charts_of(subject))
    except Exception as error:  # noqa: BLE001 - of the author's plugin: the page says it, and the checks beside it
        trouble = f"There is nothing to draw: {type(error).__name__}: {error}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{subject.name}.html"
    write(path, page(subject, outcomes, charts, trouble))
    return path


def _show(subject: Subject, outcomes: list[Outcome]) -> None:
    from collections import Counter

    from joinder.testing.advice import troubles

    name, told = subject.name, troubles(outcomes, subject)
    counts = Counter(outcome.state for outcome in outcomes)
    group = ""
    for one in outcomes:
        if one.check.group != group:
            group = one.check.group
            echo(f"\n{name} · {group}")
        _show_one(one, told.get(one.check.name), name)
    echo(f"\n{name}: " + ", ".join(f"{counts[state]} {state}" for state in ("passed", "failed", "skipped", "n/a")))


def _show_one(one: Outcome, trouble: Trouble | None, vendor: str) -> None:
    from joinder.plurals import counted
    from joinder.testing.advice import what_to_do

    said = f"as {_words(trouble.as_in)}" if trouble is not None and trouble.as_in else clean_line(one.reason)
    echo(f"  {one.state:<8} {_words(one.check.name)}{f'  {said}' if said else ''}")
    if trouble is None or trouble.as_in:
        return
    for line in trouble.place.splitlines():
        echo(f"           {clean_line(line)}")
    if trouble.others:
        echo(f"           the same in {counted(trouble.others, 'other check')}")
    echo(f"           → {what_to_do(one.check, vendor)}")


def _words(check: str) -> str:
    return check.replace("_", " ")
