"""The command line. A command's module is imported when it is called, and imports what it needs when it runs, so that
help and completion stay quick.
"""

from __future__ import annotations

import difflib
import itertools
import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from joinder import config_file
from joinder.small_files import Unreadable, path_of

if TYPE_CHECKING:
    from joinder.plugins import Found

GROUPS = {
    "Begin": ("init", "demo", "simulate", "open"),
    "Run": ("serve", "worker", "config", "doctor", "completion"),
    "Look": ("status", "report", "events", "audit"),
    "Owners": ("flows", "programs", "enrollments", "credentials", "vendors"),
    "Data": ("sites", "devices", "readings", "backfills", "export"),
    "Integrators": ("accounts", "clients", "webhooks", "openapi"),
    "Keep": ("keys", "backup", "restore", "reconcile"),
    "Write a vendor": ("new-vendor", "dev", "check", "record"),
}
COMMANDS = tuple(name for names in GROUPS.values() for name in names)
SHIPPED = {"tui": "joinder-tui"}  # command → the distribution of ours it comes with; no plugin, so never listed
SHIPPED_HELP = {"tui": "The admin's terminal: flows, credentials and enrollments on screens."}
PLUGIN_COMMANDS = "joinder.commands"  # entry points of plugins that bring a command of their own

EXIT_FAILED, EXIT_USAGE, EXIT_NOT_FOUND, EXIT_CONFLICT, EXIT_REFUSED, EXIT_VENDOR, EXIT_PARTLY = 1, 2, 3, 4, 5, 6, 7
EXIT_AWAY, EXIT_CONFIG = 75, 78


_FIRST_WORDS = re.compile(r'^def command\(.*?"""(.*?)(?:"""|\n\n|Example:|Try it:)', re.DOTALL | re.MULTILINE)


class Commands(click.RichGroup):
    """Finds a command's module by its name. To be listed none is imported: a stand-in holds its first words."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _moved_to_front(args))

    def list_commands(self, ctx: click.Context) -> list[str]:
        try:
            others = brought()
        except config_file.ConfigError:  # is said when a command runs; help comes all the same
            others = []
        return [*COMMANDS, *sorted({one.entry.name for one in others if one.refusal is None})]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in COMMANDS:
            return click.RichCommand(name=name, help=first_words(name))
        for one in brought(name):
            return click.RichCommand(name=name, help=SHIPPED_HELP.get(name, f"A command of {one.distribution}."))
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
        if args[0].startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        if args[0] in SHIPPED:
            raise click.UsageError(f"{args[0]} comes with {SHIPPED[args[0]]}: pip install {SHIPPED[args[0]]}", ctx)
        raise click.UsageError(f"No such command '{args[0]}'.{_meant(args[0], self.list_commands(ctx))}", ctx)


def _meant(name: str, known: list[str]) -> str:
    """Says what was probably meant."""
    near = difflib.get_close_matches(name, known, 1) or [one for one in known if one.startswith(name)][:1]
    return f" Did you mean '{near[0]}'?" if near else " `joinder --help` lists them."


def _moved_to_front(args: list[str]) -> list[str]:
    """Puts the options of `joinder` itself first, wherever on the line they stand; behind `--` nothing is one."""
    end = args.index("--") if "--" in args else len(args)
    first: list[str] = []
    rest: list[str] = []
    words = iter(args[:end])
    for word in words:
        if word == "--config":
            first += [word, *itertools.islice(words, 1)]
        elif word == "--no-input" or word.startswith("--config="):
            first.append(word)
        else:
            rest.append(word)
    return [*first, *rest, *args[end:]]


def brought(name: str | None = None) -> list[Found]:
    """Commands of other distributions, none of them imported. What Joinder ships is brought by nobody else."""
    from joinder.plugins import Found, found

    all_found = found(PLUGIN_COMMANDS, _named_plugins(), name=name)
    shipped = [one.entry for one in all_found if SHIPPED.get(one.entry.name) == one.distribution]
    others = [one for one in all_found if one.entry.name not in (*COMMANDS, *SHIPPED)]
    return [*(Found(entry=entry) for entry in shipped), *others]


def _named_plugins() -> tuple[str, ...] | None:
    """Reads settings only where that one may be set: listing commands stays quick."""
    if not any(name.startswith("JOINDER_PLUGINS") for name in os.environ) and config_file.found(os.environ) is None:
        return None
    from joinder.settings import plugins_from_env

    return plugins_from_env()


def first_words(name: str) -> str:
    """Returns the first words of the command's docstring, read as text."""
    found = _FIRST_WORDS.search((Path(__file__).parent / "commands" / f"{_module(name)}.py").read_text("utf-8"))
    return " ".join(found[1].split()) if found else ""


def _module(name: str) -> str:
    return name.replace("-", "_")


def _use_config(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> None:
    """Names the file for this process and those it starts, as the variable does."""
    named = list(dict.fromkeys(values))
    if len(named) > 1:
        raise click.BadParameter(f"settings come from one file, and these are {len(named)}: {', '.join(named)}")
    for value in named:
        try:
            path = value if value == os.devnull else str(path_of(value).absolute())
        except Unreadable as why:
            raise click.BadParameter(f"{value or 'an empty word'} {why}") from None
        os.environ[config_file.VARIABLE] = path


def _in_panels(group: Commands) -> Commands:
    for title, names in GROUPS.items():
        listed = [*names, *(SHIPPED if title == "Look" else ())]
        group = click.command_panel(title, commands=listed)(group)
    return click.rich_config({"commands_panel_title": "From plugins"})(group)


@_in_panels
@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="joinder", prog_name="joinder")
@click.option(
    "--config",
    metavar="FILE",
    multiple=True,
    is_eager=True,
    expose_value=False,
    callback=_use_config,
    help="Read settings from this joinder.toml. Anywhere on the line.",
)
@click.option("--no-input", is_flag=True, help="Never ask; what would be asked must be given. Anywhere on the line.")
@click.pass_context
def group(ctx: click.Context, no_input: bool) -> None:
    """One REST API over many vendors of distributed energy resources. Try it:  joinder demo

    Settings come from joinder.toml and JOINDER_* variables: `joinder config show --origin`. Exit codes: 0 done,
    1 failed, 2 usage, 3 not found, 4 conflict, 5 refused, 6 vendor unavailable, 7 partly done, 75 database away,
    78 configuration.
    """
    ctx.obj = {"no_input": no_input}


def main() -> None:
    refusing_configuration(lambda: group(prog_name="joinder"))


def refusing_configuration(command: Callable[[], object]) -> None:
    """Runs a command; a setting that cannot work is one line and exit code 78."""
    try:
        command()
    except config_file.ConfigError as error:
        from joinder.clean import clean_text

        begins, code = ("", EXIT_FAILED) if isinstance(error, config_file.NotDone) else ("Configuration: ", EXIT_CONFIG)
        for line in str(error).splitlines():
            click.echo(clean_text(f"{begins}{line}"), err=True)
        sys.exit(code)
