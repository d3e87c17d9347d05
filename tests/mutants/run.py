"""The kit's own score: plausible mistakes of authors, one at a time, and which check sees each.

    python tests/mutants/run.py [--vendor oauth|key|form|local|box] [--only TEXT] [--processes 2]

Each mutant is a copy of a sound vendor with one patch, checked in a process of its own until the first check fails,
its cassette recorded anew when that comes to be played. Exit code 1 when a mutant passes that names no reason.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path

from joinder.errors import VendorError
from joinder.templates import render
from joinder.testing.checks import Check, all_checks, run
from joinder.testing.record import record_simulated
from joinder.testing.subject import Failed, Subject
from joinder.vendors.registry import ENTRY_POINT_GROUP

HERE = Path(__file__).parent
PLUGINS = HERE.parents[1] / "plugins"
FUTURE = "from __future__ import annotations\n"
QUICK_FIRST = ("truth", "owners", "costs", "simulated", "hygiene", "authorize", "failures", "static", "replayed")
WAITS = "hooks_do_not_wait"
AIM = 0.95


@dataclass(frozen=True)
class Base:
    """A sound vendor that mistakes are planted in: a plugin's `source`, or the template of a kind."""

    name: str
    package: str
    source: Path | None = None
    kind: str = ""


BASES = {
    "oauth": Base("acme", "joinder_acme", kind="oauth"),
    "key": Base("solis", "joinder_solis", PLUGINS / "solis/src"),
    "form": Base("acme", "joinder_acme", kind="key"),
    "local": Base("iqgateway", "joinder_iq_gateway", PLUGINS / "iq_gateway/src"),
    "box": Base("acme", "joinder_acme", kind="local"),
}


@dataclass(frozen=True, kw_only=True)
class Mutant:
    vendor: str
    name: str
    file: str
    old: str
    new: str
    needs: str = ""
    missed: str = ""  # why the kit may let it pass

    def patched(self, text: str) -> str:
        """Raises AssertionError where the vendor no longer holds what is to be changed."""
        assert self.old in text, f"{self.vendor}, {self.name}: {self.file} no longer holds {self.old!r}"
        changed = text.replace(self.old, self.new)
        return changed.replace(FUTURE, f"{FUTURE}\n{self.needs}\n", 1) if self.needs else changed


@dataclass(frozen=True)
class Result:
    mutant: Mutant
    check: str = ""  # "" : no check failed
    reason: str = ""
    failed: list[str] = field(default_factory=list)


def mutants(vendor: str) -> list[Mutant]:
    found = tomllib.loads((HERE / f"{vendor}.toml").read_text())["mutant"]
    return [Mutant(vendor=vendor, **entry) for entry in found]


def checks(mutant: Mutant | None = None) -> list[Check]:
    """The quickest and most telling first: one that fails is enough.

    For a mutant that sleeps, that is the check under which sleeps end at once: all others would wait for it.
    """
    sleeps = mutant is not None and "sleep" in mutant.needs + mutant.new
    return sorted(all_checks(), key=lambda entry: (not sleeps or entry.name != WAITS, QUICK_FIRST.index(entry.group)))


def copied(base: Base, folder: Path, mutant: Mutant | None = None) -> Subject:
    """The vendor below `folder`, with the mistake in it."""
    if base.source is None:
        render(base.name, "Acme", folder, base.kind)
        source = folder / "src"
    else:
        source = folder / "src"
        shutil.copytree(base.source, source, ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is not None:
        path = source / base.package / mutant.file
        path.write_text(mutant.patched(path.read_text()))
    sys.path.insert(0, str(source))
    importlib.invalidate_caches()
    return Subject(
        name=base.name,
        entry=EntryPoint(name=base.name, value=base.package, group=ENTRY_POINT_GROUP),
        make_simulator=lambda: importlib.import_module(f"{base.package}.simulator").simulator(),
        cassettes=folder / "new",
    )


def judged(mutant: Mutant) -> Result:
    """In a process of its own, whose modules nobody else sees."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stderr(nowhere),
        contextlib.redirect_stdout(nowhere),
    ):
        return asyncio.run(_first_failure(mutant, copied(BASES[mutant.vendor], Path(folder), mutant)))


async def _first_failure(mutant: Mutant, subject: Subject) -> Result:
    is_recorded = False
    for entry in checks(mutant):
        if entry.group == "replayed" and not is_recorded:
            is_recorded = True
            try:
                await record_simulated(subject, subject.cassettes or Path())
            except (Failed, VendorError) as error:
                return Result(mutant, "joinder record", str(error))
        outcome = await run(entry, subject)
        if outcome.state == "failed":
            return Result(mutant, entry.name, outcome.reason)
    return Result(mutant)


def results(chosen: list[Mutant], processes: int) -> Iterator[Result]:
    """As they come. A fresh process each, forked from this one, which has imported all but the vendors."""
    checks()  # imported here, once for all
    context = multiprocessing.get_context("fork")
    with context.Pool(processes, maxtasksperchild=1) as pool:
        yield from pool.imap(judged, chosen, chunksize=1)


def row(result: Result) -> str:
    caught = result.check or ("MISSED: " + (result.mutant.missed or "no reason given"))
    return f"| {result.mutant.vendor} | {result.mutant.name} | {caught} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--vendor", choices=BASES, action="append")
    parser.add_argument("--only", default="", help="mutants whose name holds this text")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--reasons", action="store_true", help="also what the check said")
    asked = parser.parse_args()
    chosen = [one for vendor in asked.vendor or BASES for one in mutants(vendor) if asked.only in one.name]
    print("| vendor | mistake | caught by |\n|---|---|---|")
    found = []
    for result in results(chosen, asked.processes):
        found.append(result)
        print(row(result) + (f"\n    {result.reason}" if asked.reasons and result.reason else ""), flush=True)
    return _score(found)


def _score(found: list[Result]) -> int:
    caught = sum(bool(result.check) for result in found)
    unexplained = [result for result in found if not result.check and not result.mutant.missed]
    print(f"\n{caught} of {len(found)} caught ({100 * caught / max(1, len(found)):.1f} %), aim {AIM:.0%}")
    return 1 if unexplained or caught < AIM * len(found) else 0


if __name__ == "__main__":
    sys.exit(main())
