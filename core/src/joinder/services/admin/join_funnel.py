"""How far the owners of each flow came in the last 30 days, and why the others did not: for whoever sends the links."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.join.join_ends import ENDS, SUCCESSES

DAYS = 30
_COUNTS = ("started", "under_way", "consented", "connected", "left")
LEFT = ("session_expired", "unfinished", "wrong_browser", "link_used")  # nobody said no
UNDER_WAY = ""
# What an attempt came to, as join_attempts tells of one: how it ended, or how it will be written down. Who waited for
# the vendor's approval is connected once the vendor has said yes.
_CODES = (
    "SELECT s.flow_id, CASE WHEN s.end_code = 'pending_approval' AND EXISTS (SELECT 1 FROM enrollment e "
    "WHERE e.id = s.enrollment_id AND e.status = 'enrolled') THEN 'joined' "
    "WHEN s.ended_at IS NOT NULL AND s.end_code IS NOT NULL THEN s.end_code "
    "WHEN s.enrollment_id IS NOT NULL THEN 'joined' "
    "WHEN s.used_at IS NULL AND s.expires_at <= :now THEN coalesce(s.end_code, 'session_expired') ELSE '' END AS code, "
    "count(*) FROM join_session s WHERE s.created_at >= :since AND s.flow_id <> '' {mine} GROUP BY s.flow_id, code"
)


@dataclass(frozen=True, kw_only=True)
class Funnel:
    """Owners of one flow: `started` is all of them, under way, consented, left or refused.

    `consented` counts those connected, too. `refused`: why they could not go on → how many, the most frequent first.
    """

    started: int = 0
    under_way: int = 0
    consented: int = 0
    connected: int = 0
    left: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)


NOBODY = Funnel()


async def of_flows(hub: Hub, account_id: str | None = None) -> dict[str, Funnel]:
    """Counts by flow, by one query; a flow nobody began has none. `account_id`: None for every account's."""
    mine = "" if account_id is None else "AND s.account_id = :account"
    asked = {"now": now(), "since": now() - DAYS * 86400} | ({} if account_id is None else {"account": account_id})
    counts: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for flow_id, code, count in await hub.store.scan(_CODES.format(mine=mine), asked):
        counts[flow_id][code] = int(count)
    return {flow_id: funnel(by_code) for flow_id, by_code in counts.items()}


def funnel(by_code: Mapping[str, int]) -> Funnel:
    """Sorts how attempts ended into how far their owners came."""
    good = {code: count for code, count in by_code.items() if code in SUCCESSES}
    refused = {code: count for code, count in by_code.items() if code not in (*SUCCESSES, *LEFT, UNDER_WAY)}
    return Funnel(
        started=sum(by_code.values()),
        under_way=by_code.get(UNDER_WAY, 0),
        consented=sum(good.values()),
        connected=good.get("joined", 0),
        left=sum(by_code.get(code, 0) for code in LEFT),
        refused=dict(sorted(refused.items(), key=lambda pair: (-pair[1], pair[0]))),
    )


def in_all(funnels: Iterable[Funnel]) -> Funnel:
    """Adds up several flows."""
    added, refused = Funnel(), Counter[str]()
    for one in funnels:
        refused.update(one.refused)
        counts = {name: getattr(added, name) + getattr(one, name) for name in _COUNTS}
        added = Funnel(**counts, refused=dict(refused.most_common()))
    return added


def actor_of(code: str) -> str:
    """Says who can end a reason; nobody where a later version knows it alone."""
    return ENDS[code].actor if code in ENDS else "nobody"
