"""What a simulator's truth (`TrueSite`) forgot to say of its vendor, guessed from what the plugin told.

An author whose simulator tells rows of an hour, and says nothing of it, has no mistake in the plugin: the advice must
not look for one there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from joinder.energy import Reading
from joinder.simulate.home import Energy
from joinder.simulate.truth import Numbers, TrueSite

WH, W, SHARE = 1.0, 1.0, 0.001  # a guess has to fit better than an answer
ROWS_S = (900, 1800, 3600, 7200, 10800)
MEANS_S = (60, 300, 600, 900, 1800, 3600)
Tells = Callable[[Energy], Numbers]


def forgotten_of_rows(rows: Sequence[Reading], start: datetime, metric: str, truth: TrueSite, tells: Tells) -> str:
    """Says which member makes the row of `start` true; empty where none does."""
    if metric == "soc_percent":
        return ""
    for length_s in ROWS_S:
        group = _row_of(rows, start, length_s, metric)
        if not group:
            continue
        told, span = sum(group), _span(start, length_s)
        true = tells(truth.home.energy(*span)).get(metric, 0.0)
        netted = tells(replace(truth, net_s=length_s).energy(*span)).get(metric, 0.0)
        row = f"row_s={length_s}" if length_s > truth.row_s else ""
        net = f"net_s={length_s}" if length_s > truth.net_s and not _fits(told, true, WH) else ""
        if _fits(told, netted if net else true, WH) and (row or net):
            what = "both directions as their difference" if net else "one row"
            members = ", ".join(filter(None, (row, net)))
            return f"over {length_s // 60} minutes it is right, {what}: a vendor that tells so is TrueSite({members})"
    return ""


def _row_of(rows: Sequence[Reading], start: datetime, length_s: int, metric: str) -> list[float]:
    """Returns what the quarter hours of one such row tell, which are even shares of it; none where one is missing."""
    slot = start.timestamp() // length_s
    told = [getattr(row, metric) for row in rows if row.start.timestamp() // length_s == slot]
    is_even = all(value is not None and _fits(value, told[0] or 0.0, 0.01) for value in told)
    return told if len(told) == length_s // 900 and is_even else []


def _span(start: datetime, length_s: int) -> tuple[float, float]:
    first = start.timestamp() - start.timestamp() % length_s
    return first, first + length_s


def forgotten_of_live(told: float, metric: str, truth: TrueSite, at: float) -> str:
    """Says which mean of the time before it is."""
    if metric == "soc_percent":
        return ""
    means = [mean_s for mean_s in MEANS_S if mean_s != truth.live_mean_s]
    fitting = [s for s in means if _fits(told, getattr(replace(truth, live_mean_s=s).live(at), metric), W)]
    if not fitting or _fits(told, 0.0, W):
        return ""
    return (
        f"that is the mean of the {fitting[0]} s before: a vendor that tells one is TrueSite(live_mean_s={fitting[0]})"
    )


def forgotten_of_moment(told: datetime, now: datetime) -> str:
    """Says on which grids of moments it is the last one; empty where it is on none."""
    lasts = {every_s: now - timedelta(seconds=now.timestamp() % every_s) for every_s in MEANS_S}
    second = timedelta(seconds=1)
    fitting = [str(s) for s, last in lasts.items() if abs(told - last) <= second < now - last]
    return f"a vendor that measures so seldom is TrueSite(live_every_s={' or '.join(fitting)})" if fitting else ""


def _fits(told: float, true: float, room: float) -> bool:
    return abs(told - true) <= room + SHARE * abs(true)
