"""What commands share: running a service on an opened hub, and printing."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import rich_click as click

from joinder.clean import clean_json, clean_line, clean_text
from joinder.cli import EXIT_AWAY, EXIT_CONFLICT, EXIT_FAILED, EXIT_NOT_FOUND, EXIT_REFUSED, EXIT_VENDOR
from joinder.commands.tables import table, width_of_output

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.settings import Settings

T = TypeVar("T")
WIDEST = 300  # letters of a cell; `show` and --json tell the whole
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def on_hub(work: Callable[[Hub], Awaitable[T]]) -> T:
    """Runs `work` on this configuration's hub; refusals become one line and an exit code."""
    from joinder.runtime.hub import open_hub

    async def run(settings: Settings) -> T:
        async with open_hub(settings) as hub:
            return await work(hub)

    return on_settings(run)


def on_settings(work: Callable[[Settings], Awaitable[T]]) -> T:
    """Runs `work` on this configuration, with the same refusals, for what needs no open store."""
    import asyncio

    from joinder.observe import logs
    from joinder.settings import settings_from_env

    settings = settings_from_env()
    logs.configure("WARNING", "text")

    async def run() -> T:
        return await work(settings)

    with refusing():
        return asyncio.run(run())


@contextmanager
def refusing() -> Iterator[None]:
    """Ends the program with one line and an exit code where a service refuses, or the store is in trouble."""
    from joinder.errors import VendorError
    from joinder.services.refusals import Refusal

    try:
        yield
    except (Refusal, VendorError) as error:
        fail(sentence(error), code_of(error))
    except Exception as error:
        from joinder.store.advice import trouble_of

        told = trouble_of(error)
        if told is None:
            raise
        fail(f"{told} Try again; joinder doctor looks at it more closely.", code_of(error))


def sentence(error: Exception) -> str:
    """Says what a refusal, a vendor's error or trouble of the store is, and what of the input it is about."""
    from joinder.services.refusals import Refusal
    from joinder.store.advice import trouble_of

    if not isinstance(error, Refusal):
        return clean_line(trouble_of(error) or str(error))
    about = (f"  {place.lstrip('/')}: {text}" for place, text in error.errors.items())
    return "\n".join(map(clean_line, [error.detail, *about]))


def code_of(error: Exception) -> int:
    from joinder.errors import AppCredentialsRejected, AuthorizationLost, Paused, VendorError
    from joinder.services.refusals import Conflict, NotFound
    from joinder.trouble import StoreRefused, StoreTrouble

    if isinstance(error, StoreTrouble) and not isinstance(error, StoreRefused):
        return EXIT_AWAY
    if isinstance(error, NotFound):
        return EXIT_NOT_FOUND
    if isinstance(error, Conflict | Paused):
        return EXIT_CONFLICT
    if isinstance(error, AuthorizationLost | AppCredentialsRejected):
        return EXIT_REFUSED
    return EXIT_VENDOR if isinstance(error, VendorError) else EXIT_FAILED


def echo(text: str, *, err: bool = False) -> None:
    """Prints to the terminal, to which this is the only way.

    Where others' words are to be one line, `clean_line` comes before.
    """
    click.echo(clean_text(text), err=err)


def write(file: Path, text: str) -> None:
    """Writes a file that was asked for, whole or not at all; ends the program where it cannot be."""
    from joinder.small_files import put

    try:
        put(file, text)
    except OSError as error:
        fail(clean_line(f"{file} cannot be written: {error.strerror}"), EXIT_FAILED)


def fail(text: str, code: int) -> NoReturn:
    echo(text, err=True)
    sys.exit(code)


def show(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Prints JSON, or aligned columns as wide as the terminal, in which what is very long is cut."""
    if as_json:
        echo(clean_json(json.dumps(rows, indent=2)))
        return
    if not rows:
        echo("none")
        return
    for line in table([{name: _cell(value) for name, value in row.items()} for row in rows], width_of_output()):
        echo(line)


def _cell(value: object) -> str:
    text = clean_line(str(value))
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"
