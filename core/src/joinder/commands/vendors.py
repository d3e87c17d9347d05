from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import rich_click as click

from joinder.clean import clean_line
from joinder.cli import EXIT_FAILED
from joinder.commands.running import echo, json_option, show

if TYPE_CHECKING:
    from joinder.vendor import Vendor


@click.command(name="vendors")
@json_option
def command(as_json: bool) -> None:
    """List installed vendor plugins, broken ones with the reason. Example:  joinder vendors

    Exit code 1 when a plugin is broken.
    """
    import logging

    from joinder.settings import settings_from_env
    from joinder.vendors.registry import Registry

    logging.disable(logging.WARNING)  # the table says it
    settings = settings_from_env()
    installed = Registry.load(allow=settings.plugins).installed
    show(
        [
            {
                "vendor": entry.name,
                "distribution": f"{entry.distribution} {entry.version}",
                "flow": str(entry.vendor.flow) if entry.vendor else "-",
                "state": "ok" if entry.vendor else entry.problem,
            }
            for entry in installed
        ],
        as_json,
    )
    if not as_json:
        for line in _missing_files([entry.vendor for entry in installed if entry.vendor], settings.public_files):
            echo(clean_line(line))
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
