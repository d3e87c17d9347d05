from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from joinder.cli import EXIT_CONFIG
from joinder.commands.running import echo, fail, json_option, show

if TYPE_CHECKING:
    from joinder.services.operations.configuration import Setting


@click.group(name="config")
def command() -> None:
    """The settings: what holds, and from where. Example:  joinder config show --origin"""


@command.command(name="show")
@click.option("--origin", is_flag=True, help="Also where each comes from.")
@json_option
def show_all(origin: bool, as_json: bool) -> None:
    """Show every setting; passwords stay hidden. Example:  joinder config show --origin"""
    from joinder.services.operations.configuration import settings_shown
    from joinder.settings import settings_and_origins

    show([_row(one, origin, as_json) for one in settings_shown(*settings_and_origins())], as_json)


@command.command()
def check() -> None:
    """Say what would stop a start, without opening the database. Example:  joinder config check"""
    import logging

    from joinder.services.operations.configuration import problems
    from joinder.settings import settings_from_env

    logging.disable(logging.WARNING)  # broken plugins are `joinder vendors`' to tell
    found = problems(settings_from_env())
    if found:
        fail("\n".join(f"Configuration: {problem}" for problem in found), EXIT_CONFIG)
    echo("The configuration can work. Next: joinder doctor")


def _row(one: Setting, origin: bool, as_json: bool) -> dict[str, str | None]:
    value = one.value if as_json or one.value else "-"
    return {"setting": one.variable, "value": value, **({"origin": one.origin} if origin else {})}
