from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import rich_click as click

from joinder.commands.admin import ACTOR
from joinder.commands.running import echo, json_option, on_settings, show


@click.command(name="restore")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="The database is not empty and is replaced; the old one is kept aside.")
@click.option("--confirm", metavar="NAME", help="With --replace: the file or database name that is replaced.")
@json_option
def command(source: Path, replace: bool, confirm: str | None, as_json: bool) -> None:
    """Put a copy in the database's place; servers must be stopped.
    Example:  joinder restore joinder.sqlite3.copy --replace --confirm joinder.sqlite3

    Grants whose refresh tokens work once are not renewed until `joinder reconcile`. Never do this while the database
    the copy was taken from goes on elsewhere: the two would spend each other's tokens.
    """
    from joinder.services.operations.restore import restore

    done = on_settings(lambda settings: restore(settings, source, ACTOR, replace=replace, confirm=confirm))
    taken_at = datetime.fromtimestamp(done.taken_at, UTC).isoformat()
    if as_json:
        show([{"database": done.place, "copyTakenAt": taken_at, "kept": done.kept, "waiting": done.behind}], True)
        return
    echo(f"{done.place} is now the copy taken at {taken_at}")
    if done.kept:
        echo(f"The database that was there is kept: {done.kept}")
    if done.behind:
        waiting = ", ".join(f"{count} of {vendor}" for vendor, count in done.behind.items())
        echo(f"Not renewed until you decide: {waiting}.\nNow: start joinder, then: joinder reconcile")
