"""What a recheck looked at and changed, by vendor and rule, and how far it is: kept in the store between batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import NamedTuple

from msgspec import Struct, field

from joinder.energy import Refusal
from joinder.services.readings.coverage import Gap
from joinder.store.types import Write
from joinder.vendor import Resolution
from joinder.vendors.gate import Rule


class Changed(NamedTuple):
    """One row that does not stay as it is. `rule`: where nothing was refused, what it says now."""

    refused: Sequence[Refusal]
    rule: str | None = None
    is_dropped: bool = False


class Gone(NamedTuple):
    """A span whose values are lost, so that it is to be fetched again."""

    subject_id: str
    resolution: Resolution
    span: Gap


@dataclass(kw_only=True)
class RecheckFound:
    """What one batch told."""

    rows: int = 0
    changed: list[Changed] = dataclass_field(default_factory=list)
    writes: list[Write] = dataclass_field(default_factory=list)
    gone: list[Gone] = dataclass_field(default_factory=list)
    has_offset_zone: bool = False

    @property
    def staying(self) -> int:
        return self.rows - sum(one.is_dropped for one in self.changed)

    def change(self, write: Write, refused: Sequence[Refusal], rule: str | None = None, *, drops: bool = False) -> None:
        self.writes.append(write)
        self.changed.append(Changed(refused, rule, drops))


class RuleCount(Struct):
    """`marked`: values made unknown, or rows whose values are doubted; `dropped`: rows that went."""

    marked: int = 0
    dropped: int = 0


class VendorCount(Struct):
    """`spans` count as never asked from now on.

    `offset_zones`: sites whose days follow an offset instead of a time zone, and who tell no coordinates.
    """

    sites: int = 0
    rows: int = 0
    spans: int = 0
    offset_zones: int = 0
    rules: dict[str, RuleCount] = field(default_factory=dict)

    def count(self, one: Changed) -> None:
        """Counts what the gate refused; what it mends without a word counts under the row's own rule."""
        by_rule: Counter[str] = Counter()
        for refusal in one.refused:
            by_rule[refusal.rule] += refusal.count
        for name, marked in (by_rule or {one.rule or str(Rule.NUMBER): 1}).items():
            found = self.rules.setdefault(name, RuleCount())
            if one.is_dropped:
                found.dropped += 1
            else:
                found.marked += marked


class RecheckProgress(Struct):
    """A run's place: every site up to `after` is done, and of `site` every subject up to `part`. A row is written with
    the place and counts in one transaction; what is looked at again after a kill has nothing left to change."""

    total: int = 0
    done: int = 0
    after: str = ""
    site: str = ""
    part: str = ""
    vendors: dict[str, VendorCount] = field(default_factory=dict)
    accounts: list[str] = field(default_factory=list)  # whose readings changed
    to_fetch: tuple[int, int] | None = None  # of the site under way, where a backfill was asked for
    backfills: int = 0

    def vendor(self, name: str) -> VendorCount:
        return self.vendors.setdefault(name, VendorCount())


def told_once(refused: Iterable[Refusal]) -> list[Refusal]:
    """Returns one of each sentence, with how often it was true in all."""
    counts: Counter[tuple[str, str]] = Counter()
    for one in refused:
        counts[one.rule, one.text] += one.count
    return [Refusal(rule=rule, text=text, count=count) for (rule, text), count in counts.items() if count]
