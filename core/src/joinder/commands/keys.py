from __future__ import annotations

from pathlib import Path

import rich_click as click

from joinder.settings import settings_from_env


@click.group(name="keys")
def command() -> None:
    """The key that seals every stored secret."""


@command.command()
@click.argument("path", required=False, type=click.Path(dir_okay=False, path_type=Path))
def create(path: Path | None) -> None:
    """Create the key file. Example:  joinder keys create joinder.key

    Keep a copy apart from the database: without it nothing stored can be read again.
    """
    from joinder.store.vault import create_key_file

    target = path or Path(settings_from_env().key_file)
    create_key_file(target)
    click.echo(f"Created {target}, readable by you alone. Keep a copy apart from the database.")
