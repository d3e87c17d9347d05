from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from joinder.commands.answering import say
from joinder.commands.running import echo, json_option, show

if TYPE_CHECKING:
    from joinder.services.operations.configuration import Setting


@click.group(name="config")
def command() -> None:
    """The settings: what holds, and from where. Example:  joinder config show --origin

    They come from one file, joinder.toml, and over it from JOINDER_* variables. `joinder config path` says which file.
    """


@command.command(name="show")
@click.option("--origin", is_flag=True, help="Also where each comes from.")
@json_option
def show_all(origin: bool, as_json: bool) -> None:
    """Show every setting; passwords stay hidden. Example:  joinder config show --origin"""
    from joinder.services.operations.configuration import settings_shown
    from joinder.settings import settings_and_origins

    show([_row(one, origin, as_json) for one in settings_shown(*settings_and_origins())], as_json)


@command.command()
@json_option
def path(as_json: bool) -> None:
    """Say which file of settings is read, and where it is looked for. Example:  joinder config path"""
    import os

    from joinder import config_file

    found = config_file.found(os.environ)
    if as_json:
        show([{"path": str(found) if found else None}], True)
    elif found is not None:
        echo(str(found))
    else:
        looked = ", ".join(str(one) for one in config_file.candidates(os.environ))
        say(f"No file is read. The first of these that is there would be: --config, JOINDER_CONFIG, {looked}")


@command.command()
@click.option("--toml", "as_toml", is_flag=True, help="As a joinder.toml in which everything is commented out.")
@click.option("--markdown", "as_markdown", is_flag=True, help="As the table of docs/operate.md.")
@json_option
def reference(as_toml: bool, as_markdown: bool, as_json: bool) -> None:
    """Say what every setting means. Example:  joinder config reference --toml > joinder.toml"""
    from joinder.services.operations import configuration

    if as_toml:
        echo(configuration.as_toml())
    elif as_markdown:
        echo(configuration.as_markdown())
    elif as_json:
        rows = configuration.reference().items()
        show([{"setting": name, "default": one.default, "meaning": one.text} for name, one in rows], True)
    else:
        for name, one in configuration.reference().items():
            echo(f"{name}  ({one.default})\n    {one.text}")


@command.command()
def check() -> None:
    """Say what would stop a start, without opening the database. Example:  joinder config check"""
    import logging

    from joinder.services.operations.before_start import problems
    from joinder.settings import ConfigError, settings_from_env

    logging.disable(logging.WARNING)  # broken plugins are `joinder vendors`' to tell
    if found := problems(settings_from_env()):
        raise ConfigError("\n".join(found))
    echo("The configuration can work. Next: joinder doctor")


def _row(one: Setting, origin: bool, as_json: bool) -> dict[str, str | None]:
    value = one.value if as_json or one.value else "-"
    return {"setting": one.variable, "value": value, **({"origin": one.origin} if origin else {})}
