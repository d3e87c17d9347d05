from __future__ import annotations

import re
from pathlib import Path

import rich_click as click

from joinder.commands.running import echo, fail


@click.command(name="new-vendor")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["oauth", "key", "local"]),
    default="oauth",
    show_default=True,
    help="How owners consent: on the vendor's pages, by a key they type, or by a device in their network.",
)
@click.option("--label", help="As people write it. Default: NAME with a capital.")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write; must not exist yet. Default: joinder-NAME.",
)
def command(name: str, kind: str, label: str | None, into: Path | None) -> None:
    """Write a small vendor plugin that passes its checks, to change step by step. Example:  joinder new-vendor acme"""
    from joinder.templates import render

    if not re.fullmatch(r"[a-z][a-z0-9]{1,30}", name):
        fail("NAME must be 2 to 31 lower-case letters and digits, a letter first: it is the API's vendor value", 2)
    if label is not None and not re.fullmatch(r"[\w .,&()-]{1,60}", label):
        fail("LABEL must be letters, digits, blanks and .,&()- only: it stands in source code", 2)
    folder = into or Path(f"joinder-{name}")
    if folder.exists():
        fail(f"{folder} exists already; name another folder with --into", 4)
    written = render(name, label or name.capitalize(), folder, kind)
    for path in written:
        echo(f"  {path}")
    echo(f"\nNow:  pip install -e '{folder}[test]'  &&  cd {folder}  &&  joinder check {name}")
    echo(f"Then: joinder dev {name}  (a server, its simulator, and a link that you open as an owner)")
