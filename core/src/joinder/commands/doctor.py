from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import rich_click as click

from joinder.clean import clean_line
from joinder.cli import EXIT_AWAY, EXIT_CONFIG, EXIT_FAILED
from joinder.commands.running import echo, json_option, on_settings, show

if TYPE_CHECKING:
    from joinder.services.operations.findings import Finding
    from joinder.settings import Settings


@click.command(name="doctor")
@json_option
def command(as_json: bool) -> None:
    """Look for what is wrong, with the next step for each finding. Example:  joinder doctor

    Changes nothing. Exit code 0 when all is well, 1 with findings, 75 while the database is away, 78 when the
    configuration, or a newer database, stops every start.
    """
    from joinder.services.operations.doctor import stopping
    from joinder.settings import ConfigError

    try:
        findings = on_settings(_examined)
        code = _code(findings)
    except ConfigError as error:
        findings, code = [stopping(str(error))], EXIT_CONFIG
    if as_json:
        show([_row(one) for one in findings], True)
    else:
        for one in findings:
            echo(f"{'ok  ' if one.ok else 'LOOK'}  {one.check}: {clean_line(one.text)}")
            if one.next_step:
                echo(f"        next: {clean_line(one.next_step)}")
    sys.exit(code)


async def _examined(settings: Settings) -> list[Finding]:
    import logging

    from joinder.runtime.hub import open_hub
    from joinder.services.operations import doctor
    from joinder.trouble import StoreTrouble

    logging.disable(logging.WARNING)  # the findings say it
    first: list[Finding] = []
    try:
        first = await doctor.before_opening(settings)
        if not _all_well(first):
            return first
        async with open_hub(settings) as hub:
            return [*first, *await doctor.examine(hub)]
    except StoreTrouble as trouble:
        return [*first, doctor.database_away(trouble)]


def _code(findings: list[Finding]) -> int:
    if any(one.stops for one in findings):
        return EXIT_CONFIG
    if any(one.away for one in findings):
        return EXIT_AWAY
    return 0 if _all_well(findings) else EXIT_FAILED


def _all_well(findings: list[Finding]) -> bool:
    return all(one.ok for one in findings)


def _row(one: Finding) -> dict[str, object]:
    return {"check": one.check, "ok": one.ok, "text": one.text, "nextStep": one.next_step}
