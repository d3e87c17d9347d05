from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import rich_click as click

from joinder.clean import clean_line
from joinder.cli import EXIT_FAILED, EXIT_NOT_FOUND
from joinder.commands.answering import say
from joinder.commands.running import echo, fail, json_option, show
from joinder.commands.vendor_fields import as_answer, print_asked

if TYPE_CHECKING:
    from joinder.vendor import Vendor


@click.command(name="vendors")
@click.argument("vendor", required=False)
@json_option
def command(vendor: str | None, as_json: bool) -> None:
    """List installed vendor plugins, broken ones with the reason. Example:  joinder vendors

    With VENDOR: what it asks of you and of owners, and the callback URL to register there. Exit code 1 when a plugin is
    broken.
    """
    import logging

    from joinder.settings import settings_from_env
    from joinder.vendors.registry import Registry

    logging.disable(logging.WARNING)  # the table says it
    settings = settings_from_env()
    installed = Registry.load(allow=settings.plugins).installed
    if vendor is not None:
        installed = [entry for entry in installed if entry.name == vendor]
        if not installed:
            fail(f"No vendor is named {clean_line(vendor)}; joinder vendors lists them.", EXIT_NOT_FOUND)
        if installed[0].vendor and not as_json:
            print_asked(installed[0].vendor, settings.public_url)
            return
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
    if not as_json:
        for line in _missing_files([entry.vendor for entry in installed if entry.vendor], settings.public_files):
            echo(clean_line(line))
        say("What one asks of you, and its callback URL:  joinder vendors VENDOR")
    sys.exit(EXIT_FAILED if any(entry.problem and "not enabled" not in entry.problem for entry in installed) else 0)


def _missing_files(vendors: list[Vendor], folder: str | None) -> list[str]:
    """Lists the public files a vendor wants to fetch, and whether they would be served."""
    from joinder.services.admin.public_files import found

    return [
        f"{vendor.name}: {declared.label} at {declared.path}: "
        + ("served" if found(folder, declared) else f"not there (JOINDER_PUBLIC_FILES is {folder or 'not set'})")
        for vendor in vendors
        for declared in vendor.served_files
    ]
