"""The conformance checks. Each is a small function that raises Failed; its docstring is what it promises.

Which checks apply follows from the vendor's own description alone. One that applies and cannot hold is skipped with
a reason, which the simulator names (`Simulator.conformance_skips`); nothing that is missing passes.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from joinder.testing.subject import DoesNotApply, Failed, Subject, told
from joinder.vendor import Vendor

Run = Callable[[Subject], Awaitable[None]]
State = Literal["passed", "failed", "skipped", "n/a"]
GROUPS = ("static", "authorize", "simulated", "truth", "owners", "failures", "costs", "replayed", "hygiene")
_registered: dict[str, Check] = {}


@dataclass(frozen=True, kw_only=True)
class Check:
    name: str
    group: str
    promise: str
    run: Run
    applies: Callable[[Vendor], bool]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`error`: what a failed check raised, for whoever looks for its place in the author's code."""

    check: Check
    state: State
    reason: str = ""
    error: BaseException | None = None


def _always(_: Vendor) -> bool:
    return True


def check(applies: Callable[[Vendor], bool] = _always) -> Callable[[Run], Run]:
    """Registers a check under its function's name, in the group its module is named after.

    The docstring of `applies` says whom the check is for.
    """

    def register(run: Run) -> Run:
        group = run.__module__.rpartition(".")[2]
        promise = " ".join((run.__doc__ or "").split())
        _registered[run.__name__] = Check(name=run.__name__, group=group, promise=promise, run=run, applies=applies)
        return run

    return register


def all_checks() -> tuple[Check, ...]:
    """Lists the checks in the order they are run and shown."""
    for group in GROUPS:
        importlib.import_module(f"{__name__}.{group}")
    return tuple(sorted(_registered.values(), key=lambda entry: GROUPS.index(entry.group)))


async def run(entry: Check, subject: Subject) -> Outcome:
    """Runs one check; whatever it raises becomes its outcome."""
    try:
        vendor = subject.vendor()
    except Failed as error:
        return Outcome(check=entry, state="failed", reason=str(error))
    if not entry.applies(vendor):
        return Outcome(check=entry, state="n/a", reason=f"only {entry.applies.__doc__}")
    try:
        reason = skips(subject).get(entry.name)
        if reason:
            return Outcome(check=entry, state="skipped", reason=reason)
        await entry.run(subject)
    except DoesNotApply as reason_why:
        return Outcome(check=entry, state="n/a", reason=str(reason_why))
    except Exception as error:  # noqa: BLE001 - a check that breaks is a check that does not hold
        return Outcome(check=entry, state="failed", reason=told(error), error=error)
    return Outcome(check=entry, state="passed")


def skips(subject: Subject) -> dict[str, str]:
    """The reasons the simulator gives. Raises Failed for an unknown check or an empty reason."""
    if subject.make_simulator is None:
        return {}
    given = dict(subject.make_simulator().conformance_skips)
    unknown = [name for name, reason in given.items() if name not in _registered or not reason.strip()]
    if unknown:
        raise Failed(f"conformance_skips names {', '.join(unknown)}: no such check, or no reason given")
    return given
