from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from joinder.commands.running import echo, fail

if TYPE_CHECKING:
    from joinder.grants import Callback
    from joinder.testing.subject import Stand, Subject


@click.command(name="record")
@click.argument("vendor")
@click.option("--simulator", is_flag=True, help="Record the simulator's default owner; nothing leaves this machine.")
@click.option(
    "--credentials",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON file of the app credential: type and fields, as in POST /vendor-credentials.",
)
@click.option(
    "--form",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON file of what an owner enters, for vendors without a consent page.",
)
@click.option("--redirect-uri", help="As registered at the vendor; the owner's browser may fail to open it.")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("tests/cassettes"),
    show_default=True,
    help="Folder to write flow.yaml to.",
)
def command(
    vendor: str, simulator: bool, credentials: Path | None, form: Path | None, redirect_uri: str | None, into: Path
) -> None:
    """Drive one whole flow and write it as a scrubbed cassette. Example:  joinder record acme --simulator

    Without --simulator it calls the vendor with a real account: give --credentials, open the link it prints, and paste
    the address you land on. Look through what was written before you commit it.
    """
    import asyncio

    from joinder.errors import VendorError
    from joinder.settings import plugins_from_env
    from joinder.testing.subject import Failed, Subject

    try:
        subject = Subject.installed(vendor, allow=plugins_from_env())
    except LookupError as error:
        fail(str(error), 3)
    try:
        if simulator:
            from joinder.testing.record import record_simulated

            path = asyncio.run(record_simulated(subject, into))
        else:
            path = asyncio.run(_record_live(subject, _read(credentials), _read(form), redirect_uri, into))
    except (Failed, VendorError) as error:
        fail(str(error), 1)
    echo(f"wrote {path}")


async def _record_live(
    subject: Subject, app: dict[str, str], form: dict[str, str], redirect_uri: str | None, into: Path
) -> Path:
    from joinder.grants import Callback
    from joinder.redact import Secrets
    from joinder.testing.record import at_the_vendor, record_live
    from joinder.vendor import Flow

    async with at_the_vendor(subject, app or None) as stand:
        if stand.flow is Flow.REDIRECT:
            callback = await _owner_consents(stand, redirect_uri)
        else:
            callback = Callback(values=Secrets(form))
        return await record_live(stand, callback, into)


async def _owner_consents(stand: Stand, redirect_uri: str | None) -> Callback:
    from dataclasses import replace

    from joinder.testing.record import callback_from

    if redirect_uri is None:
        fail("--redirect-uri is needed: the one registered at the vendor", 2)
    request, verifier = stand.authorize_request()
    request = replace(request, redirect_uri=redirect_uri)
    echo("Open this link as the system's owner and consent:\n")
    echo(await stand.registry.build_authorize_url(stand.vendor.name, stand.context(), request))
    landed = click.prompt("\nPaste the address you landed on", hide_input=True)
    return replace(callback_from(landed, stand), redirect_uri=redirect_uri, code_verifier=verifier)


def _read(path: Path | None) -> dict[str, str]:
    import msgspec

    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str]) if path else {}
    except (OSError, ValueError):
        fail(f"{path} is not a JSON object of texts", 2)
