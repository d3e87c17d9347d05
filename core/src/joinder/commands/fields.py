"""Fields out of a file or standard input, and the check that no option brings a secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from joinder.commands.asking import secret_from

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.vendor import Field

from_option = click.option(
    "--from", "file", type=click.Path(path_type=Path, allow_dash=True), help="JSON object of fields; - for stdin."
)


def read_object(file: Path) -> dict[str, Any]:
    """Reads a JSON object from the file. Raises UsageError without any of what it holds: secrets."""
    import msgspec

    try:
        return msgspec.json.decode(secret_from(file), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise click.UsageError(
            '--from must hold a JSON object such as {"clientID": "…", "clientSecret": "…"}'
        ) from None


def declared_fields(hub: Hub, vendor: str, type_name: str) -> Sequence[Field]:
    """Returns a credential type's fields; empty for what is unknown: the service says so better."""
    from joinder.errors import UnknownVendor

    try:
        kind = hub.registry.vendor(vendor).app_credential(type_name)
    except UnknownVendor:
        return ()
    return kind.fields if kind is not None else ()


def refuse_secrets(option: str, declared: Sequence[Field], plain: Mapping[str, str]) -> None:
    """Others on this machine see a command line, and the shell remembers it. Raises Invalid."""
    from joinder.services.refusals import Invalid

    if hidden := [entry.name for entry in declared if entry.secret and entry.name in plain]:
        raise Invalid(f"{option} takes no secret: give {', '.join(hidden)} with --from.")
