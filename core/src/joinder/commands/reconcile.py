from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import rich_click as click

from joinder.clean import clean_line
from joinder.cli import EXIT_FAILED
from joinder.commands.admin import ACTOR
from joinder.commands.running import echo, json_option, on_hub, show

if TYPE_CHECKING:
    from joinder.services.operations.reconcile import ReconcileOutcome


@click.command(name="reconcile")
@click.option("--vendor", help="Only grants of this vendor.")
@click.option("--probe", is_flag=True, help="Renew one grant after the other to see which tokens still work.")
@click.option(
    "--refusals",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Stop at a vendor that refuses so many in a row.",
)
@json_option
def command(vendor: str | None, probe: bool, refusals: int, as_json: bool) -> None:
    """Release the grants that can be renewed safely after a restore, and probe the others.
    Example:  joinder reconcile --probe

    Exit code 1 while grants are waiting.
    """
    from joinder.services.operations.reconcile import reconcile

    outcomes = on_hub(lambda hub: reconcile(hub, ACTOR, vendor=vendor, probe=probe, refusals=refusals))
    if as_json:
        show([_row(one) for one in outcomes], True)
    else:
        _tell(outcomes)
    sys.exit(EXIT_FAILED if any(one.waiting for one in outcomes) else 0)


def _row(one: ReconcileOutcome) -> dict[str, object]:
    return {
        "vendor": one.vendor,
        "released": one.released,
        "alive": one.alive,
        "lost": one.lost,
        "waiting": one.waiting,
        "stopped": one.stopped,
    }


def _tell(outcomes: list[ReconcileOutcome]) -> None:
    if not outcomes:
        echo("No grant is waiting.")
    for one in outcomes:
        counts = f"{len(one.alive)} alive, {len(one.lost)} lost, {len(one.waiting)} waiting"
        echo(f"{one.vendor}: {len(one.released)} released, {counts}")
        if one.waiting and one.stopped:
            echo(f"  waiting because: {clean_line(one.stopped)}")
        for enrollment_id in one.lost:
            echo(f"  lost: {enrollment_id} (its owner must consent again)")
