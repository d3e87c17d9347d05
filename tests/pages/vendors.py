"""Every vendor at its simulator: those of this repository, and one of each kind that `joinder new-vendor` writes."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from joinder.demo.stack import Running, stack
from joinder.services.records import accounts
from joinder.templates import KINDS
from served import output_of

ROOT = Path(__file__).parents[2]
UV = ROOT / ".uv/bin/uv"
ACCOUNT = "Bürgerenergiegenossenschaft Donaudampfschifffahrtsgesellschaft"  # no window of 320 px has room for its words
WRITTEN = {f"new{kind}": kind for kind in KINDS}


@asynccontextmanager
async def everything(folder: Path) -> AsyncIterator[Running]:
    """Runs a server, its worker and all simulators, as the demo does. Raises StepFailed."""
    found_first(await installed(folder / "new"))
    async with stack(folder / "demo", lambda _: None) as running:
        (account,) = await accounts.list_accounts(running.hub)
        await accounts.rename_account(running.hub, account.id, "pages", ACCOUNT)
        yield running


async def installed(folder: Path) -> Path:
    """Has a vendor of each kind written, and installs them beside the environment, not into it."""
    for name, kind in WRITTEN.items():
        into = folder / f"joinder-{name}"
        await output_of(sys.executable, "-m", "joinder", "new-vendor", name, "--kind", kind, "--into", into)
    site = folder / "site"
    sources = [folder / f"joinder-{name}" for name in WRITTEN]
    await output_of(UV, "pip", "install", "--quiet", "--no-deps", "--target", site, *sources)
    return site


def found_first(site: Path) -> None:
    """Has this process and those that it starts find what lies there."""
    sys.path.insert(0, str(site))
    os.environ["PYTHONPATH"] = str(site)


def left_out(running: Running) -> list[str]:
    """Returns the distributions that should be among those that are walked, and are not."""
    names = {simulator.vendor for simulator in running.simulators}
    present = {one.distribution for one in running.hub.registry.installed if one.name in names}
    ours = {f"joinder-{folder.name.replace('_', '')}" for folder in (ROOT / "plugins").iterdir() if folder.is_dir()}
    return sorted((ours | {f"joinder-{name}" for name in WRITTEN}) - present)


async def enrollments(running: Running) -> list[str]:
    told = await running.api.call("GET", "/enrollments", quietly=True)
    return [one["id"] for one in told["enrollments"]]
