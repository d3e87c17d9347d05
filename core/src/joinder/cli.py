"""The command line. A command's module is imported when it is called, and imports what it needs when it runs, so that
help and completion stay quick.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

import rich_click as click

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
PLUGIN_COMMANDS = "joinder.commands"  # entry points of plugins that bring a command of their own

EXIT_FAILED, EXIT_USAGE, EXIT_NOT_FOUND, EXIT_CONFLICT, EXIT_REFUSED, EXIT_VENDOR, EXIT_PARTLY = 1, 2, 3, 4, 5, 6, 7
EXIT_AWAY, EXIT_CONFIG = 75, 78


_FIRST_WORDS = re.compile(r'^def command\(.*?"""(.*?)(?:"""|\n\n|Example:|Try it:)', re.DOTALL | re.MULTILINE)


class Commands(click.RichGroup):
    """Finds a command's module by its name. To be listed none is imported: a stand-in holds its first words."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from importlib.metadata import entry_points

        return [*COMMANDS, *sorted(entry.name for entry in entry_points(group=PLUGIN_COMMANDS))]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        from importlib.metadata import entry_points

        if name in COMMANDS:
            return click.RichCommand(name=name, help=first_words(name))
        for entry in entry_points(group=PLUGIN_COMMANDS, name=name):
            return click.RichCommand(name=name, help=f"A command of {entry.dist.name if entry.dist else 'a plugin'}.")
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in COMMANDS:
            return args[0], import_module(f"joinder.commands.{_module(args[0])}").command, args[1:]
        from importlib.metadata import entry_points

        for entry in entry_points(group=PLUGIN_COMMANDS, name=args[0]):
            return entry.name, entry.load(), args[1:]
        return super().resolve_command(ctx, args)


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
        click.echo(f"Configuration: {error}", err=True)
        sys.exit(EXIT_CONFIG)
