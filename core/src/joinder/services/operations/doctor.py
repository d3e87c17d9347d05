"""What is wrong with this installation, and what to do next. Looks only: nothing is changed, no vendor called."""

from __future__ import annotations

import stat
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from sqlalchemy import text

from joinder.clean import clean_line
from joinder.clock import boot_id, monotonic, now
from joinder.plurals import counted
from joinder.runtime.hub import Hub
from joinder.services.admin import keys
from joinder.services.calls import breaker_states
from joinder.services.calls.budgets import Budgets
from joinder.services.grants import barrier, durability, invariant, recovery
from joinder.services.operations import before_start, reachability
from joinder.services.operations.findings import Finding
from joinder.services.operations.server_checks import moved, standbys
from joinder.services.recheck import recheck
from joinder.services.records import health, notices
from joinder.settings import Settings
from joinder.skew import ALARMING_S
from joinder.store import copies, dumps
from joinder.store.advice import trouble_of
from joinder.store.engine import parsed_url
from joinder.store.journal import unfit
from joinder.store.migrate import newest, revisions
from joinder.store.sqlite import SqliteStore, sqlite_path
from joinder.trouble import StoreTrouble

LOW_DISK_BYTES = 512 * 1024**2
SKEW_S = 5.0
LATE_S = 600
DAY_S = 86400
MIB = 1024**2


async def before_opening(settings: Settings) -> list[Finding]:
    """Tells what opening the store would change or refuse.

    Raises ConfigError for what stops every start, or StoreTrouble.
    """
    if wrong := before_start.problems(settings):
        return [stopping(problem) for problem in wrong]
    url = parsed_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        path = sqlite_path(url)
        revision = copies.facts_in(path).revision if path.exists() else None
    else:
        revision = (await dumps.facts_in(url)).revision if await dumps.has_schema(url) else None
    return [_schema(revision)]


def stopping(problem: str) -> Finding:
    return Finding(check="configuration", text=problem, next_step="correct it, then run this again", stops=True)


def _schema(revision: str | None) -> Finding:
    if revision is None:
        return Finding(check="schema", text="there is no database yet", next_step="joinder serve creates it")
    if revision == newest():
        return Finding(check="schema", text=f"schema {revision}")
    if revision in revisions():
        step = "joinder backup, then start this version: it migrates"
        return Finding(check="schema", text=f"schema {revision} is older than this version's", next_step=step)
    step = "install the version that wrote it, or restore an older copy"
    return Finding(check="schema", text=f"schema {revision} is newer than this version", next_step=step, stops=True)


def database_away(trouble: StoreTrouble) -> Finding:
    step = "bring it back; servers and workers wait for it, and go on by themselves"
    return Finding(check="database", text=trouble_of(trouble) or str(trouble), next_step=step, away=True)


async def examine(hub: Hub) -> list[Finding]:
    """Runs every check, and returns the findings, the well ones too."""
    return [finding for check in CHECKS for finding in await check(hub)]


async def commits(hub: Hub) -> list[Finding]:
    """Says how commits are made durable: opening has refused anything less already; this says what is in force."""
    async with hub.store.write() as session:
        if not isinstance(hub.store, SqliteStore):
            told = (await session.execute(text("SHOW synchronous_commit"))).scalar_one()
            return [Finding(check="commits", text=f"synchronous_commit is {told}")]
        mode = (await session.execute(text("PRAGMA journal_mode"))).scalar_one()
        level = (await session.execute(text("PRAGMA synchronous"))).scalar_one()
    return [Finding(check="commits", text=f"journal_mode is {mode}, synchronous is {level} (2 is FULL)")]


async def key_file(hub: Hub) -> list[Finding]:
    """Says which keys wrap the data keys. That each is wrapped by one of the file has been proved on opening."""
    uses = await keys.uses(hub)
    left = sum(use.wraps for use in uses if not use.first)
    if left:
        told = f"{uses[0].id} comes first and does not wrap {counted(left, 'data key')} yet"
        return [Finding(check="keys", text=told, next_step="joinder keys rotate goes on")]
    spare = [use.id for use in uses if use.is_retirable]
    told = f"; nothing needs {', '.join(spare)} (joinder keys retire)" if spare else ""
    return [Finding(check="keys", text=f"{uses[0].id} wraps every data key, {uses[0].wraps}{told}")]


async def disk(hub: Hub) -> list[Finding]:
    ballast = hub.store.ballast
    if ballast is None:
        return []
    free = ballast.free_bytes()
    low = f"free some of {ballast.path.parent}" if free < LOW_DISK_BYTES else None
    found = [Finding(check="disk", text=f"{free // MIB} MiB free", next_step=low)]
    if hub.settings.ballast_mib and not ballast.path.exists():
        step = f"joinder serve lays it once {4 * hub.settings.ballast_mib} MiB are free; without it nothing is renewed"
        found.append(Finding(check="ballast", text=f"{ballast.path} is missing", next_step=step))
    return found


async def database_file(hub: Hub) -> list[Finding]:
    if hub.store.file is None:
        return []
    trouble = durability.trouble(hub)
    if trouble is None:
        return [Finding(check="database file", text=f"{hub.store.place} is in its place and can be written")]
    return [Finding(check="database file", text=trouble, next_step="do that, then run joinder doctor again")]


async def new_tokens(hub: Hub) -> list[Finding]:
    """Says where new tokens lie while the database does not take them, and what lies there that it does not have."""
    folder, check = hub.journal.folder, "journal"
    if folder is None:
        step = "set JOINDER_JOURNAL_FOLDER to a folder on this machine's disk"
        return [
            Finding(check=check, text="new tokens that wait for the database are kept in memory only", next_step=step)
        ]
    if reason := unfit(folder):
        return [
            Finding(check=check, text=f"{folder} {reason}", next_step="make it a folder that this user may write to")
        ]
    found = await recovery.look(hub)
    step = "joinder serve stores them when it starts"
    waits = f"not in the database yet: {counted(found.count, 'new token')} in {folder}" if found.count else None
    refused = [
        Finding(check=check, text=clean_line(sentence), next_step="move that file away once you know where it is from")
        for sentence in found.refused
    ]
    return [Finding(check=check, text=waits or f"new tokens lie in {folder}", next_step=waits and step), *refused]


async def modes(hub: Hub) -> list[Finding]:
    """Says who may read the database's files. The key's mode is proved on opening."""
    if not isinstance(hub.store, SqliteStore):
        return []
    path = Path(hub.store.place)
    beside = [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm")]
    open_to_others = [str(each) for each in beside if each.exists() and _open_to_others(each)]
    if open_to_others:
        named = " ".join(open_to_others)
        return [Finding(check="modes", text=f"readable by others: {named}", next_step=f"chmod 600 {named}")]
    return [Finding(check="modes", text="the database is readable by its owner alone")]


def _open_to_others(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


async def clocks(hub: Hub) -> list[Finding]:
    """Compares our clock with the vendors this process has asked, and with the database server.

    A vendor refuses signatures and tokens of a wrong clock.
    """
    against_vendors = [
        Finding(
            check="clocks",
            text=f"the clock of {vendor} is {skew_s:+.0f} s from ours",
            next_step="set this machine's clock by NTP" if abs(skew_s) > ALARMING_S else None,
        )
        for vendor, skew_s in sorted(hub.http.skew.seen().items())
    ]
    if isinstance(hub.store, SqliteStore):
        return against_vendors
    before = time.time()
    async with hub.store.read() as session:
        there = float((await session.execute(text("SELECT extract(epoch FROM clock_timestamp())"))).scalar_one())
    skew_s = there - (before + time.time()) / 2
    step = "set both clocks by NTP" if abs(skew_s) > SKEW_S else None
    told = f"the database server's clock is {skew_s:+.1f} s from ours"
    return [*against_vendors, Finding(check="clocks", text=told, next_step=step)]


async def due_work(hub: Hub) -> list[Finding]:
    """Looks for late work that nobody holds: it shows a worker that does not run, or does not keep up."""
    sql = "SELECT kind, count(*), min(due_at) FROM due WHERE due_at < :late GROUP BY kind ORDER BY kind"
    late = await hub.store.rows(sql, {"late": now() - LATE_S})
    if not late:
        return [Finding(check="work", text=f"nothing is more than {LATE_S // 60} minutes late")]
    held = await _leases_held(hub)
    step = "it works through them" if held else "start joinder serve; if it runs, look at its log"
    return [
        Finding(
            check="work",
            text=f"{kind}: {count} late, the oldest by {(now() - oldest) // 60} minutes; {counted(held, 'lease')} held",
            next_step=step,
        )
        for kind, count, oldest in late
    ]


async def _leases_held(hub: Hub) -> int:
    if isinstance(hub.store, SqliteStore):
        sql = "SELECT count(*) FROM due WHERE lease_boot = :boot AND lease_until > :moment"
        return int((await hub.store.rows(sql, {"boot": boot_id(), "moment": monotonic()}))[0][0])
    sql = "SELECT count(*) FROM due WHERE lease_until > extract(epoch FROM clock_timestamp())"
    return int((await hub.store.rows(sql, {}))[0][0])


async def enrollments(hub: Hub) -> list[Finding]:
    sql = "SELECT vendor, health, count(*) FROM enrollment GROUP BY vendor, health ORDER BY vendor, health"
    return [
        Finding(
            check="enrollments",
            text=f"{vendor}: {count} {state}",
            next_step=None if state in health.WELL else health.NEXT_STEP.get(state, "see the enrollments' reasons"),
        )
        for vendor, state, count in await hub.store.rows(sql, {})
    ]


async def health_and_due_work(hub: Hub) -> list[Finding]:
    """Checks that every state is followed by the work it promises."""
    found = [each async for each in invariant.broken(hub)]
    if not found:
        return [Finding(check="due work", text="what is due fits the health of every enrollment")]
    told = f"what is due does not fit {counted(len(found), 'enrollment')}: {found[0].enrollment_id} is {found[0].text}"
    return [Finding(check="due work", text=told, next_step="start joinder serve or worker again: that mends them")]


async def app_credentials(hub: Hub) -> list[Finding]:
    """Lists the app credentials a vendor refuses, proved or not yet."""
    sql = (
        "SELECT id, vendor, rejected_at IS NOT NULL, coalesce(test_at, 0) FROM vendor_credentials "
        "WHERE suspected_at IS NOT NULL OR rejected_at IS NOT NULL ORDER BY id"
    )
    return [
        Finding(
            check="app credentials",
            text=f"{row_id}: {vendor} refuses this app{'' if is_proved else ', not proved yet'}; "
            f"one grant tries it again in {max(0, test_at - now())} s",
            next_step=f"correct the credentials, or joinder credentials test {row_id} if they are right",
        )
        for row_id, vendor, is_proved, test_at in await hub.store.rows(sql, {})
    ]


async def plugins(hub: Hub) -> list[Finding]:
    stored = {row[0] for row in await hub.store.rows("SELECT DISTINCT vendor FROM enrollment", {})}
    working = {vendor.name for vendor in hub.registry.vendors}
    found = [
        Finding(check="plugins", text=f"{entry.name}: {entry.problem}", next_step="reinstall or remove the plugin")
        for entry in hub.registry.installed
        if entry.problem and "not enabled" not in entry.problem
    ]
    missing = sorted(stored - working)
    found += [
        Finding(
            check="plugins",
            text=f"{name}: enrollments are stored, no working plugin is",
            next_step=f"install the plugin of {name}, or add it to JOINDER_PLUGINS",
        )
        for name in missing
    ]
    return found or [
        Finding(check="plugins", text=f"working: {counted(len(working), 'vendor')}; joinder check tries harder")
    ]


async def quotas(hub: Hub) -> list[Finding]:
    """Lists budgets used up, and vendors that told us to wait."""
    blocked = await hub.store.rows(
        "SELECT app, until FROM quota WHERE span = 'blocked' AND until > :now", {"now": now()}
    )
    found = [
        Finding(
            check="quotas",
            text=f"{app}: the vendor allows no call for {until - now()} s",
            next_step="wait; it goes on then",
        )
        for app, until in blocked
    ]
    budgets, working = Budgets(hub.store), {vendor.name: vendor for vendor in hub.registry.vendors}
    apps = "SELECT DISTINCT d.app, e.vendor FROM due d JOIN enrollment e ON e.id = d.enrollment_id WHERE d.app <> ''"
    for app, vendor in await hub.store.rows(apps, {}):
        if vendor in working:
            found += [
                Finding(
                    check="quotas",
                    text=f"{app}: all {left.limit} calls of this {left.span} are used",
                    next_step=f"wait {left.resets_at - now()} s, or buy more calls from {working[vendor].label}",
                )
                for left in (await budgets.left(app, working[vendor].limits)).quotas
                if left.used >= left.limit
            ]
    return found


async def vendors(hub: Hub) -> list[Finding]:
    """Lists what servers and workers do not call now, as the vendor did not answer."""
    return [
        Finding(
            check="vendors",
            text=f"{one.vendor} does not answer {one.hook}, for {now() - one.since} s by now",
            next_step="wait, if the outage is theirs: probes go on asking; else look at DNS, firewall, proxy",
        )
        for one in await breaker_states.standing(hub.store)
        if not one.is_closed
    ]


async def warnings(hub: Hub) -> list[Finding]:
    """Says what of vendors' answers was doubtful or refused in the last day.

    Of each vendor it is the sentence that is true most often.
    """
    return [
        Finding(
            check="readings",
            text=f"{one.vendor}: {counted(one.enrollments, 'enrollment')} had warnings in the last day, most of all: "
            f"{clean_line(one.text)}",
            next_step=f"joinder enrollments show {one.example} says what, since when and how often",
        )
        for one in await notices.by_vendor(hub, now() - DAY_S)
    ]


async def redirects(hub: Hub) -> list[Finding]:
    told, step = await reachability.public_address(hub)
    return [Finding(check="public URL", text=told, next_step=step)]


async def behind_barrier(hub: Hub) -> list[Finding]:
    async with hub.store.read() as session:
        origin, waiting = await barrier.restored(session), await barrier.waiting(session)
    if origin is None:
        return []
    step = "joinder reconcile, then joinder reconcile --probe" if waiting else None
    return [Finding(check="barrier", text=f"{origin}; not renewed: {counted(len(waiting), 'grant')}", next_step=step)]


async def stored_readings(hub: Hub) -> list[Finding]:
    if not await recheck.is_due(hub):
        return []
    told = "readings stored before this version were not rechecked"
    return [
        Finding(check="readings", text=told, next_step="run joinder readings recheck (--dry-run says what it finds)")
    ]


async def webhooks(hub: Hub) -> list[Finding]:
    sql = "SELECT id, disabled_reason FROM webhook_endpoint WHERE disabled_at IS NOT NULL ORDER BY id"
    return [
        Finding(check="webhooks", text=f"{row[0]} is disabled: {row[1]}", next_step="correct it, then enable it again")
        for row in await hub.store.rows(sql, {})
    ]


CHECKS: tuple[Callable[[Hub], Awaitable[list[Finding]]], ...] = (
    *(database_file, commits, key_file, disk, new_tokens, moved, standbys, modes, clocks),
    *(
        redirects,
        plugins,
        due_work,
        health_and_due_work,
        enrollments,
        app_credentials,
        quotas,
        vendors,
        warnings,
        behind_barrier,
        webhooks,
        stored_readings,
    ),
)
