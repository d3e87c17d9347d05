"""A vendor in a row: how its homes are, whether it answers, what ran and failed in a day, what is used of its quota."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from joinder_tui import texts

if TYPE_CHECKING:
    from joinder.runtime.hub import Hub
    from joinder.services.admin.enrollment_stats import Count
    from joinder.services.calls.breaker_states import Standing

COLUMNS = ("Vendor", "Homes", "Health", "Breaker", "Failed", "Quota used", "Ran in 24 h")
BAR = 16
BREAKERS = {
    "closed": ("●", "green", "closed"),
    "half-opened": ("◐", "yellow", "probing"),
    "opened": ("✗", "red", "open"),
}
Ran = Mapping[str, Mapping[str, Sequence[int]]]  # vendor → what → a count an hour
Quotas = Mapping[tuple[str, str], float]  # (vendor, span) → what is left of it, 0 to 1


@dataclass(kw_only=True)
class Board:
    """What is known of every vendor; each part may be read in a tick of its own."""

    counts: Sequence[Count] = ()
    ran: Ran | None = None
    quotas: Quotas | None = None
    breakers: Sequence[Standing] = ()

    @property
    def vendors(self) -> list[str]:
        """Returns those with an enrollment: where most must be done first, then by name."""
        names = {one.vendor for one in self.counts}
        return sorted(names, key=lambda name: (-waiting(self.of(name)), name))

    def of(self, vendor: str) -> list[Count]:
        return [one for one in self.counts if one.vendor == vendor]

    def breakers_of(self, vendor: str) -> list[Standing]:
        return [one for one in self.breakers if one.vendor == vendor]

    def cells(self, vendor: str) -> tuple[str | Text, ...]:
        counts, ran = self.of(vendor), (self.ran or {}).get(vendor, {})
        done = [sum(hour) for hour in zip(ran.get("refreshed", ()), ran.get("polled", ()), strict=True)]
        return (
            vendor,
            texts.count(sum(one.count for one in counts)),
            health_bar(counts),
            breaker(self.breakers_of(vendor)),
            _hours(ran.get("failed", ()), "red"),
            _quota(vendor, self.quotas or {}),
            _hours(done, "blue"),
        )


async def read(hub: Hub) -> Board:
    """Reads all of it at once."""
    from joinder.services.admin import enrollment_stats, gauges
    from joinder.services.calls import activity, breaker_states

    return Board(
        counts=await enrollment_stats.counts(hub),
        ran=await activity.last_day_by_vendor(hub.store),
        quotas=await gauges.quota_left(hub),
        breakers=await breaker_states.standing(hub.store),
    )


def waiting(counts: Sequence[Count]) -> int:
    """Counts those that wait for the operator or an owner."""
    return sum(one.count for one in counts if one.actor in ("operator", "owner"))


def health_bar(counts: Sequence[Count], width: int = BAR) -> Text:
    """Draws how many are well, and how many are not with their signs: whatever there is has a place."""
    from joinder.services.records.health import BY_URGENCY, WELL

    by_state = {
        state: sum(one.count for one in counts if state == ("ended" if one.is_ended else one.health))
        for state in (*BY_URGENCY, "ended")
    }
    total, room = sum(by_state.values()), width
    bar, numbers = Text(), Text()
    for state, count in by_state.items():
        if count and state not in WELL:
            cells = min(max(1, round(count / total * width)), room)
            room -= cells
            sign, colour = texts.SIGNS[state]
            bar.append(sign * cells, colour)
            numbers.append(f" {sign}", colour).append(texts.count(count))
    return Text("█" * room, "green").append_text(bar).append_text(numbers) if total else Text("–", "dim")


def breaker(standings: Sequence[Standing]) -> Text:
    """Says whether the vendor is called; a dash where no server or worker that runs has called it."""
    from joinder.services.calls.breaker_states import worst_of

    worst = worst_of(standings)
    if worst is None:
        return Text("–", "dim")
    sign, colour, word = BREAKERS.get(worst.state, BREAKERS["opened"])
    since = "" if worst.is_closed else f" {texts.short_ago(worst.since)}"
    return Text.assemble((sign, colour), f" {word}{since}")


def _quota(vendor: str, quotas: Quotas) -> Text:
    """Draws the tightest of its limits."""
    left = {span: share for (name, span), share in quotas.items() if name == vendor}
    if not left:
        return Text("no limit", "dim")
    span = min(left, key=lambda name: left[name])
    return texts.bar(round((1 - left[span]) * 1000), 1000).append(f" a {span}")


def _hours(counts: Sequence[int], colour: str) -> Text:
    if not any(counts):
        return Text("–", "dim")
    pairs = [float(sum(counts[at : at + 2])) for at in range(0, len(counts), 2)]  # two hours a letter
    return Text(texts.sparkline(pairs), colour).append(f" {texts.count(sum(counts))}")
