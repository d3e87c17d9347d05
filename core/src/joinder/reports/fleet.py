"""A vendor in a row: how its enrollments are, drawn and in words, where most is to be done first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from joinder.reports import svg
from joinder.services.records import health

if TYPE_CHECKING:
    from joinder.commands.answers import FleetCount

SIGNS = {"well": "●", "later": "◐", "owner": "▲", "operator": "■", "ended": "□"}  # beside each colour
FOR = {"operator": "for us", "owner": "for an owner"}


@dataclass(frozen=True, kw_only=True)
class Part:
    """Those in one state. `kind` is one of SIGNS."""

    kind: str
    words: str
    count: int

    @property
    def sign(self) -> str:
        return SIGNS[self.kind]


@dataclass(frozen=True, kw_only=True)
class Row:
    vendor: str
    count: int
    paused: int
    parts: Sequence[Part]

    @property
    def picture(self) -> Markup:
        return svg.shares([(part.kind, part.count) for part in self.parts])


def rows(counts: Sequence[FleetCount]) -> list[Row]:
    vendors = {one.vendor: [each for each in counts if each.vendor == one.vendor] for one in counts}
    return [_row(name, vendors[name]) for name in sorted(vendors, key=lambda name: (-_waiting(vendors[name]), name))]


def _waiting(counts: Sequence[FleetCount]) -> int:
    return sum(one.count for one in counts if one.actor in FOR)


def _row(vendor: str, counts: Sequence[FleetCount]) -> Row:
    order = ["ok", "connecting", *reversed([state for state in health.BY_URGENCY if state not in health.WELL])]
    placed = sorted(counts, key=lambda one: order.index(one.health) if one.health in order else len(order))
    return Row(
        vendor=vendor,
        count=sum(one.count for one in counts),
        paused=sum(one.paused for one in counts),
        parts=[_part(one) for one in placed],
    )


def _part(one: FleetCount) -> Part:
    if health.is_ended(one.health, one.actor):
        return Part(kind="ended", words="ended", count=one.count)
    kind = "well" if one.health in health.WELL else one.actor if one.actor in FOR else "later"
    who = f", {FOR[one.actor]}" if one.actor in FOR else ""
    return Part(kind=kind, words=one.health.replace("_", " ") + who, count=one.count)
