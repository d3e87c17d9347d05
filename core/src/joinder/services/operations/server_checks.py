"""What `joinder doctor` says of the servers a PostgreSQL database is on, and may go on to."""

from __future__ import annotations

from collections.abc import Mapping

from joinder.runtime.hub import Hub
from joinder.services.grants import barrier
from joinder.services.operations.findings import Finding
from joinder.store import epoch
from joinder.store.epoch import Epoch

_STANDBYS = "SELECT count(*) FROM pg_stat_replication"
_SYNCHRONOUS = "SELECT current_setting('synchronous_standby_names')"


async def moved(hub: Hub) -> list[Finding]:
    """Tells whether the database went on elsewhere, and who has not told what it renewed before."""
    if not hub.store.can_fail_over:
        return []
    async with hub.store.read() as session:
        found = await epoch.current(session)
        known = await epoch.processes(session)
    if hub.store.server is None:
        told = "this server does not tell its timeline (pg_control_system, pg_walfile_name): a fail-over is not noticed"
        return [Finding(check="server", text=told, next_step="GRANT EXECUTE on both, or synchronous standbys only")]
    if found is None or found.server != hub.store.server:
        step = "joinder serve looks at it when it starts" if found is not None else None
        return [Finding(check="server", text=f"{hub.store.server}, not looked at yet", next_step=step)]
    if found.is_open and not found.missing:
        return [Finding(check="server", text=f"{found.server}, since {barrier.moment(found.since)}")]
    return [Finding(check="server", text=_waits_for(found, known), next_step=_step(found))]


def _waits_for(found: Epoch, known: Mapping[str, epoch.Process | None]) -> str:
    if not found.is_open:
        return f"went on at {barrier.moment(found.since)}; renewals wait until every process has told what it had"
    waited_for = [known.get(name) for name in found.missing]
    seen = max((each.seen for each in waited_for if each is not None), default=found.since)
    return (
        f"went on at {barrier.moment(found.since)}; {len(found.missing)} processes, last seen {barrier.moment(seen)}, "
        "have not told what they renewed before"
    )


def _step(found: Epoch) -> str:
    if not found.is_open:
        return "wait for a minute; where it lasts, start the workers that are down"
    return "start joinder where they ran, with the same JOINDER_JOURNAL_FOLDER; else joinder reconcile --probe"


async def standbys(hub: Hub) -> list[Finding]:
    """Tells whether a standby that takes over may lack commits."""
    if not hub.store.can_fail_over:
        return []
    (count,), (names,) = [(await hub.store.rows(sql, {}))[0] for sql in (_STANDBYS, _SYNCHRONOUS)]
    if not count:
        return []
    if names:
        return [Finding(check="standbys", text=f"{count} follow; commits wait for {names}")]
    told = f"{count} follow, and no commit waits for them: one that takes over may lack the last seconds"
    return [Finding(check="standbys", text=told, next_step="set synchronous_standby_names (docs/operate.md)")]
