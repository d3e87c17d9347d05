from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from joinder.commands.admin import ACTOR
from joinder.commands.running import echo, json_option, on_settings, show

if TYPE_CHECKING:
    from joinder.services.operations.backup import Copy


@click.command(name="backup")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite TARGET.")
@click.option("--keep", type=click.IntRange(min=1), help="TARGET is a folder: remove all but the newest KEEP copies.")
@json_option
def command(target: Path, force: bool, keep: int | None, as_json: bool) -> None:
    """Copy the database, while servers run, to a file or into a folder.
    Example:  joinder backup /var/backups/joinder --keep 14

    The key file is not inside. PostgreSQL is copied by pg_dump, which must be on this machine.
    """
    from joinder.services.operations.backup import back_up

    done = on_settings(lambda settings: back_up(settings, target, ACTOR, force=force, keep=keep))
    if done.unaudited is not None:
        echo(f"The audit has no entry of this copy: {done.unaudited}.", err=True)
    if as_json:
        show([_row(done)], True)
        return
    held = ", ".join(f"{count} {table}" for table, count in done.manifest.counts.items())
    echo(f"wrote {done.path} ({done.manifest.bytes} bytes, schema {done.manifest.schema}): {held}")
    for path in done.removed:
        echo(f"removed {path}")
    echo(
        f"The key is not inside: only a key file with {' and '.join(done.manifest.key_ids)} opens this copy. "
        "Keep a copy of that file elsewhere."
    )


def _row(done: Copy) -> dict[str, object]:
    import msgspec

    told = msgspec.to_builtins(done.manifest)
    return {"file": str(done.path), **told, "removed": [str(path) for path in done.removed]}
