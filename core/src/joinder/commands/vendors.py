from __future__ import annotations

import sys

import rich_click as click

from joinder.cli import EXIT_FAILED
from joinder.commands.running import json_option, show
from joinder.settings import settings_from_env


@click.command(name="vendors")
@json_option
def command(as_json: bool) -> None:
    """List installed vendor plugins, broken ones with the reason. Example:  joinder vendors

    Exit code 1 when a plugin is broken.
    """
    import logging

    from joinder.vendors.registry import Registry

    logging.disable(logging.WARNING)  # the table says it
    installed = Registry.load(allow=settings_from_env().plugins).installed
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
    sys.exit(EXIT_FAILED if any(entry.problem and "not enabled" not in entry.problem for entry in installed) else 0)
