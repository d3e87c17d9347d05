"""The command line. Command modules import what they need when they run, so that `joinder --help` stays quick."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import entry_points, version

import rich_click as click

from joinder.settings import ConfigError

COMMANDS = (
    *("serve", "worker", "demo", "simulate", "vendors", "check", "record", "new-vendor"),
    *("status", "enrollments", "flows", "credentials", "webhooks", "events", "audit", "backfills", "sites", "devices"),
    *("accounts", "clients", "keys"),
    *("backup", "restore", "reconcile", "doctor"),
)
PLUGIN_COMMANDS = "joinder.commands"  # entry points of plugins that bring a command of their own

EXIT_FAILED, EXIT_USAGE, EXIT_NOT_FOUND, EXIT_CONFLICT, EXIT_REFUSED, EXIT_VENDOR, EXIT_PARTLY = 1, 2, 3, 4, 5, 6, 7
EXIT_CONFIG = 78


class Commands(click.RichGroup):
    """Finds a command's module by its name. A plugin's is loaded when it is called, not to be listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted(entry.name for entry in entry_points(group=PLUGIN_COMMANDS))]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in COMMANDS:
            command: click.Command = import_module(f"joinder.commands.{name.replace('-', '_')}").command
            return command
        for entry in entry_points(group=PLUGIN_COMMANDS, name=name):
            return click.Command(name, help=f"A command of {entry.dist.name if entry.dist else 'a plugin'}.")
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        for entry in entry_points(group=PLUGIN_COMMANDS, name=args[0]):
            return entry.name, entry.load(), args[1:]
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("joinder"), prog_name="joinder")
@click.option("--no-input", is_flag=True, help="Never ask; what would be asked must be given.")
@click.pass_context
def group(ctx: click.Context, no_input: bool) -> None:
    """One REST API over many vendors of distributed energy resources.

    Try it:  joinder demo

    Settings come from JOINDER_* variables; see docs/operate.md. Exit codes: 0 done, 1 failed, 2 usage, 3 not found,
    4 conflict, 5 refused, 6 vendor unavailable, 7 partly done, 78 configuration.
    """
    ctx.obj = {"no_input": no_input}


def main() -> None:
    try:
        group(prog_name="joinder")
    except ConfigError as error:
        click.echo(f"Configuration: {error}", err=True)
        sys.exit(EXIT_CONFIG)
