"""The command line. A command's module is imported when it is called, and imports what it needs when it runs, so that
help and completion stay quick.
"""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    from joinder.plugins import Found

COMMANDS = (
    *("serve", "worker", "demo", "simulate", "vendors", "check", "record", "new-vendor"),
    *(
        "status",
        "enrollments",
        "flows",
        "credentials",
        "webhooks",
        "events",
        "audit",
        "backfills",
        "sites",
        "devices",
        "readings",
    ),
    *("accounts", "clients", "keys"),
    *("backup", "restore", "reconcile", "doctor", "config", "completion"),
)
SHIPPED = {"tui": "joinder-tui"}  # command → the distribution of ours it comes with; no plugin, so never listed
PLUGIN_COMMANDS = "joinder.commands"  # entry points of plugins that bring a command of their own

EXIT_FAILED, EXIT_USAGE, EXIT_NOT_FOUND, EXIT_CONFLICT, EXIT_REFUSED, EXIT_VENDOR, EXIT_PARTLY = 1, 2, 3, 4, 5, 6, 7
EXIT_AWAY, EXIT_CONFIG = 75, 78


_FIRST_WORDS = re.compile(r'^def command\(.*?"""(.*?)(?:"""|\n\n|Example:|Try it:)', re.DOTALL | re.MULTILINE)


class Commands(click.RichGroup):
    """Finds a command's module by its name. To be listed none is imported: a stand-in holds its first words."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted({one.entry.name for one in brought() if one.refusal is None})]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in COMMANDS:
            return click.RichCommand(name=name, help=first_words(name))
        for one in brought(name):
            return click.RichCommand(name=name, help=f"A command of {one.distribution}.")
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in COMMANDS:
            return args[0], import_module(f"joinder.commands.{_module(args[0])}").command, args[1:]
        for one in brought(args[0]):
            if one.refusal is not None:
                raise click.UsageError(f"{args[0]}: {one.refusal}")
            return one.entry.name, one.entry.load(), args[1:]
        return super().resolve_command(ctx, args)


def brought(name: str | None = None) -> list[Found]:
    """Commands of other distributions, none of them imported. What Joinder ships is brought by nobody else."""
    from joinder.plugins import Found, found

    all_found = found(PLUGIN_COMMANDS, _named_plugins(), name=name)
    shipped = [one.entry for one in all_found if SHIPPED.get(one.entry.name) == one.distribution]
    others = [one for one in all_found if one.entry.name not in (*COMMANDS, *SHIPPED)]
    return [*(Found(entry=entry) for entry in shipped), *others]


def _named_plugins() -> tuple[str, ...] | None:
    """Reads settings only where that one is set: listing commands stays quick."""
    if not any(name.startswith("JOINDER_PLUGINS") for name in os.environ):
        return None
    from joinder.settings import plugins_from_env

    return plugins_from_env()


def first_words(name: str) -> str:
    """Returns the first words of the command's docstring, read as text."""
    found = _FIRST_WORDS.search((Path(__file__).parent / "commands" / f"{_module(name)}.py").read_text("utf-8"))
    return " ".join(found[1].split()) if found else ""


def _module(name: str) -> str:
    return name.replace("-", "_")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="joinder", prog_name="joinder")
@click.option("--no-input", is_flag=True, help="Never ask; what would be asked must be given.")
@click.pass_context
def group(ctx: click.Context, no_input: bool) -> None:
    """One REST API over many vendors of distributed energy resources. Try it:  joinder demo

    Settings come from JOINDER_* variables; see `joinder config show` and docs/operate.md. Exit codes: 0 done, 1 failed,
    2 usage, 3 not found, 4 conflict, 5 refused, 6 vendor unavailable, 7 partly done, 75 database away,
    78 configuration.
    """
    ctx.obj = {"no_input": no_input}


def main() -> None:
    try:
        group(prog_name="joinder")
    except Exception as error:
        from joinder.settings import ConfigError

        if not isinstance(error, ConfigError):
            raise
        from joinder.clean import clean_text

        click.echo(clean_text(f"Configuration: {error}"), err=True)
        sys.exit(EXIT_CONFIG)
