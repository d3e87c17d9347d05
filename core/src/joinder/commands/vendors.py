from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import rich_click as click

from joinder.clean import clean_line
from joinder.cli import EXIT_FAILED, EXIT_NOT_FOUND
from joinder.commands.admin import ACTOR
from joinder.commands.answering import print_json, say
from joinder.commands.running import echo, fail, json_option, on_hub, show
from joinder.commands.vendor_fields import as_answer, print_asked

if TYPE_CHECKING:
    from joinder.settings import Settings
    from joinder.vendor import Vendor
    from joinder.vendors.registry import Installed, Registry


class _Vendors(click.RichGroup):
    """Takes a vendor's name where no subcommand of that name is meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return super().resolve_command(ctx, ["show", *args])


@click.group(name="vendors", cls=_Vendors, invoke_without_command=True)
@click.option("--available", is_flag=True, help="Those that can be installed, instead of those that are.")
@json_option
@click.pass_context
def command(ctx: click.Context, available: bool, as_json: bool) -> None:
    """List installed vendor plugins, broken ones with the reason. Example:  joinder vendors

    With the name of one: what it asks of you and of owners, and the callback URL to register there. Exit code 1 when a
    plugin is broken, or what it left behind is without one.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_them, available=available, as_json=as_json)


@command.command(name="list")
@click.option("--available", is_flag=True, help="Those that can be installed, instead of those that are.")
@json_option
def list_them(available: bool, as_json: bool) -> None:
    """List them, as without a word. Example:  joinder vendors list --available"""
    if available:
        _list_available(as_json)
    else:
        _list_installed(as_json)


@command.command(name="show")
@click.argument("vendor")
@json_option
def show_one(vendor: str, as_json: bool) -> None:
    """Show what one vendor asks, and its callback URL. Example:  joinder vendors show acme

    The word may be left out.
    """
    settings, installed = _installed()
    found = [entry for entry in installed if entry.name == vendor]
    if not found:
        fail(f"No vendor is named {clean_line(vendor)}; joinder vendors lists them{_where(vendor)}.", EXIT_NOT_FOUND)
    if found[0].vendor and not as_json:
        print_asked(found[0].vendor, settings.public_url)
        return
    _show(found, settings, as_json)
    sys.exit(_code(found))


@command.command()
@click.argument("vendor")
@click.argument("distribution")
@json_option
def adopt(vendor: str, distribution: str, as_json: bool) -> None:
    """Hand the grants of a vendor to another plugin. Example:  joinder vendors adopt acme joinder-acme2

    A vendor belongs to the distribution that first stored a grant for it, so that no other reads its owners' keys. From
    the next start of servers and workers on it is this one's.
    """
    from joinder.services.admin import plugins

    before = on_hub(lambda hub: plugins.adopt(hub, vendor, distribution, ACTOR))
    if as_json:
        print_json({"vendor": vendor, "distribution": distribution, "before": before})
    else:
        echo(clean_line(f"{vendor} belongs to {distribution} now, before it to {before or 'nobody'}. Restart servers."))


@command.command()
@json_option
def pin(as_json: bool) -> None:
    """Print a JOINDER_PLUGINS that names the very files that are installed now. Example:  joinder vendors pin

    With it, no plugin is loaded that was upgraded, or whose files were changed, until this is run again.
    """
    from joinder.plugins import pins

    found = pins()
    for _, reason in found:
        if reason is not None:
            say(clean_line(reason))
    entries = [entry for entry, _ in found]
    if as_json:
        print_json({"plugins": entries})
    else:
        echo(clean_line(",".join(entries)))


def _list_available(as_json: bool) -> None:
    from msgspec import structs

    from joinder.vendors.catalogue import catalogue

    installed = {entry.name for entry in _installed()[1]}
    rows = [{**structs.asdict(listed), "installed": listed.name in installed} for listed in catalogue()]
    hidden = () if as_json else ("home", "label")
    show([{name: value for name, value in row.items() if name not in hidden} for row in rows], as_json)
    if not as_json:
        say("To install one:  pip install DISTRIBUTION")


def _list_installed(as_json: bool) -> None:
    settings, installed = _installed()
    if not installed and not as_json:
        from joinder.vendors.catalogue import catalogue

        echo("No vendor is installed. joinder vendors --available lists them; then, for example:")
        echo(f"  pip install {catalogue()[0].distribution}")
        return
    _show(installed, settings, as_json)
    if not as_json:
        for line in _missing_files([entry.vendor for entry in installed if entry.vendor], settings.public_files):
            echo(clean_line(line))
        say("What one asks of you, and its callback URL:  joinder vendors VENDOR")
    sys.exit(_code(installed))


def _installed() -> tuple[Settings, list[Installed]]:
    """Returns what was found, held against the claims of the database where there is one."""
    import logging

    from joinder.settings import settings_from_env
    from joinder.vendors.registry import Registry

    logging.disable(logging.WARNING)  # the table says it
    settings = settings_from_env()
    registry = Registry.load(allow=settings.plugins)
    return settings, _with_claims(settings, registry)


def _with_claims(settings: Settings, registry: Registry) -> list[Installed]:
    """Adds what is stored and not installed. A database that is away is a remark: the list is of what is installed."""
    import asyncio

    try:
        from joinder.services.admin import plugins
    except ImportError:  # an author's installation has no store
        return registry.installed
    try:
        return asyncio.run(plugins.held_against_store(settings.database_url, registry))
    except Exception as error:  # noqa: BLE001 - whatever it is, the doctor says it better
        say(f"The database is not looked at ({type(error).__name__}); joinder doctor says more.")
        return registry.installed


def _code(installed: list[Installed]) -> int:
    broken = any(entry.problem and "not enabled" not in entry.problem for entry in installed)
    return EXIT_FAILED if broken else 0


def _where(vendor: str) -> str:
    from joinder.vendors.catalogue import catalogue

    listed = next((one for one in catalogue() if one.name == vendor), None)
    return f"; pip install {listed.distribution} brings it" if listed else ""


def _show(installed: list[Installed], settings: Settings, as_json: bool) -> None:
    show(
        [
            {
                "vendor": entry.name,
                "distribution": f"{entry.distribution} {entry.version}",
                "flow": str(entry.vendor.flow) if entry.vendor else "-",
                "state": "ok" if entry.vendor else entry.problem,
                **(as_answer(entry.vendor, settings.public_url) if entry.vendor and as_json else {}),
            }
            for entry in installed
        ],
        as_json,
    )


def _missing_files(vendors: list[Vendor], folder: str | None) -> list[str]:
    """Lists the public files a vendor wants to fetch, and whether they would be served."""
    try:
        from joinder.services.admin.public_files import found
    except ImportError:  # an author's installation serves nothing
        return []
    return [
        f"{vendor.name}: {declared.label} at {declared.path}: "
        + ("served" if found(folder, declared) else f"not there (JOINDER_PUBLIC_FILES is {folder or 'not set'})")
        for vendor in vendors
        for declared in vendor.served_files
    ]
