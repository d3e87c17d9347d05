"""What stands against a list being whole: the `errors` of lists, a sentence a vendor."""

from __future__ import annotations

from joinder.runtime.hub import Hub
from joinder.store.types import Stamp

_TROUBLE = (
    "SELECT vendor, health, health_actor, count(*), min(health_reason), max(health_reason) FROM enrollment "
    "WHERE account_id = :account "
    "AND (health < 'connecting' OR health > 'connecting' AND health < 'ok' OR health > 'ok') "
    "AND (health <> 'needs_consent' OR health_actor IS NULL OR health_actor <> 'nobody') {of_vendor}"  # unenrolled
    "GROUP BY vendor, health, health_actor ORDER BY vendor, health, health_actor"
)
_UNREAD = (
    "SELECT vendor, count(*) FROM site WHERE account_id = :account AND fetched_at IS NULL AND gone_at IS NULL "
    "{of_vendor}GROUP BY vendor"
)
_DECIDES = ("waits for your decision", "wait for your decision")
_WHAT = {  # by health: what is the matter with one, and with several
    "pending_approval": ("waits for the vendor's approval", "wait for the vendor's approval"),
    "degraded": ("cannot be read now; Joinder keeps trying", "cannot be read now; Joinder keeps trying"),
    "suspected": ("is refused, as many are; Joinder asks again", "are refused at once; Joinder asks again"),
    "needs_consent": ("needs a new consent of its owner", "need a new consent of their owners"),
    "lost_in_flight": ("needs a new consent of its owner", "need a new consent of their owners"),
    "operator_action": ("waits for you", "wait for you"),
    "quarantined": ("keeps failing, until you release it", "keep failing, until you release them"),
}


async def of_vendors(
    hub: Hub, account_id: str, vendor: str | None = None, stamp: Stamp | None = None
) -> dict[str, str]:
    """Returns vendor → sentence; empty when all is well and every site was read. `vendor`: of this one alone.

    `stamp`: of the request that asks.
    """
    told: dict[str, list[str]] = {}
    of_vendor = "AND vendor = :vendor " if vendor is not None else ""
    values = {"account": account_id, **({"vendor": vendor} if vendor is not None else {})}
    troubles = await hub.store.rows_while(stamp, _TROUBLE.format(of_vendor=of_vendor), values)
    for name, health, actor, count, reason, other in troubles:
        told.setdefault(name, []).append(_trouble(health, actor, count, reason if reason == other else None))
    for sentences in told.values():
        sentences.append("see GET /enrollments")
    for name, count in await hub.store.rows_while(stamp, _UNREAD.format(of_vendor=of_vendor), values):
        told.setdefault(name, []).append(f"{count} site(s) not read yet, so not listed")
    return {name: "; ".join(sentences) for name, sentences in told.items()}


def _trouble(health: str, actor: str | None, count: int, reason: str | None) -> str:
    one, several = _WHAT.get(health, (f"is {health}", f"are {health}"))
    if (health, actor) == ("pending_approval", "operator"):
        one, several = _DECIDES
    what = f"1 enrollment {one}" if count == 1 else f"{count} enrollments {several}"
    return f"{what} ({health}): {reason.rstrip('.')}" if reason else f"{what} ({health})"
