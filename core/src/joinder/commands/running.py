"""What commands share: running a service on an opened hub, and printing."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import rich_click as click

from joinder.cli import EXIT_CONFLICT, EXIT_FAILED, EXIT_NOT_FOUND, EXIT_REFUSED, EXIT_VENDOR

if TYPE_CHECKING:
    from joinder.services.hub import Hub
    from joinder.settings import Settings

T = TypeVar("T")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def on_hub(work: Callable[[Hub], Awaitable[T]]) -> T:
    """Runs `work` on this configuration's hub; refusals become one line and an exit code."""
    from joinder.services.hub import open_hub

    async def run(settings: Settings) -> T:
        async with open_hub(settings) as hub:
            return await work(hub)

    return on_settings(run)


def on_settings(work: Callable[[Settings], Awaitable[T]]) -> T:
    """Runs `work` on this configuration, with the same refusals, for what needs no open store."""
    import asyncio

    from joinder import logs
    from joinder.errors import VendorError
    from joinder.services.refusals import Refusal
    from joinder.settings import settings_from_env

    settings = settings_from_env()
    logs.configure("WARNING", "text")

    async def run() -> T:
        return await work(settings)

    try:
        return asyncio.run(run())
    except (Refusal, VendorError) as error:
        fail(sentence(error), code_of(error))
    except Exception as error:
        from joinder.services.store_trouble import trouble_of

        told = trouble_of(error)
        if told is None:
            raise
        fail(f"{told} Try again; joinder doctor looks at it more closely.", EXIT_FAILED)


def sentence(error: Exception) -> str:
    """A refusal or a vendor's error, and what of the input it is about."""
    from joinder.services.refusals import Refusal

    if not isinstance(error, Refusal):
        return str(error)
    return "\n".join([error.detail, *(f"  {place.lstrip('/')}: {text}" for place, text in error.errors.items())])


def code_of(error: Exception) -> int:
    from joinder.errors import AppCredentialsRejected, AuthorizationLost, Paused
    from joinder.services.refusals import Conflict, NotFound, Refusal

    if isinstance(error, NotFound):
        return EXIT_NOT_FOUND
    if isinstance(error, Conflict | Paused):
        return EXIT_CONFLICT
    if isinstance(error, AuthorizationLost | AppCredentialsRejected):
        return EXIT_REFUSED
    return EXIT_FAILED if isinstance(error, Refusal) else EXIT_VENDOR


def fail(text: str, code: int) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(code)


def show(rows: list[dict[str, Any]], as_json: bool) -> None:
    """JSON, or aligned columns."""
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("none")
        return
    names = list(rows[0])
    table = [names, *([str(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[index]) for line in table) for index in range(len(names))]
    for line in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
