"""What every service works with: settings, vendors, store, vault and HTTP of one process."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import SQLModel

from joinder.http import HttpFactory
from joinder.ids import is_id
from joinder.observe.log_context import bound
from joinder.observe.metrics import Metrics
from joinder.services.calls.activity import Activity
from joinder.services.calls.breakers import Breakers, guarding
from joinder.services.calls.budgets import Budgets
from joinder.services.calls.call_limits import apply_settings_of_vendors
from joinder.services.calls.refresh_rate import RefreshRateLimiter
from joinder.services.calls.retries import Retries
from joinder.services.calls.single_flight import SingleFlight
from joinder.services.calls.strangers import Strangers
from joinder.services.refusals import NotFound
from joinder.settings import Settings
from joinder.store import audit_chain, claims, epoch
from joinder.store.audit_chain import Entry
from joinder.store.engine import open_store
from joinder.store.epoch import Footing
from joinder.store.identity import store_identity
from joinder.store.journal import Journal
from joinder.store.key_file import key_path, read_key_file
from joinder.store.readiness import Readiness
from joinder.store.types import Store
from joinder.store.vault import DATA_KEYS, Vault
from joinder.trouble import StoreTrouble
from joinder.vendors.registry import Registry
from joinder.vendors.token_cache import TokenCache

M = TypeVar("M", bound=SQLModel)
STRICT_REFRESHES_AT_ONCE = 4  # bounds what one hard kill can lose at a vendor without grace


@dataclass(kw_only=True)
class Hub:
    settings: Settings
    registry: Registry
    store: Store
    vault: Vault
    http: HttpFactory
    budgets: Budgets
    breakers: Breakers = field(default_factory=Breakers)
    retries: Retries = field(default_factory=Retries)
    strangers: Strangers = field(default_factory=Strangers)
    refreshes: dict[str, asyncio.Task[bool]] = field(default_factory=dict)  # by enrollment, in flight here
    joins: set[asyncio.Task[Any]] = field(default_factory=set)  # consents under way here
    notes: set[asyncio.Task[None]] = field(default_factory=set)  # entries of the audit that nobody waits for
    joins_swept_at: float = float("-inf")  # monotonic
    work: set[asyncio.Task[None]] = field(default_factory=set)  # batches of due work under way here
    stopping: asyncio.Event = field(default_factory=asyncio.Event)  # nothing new begins once it is set
    suspects: asyncio.Lock = field(default_factory=asyncio.Lock)  # rows that may have killed a worker run one by one
    pace: RefreshRateLimiter = field(init=False)
    fetches: SingleFlight = field(default_factory=SingleFlight)  # uncovered spans, for whoever reads them
    sources_stored: set[int] = field(default_factory=set)  # of readings (services/readings/provenance.py)
    app_tokens: TokenCache = field(default_factory=TokenCache)
    metrics: Metrics = field(default_factory=Metrics)
    process: str = field(default_factory=lambda: secrets.token_hex(8))  # this one among all that ever ran
    identity: str = ""  # of the database (services/grants/journal.py)
    journal: Journal = field(init=False)
    ended: set[str] = field(default_factory=set)  # processes that are gone, what they left in the journal applied
    exchanges: dict[str, str] = field(default_factory=dict)  # by enrollment, until saved → the epoch they began in
    footing: Footing = field(default_factory=Footing)  # where this process last found its database
    unsaved: dict[str, float] = field(default_factory=dict)  # enrollment whose new token waits here → monotonic, since
    activity: Activity = field(init=False)
    readiness: Readiness = field(init=False)
    strict_refreshes: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(STRICT_REFRESHES_AT_ONCE))

    def __post_init__(self) -> None:
        self.pace = RefreshRateLimiter(self.store, self.settings.refreshes_per_second, self.stopping)
        self.activity = Activity(self.store, self.metrics)
        self.journal = Journal(_journal_folder(self.settings, self.store), self.process)
        self.readiness = Readiness(self.store)

    async def drain(self) -> None:
        """Lets token exchanges in flight end: their answers must reach the store before it closes."""
        await self.fetches.stop()
        while under_way := (*self.refreshes.values(), *self.joins, *self.notes):
            await asyncio.gather(*under_way, return_exceptions=True)


@asynccontextmanager
async def open_hub(settings: Settings, registry: Registry | None = None) -> AsyncIterator[Hub]:
    """Opens the store and proves the key. Raises ConfigError, or StoreTrouble while the database is away."""
    vault = Vault(lambda: read_key_file(key_path(settings.key_file)))
    store = await open_store(settings.database_url)
    http = HttpFactory(
        allowed_networks=settings.allowed_networks,
        reroute=settings.reroute,
        loopback_webhooks=settings.is_loopback,
    )
    try:
        async with store.write(DATA_KEYS) as session:
            await vault.prepare(session)
            store.sealing = vault.know_peppers
            identity = await store_identity(session)
        vendors = registry or Registry.load(allow=settings.plugins)
        await claims.refuse_others(store, vendors)
        apply_settings_of_vendors(vendors, settings)
        budgets = Budgets(store)
        hub = Hub(
            settings=settings,
            registry=vendors,
            store=store,
            vault=vault,
            http=http,
            budgets=budgets,
            identity=identity,
        )
        vendors.observer = hub.metrics
        vendors.around = guarding(vendors, hub.breakers, settings.password_grants)
        try:
            yield hub
        finally:  # also when the block raised: who gave up waiting has not ended the exchange
            hub.stopping.set()  # of a command, too: what the journal has on disk need not wait for the database
            await hub.drain()
            await _leave(hub)
            await hub.journal.close()
            await budgets.close()
            await hub.activity.flush()
    finally:
        await http.close()
        await store.close()


async def _leave(hub: Hub) -> None:
    """Takes its leave, if it renewed tokens and has nothing left to save: a fail-over need not wait for it."""
    if hub.footing.told_at > float("-inf") and hub.journal.is_all_stored:
        with suppress(StoreTrouble):
            await hub.store.apply(epoch.leaving(hub.process, hub.footing))


def _journal_folder(settings: Settings, store: Store) -> Path | None:
    """Returns the operator's folder, else one beside a SQLite file; None: new tokens are kept in memory only."""
    if settings.journal_folder is not None:
        return Path(settings.journal_folder)
    return Path(f"{store.place}.journal") if store.dialect == "sqlite" else None


async def owned(session: AsyncSession, table: type[M], row_id: str, account_id: str) -> M:
    """Returns the row of this account. Raises NotFound, also for another account's."""
    row = await session.get(table, row_id) if is_id(row_id) else None
    if row is None or getattr(row, "account_id", None) != account_id:
        raise NotFound
    return row


async def account_of(hub: Hub, table: type[SQLModel], row_id: str) -> str:
    """Returns the account's id of a row, for the admin, who may see every account. Raises NotFound."""
    async with hub.store.read() as session:
        row = await session.get(table, row_id) if is_id(row_id) else None
    if row is None:
        raise NotFound("Nothing has this id.")
    return str(getattr(row, "account_id"))  # noqa: B009 - of a table that has the column


async def audited(hub: Hub, account_id: str, actor: str, action: str, target: str) -> None:
    """Writes an entry of what was done without a transaction of its own."""
    async with hub.store.write(target) as session:
        audit(session, account_id, actor, action, target)


def audit(
    session: AsyncSession,
    account_id: str,
    actor: str,
    action: str,
    target: str,
    *,
    reason: str | None = None,
    result: str = "ok",
) -> None:
    """Writes the audit's entry as part of the change's own transaction, with the request it came by."""
    entry = Entry(
        account_id=account_id,
        actor=actor,
        action=action,
        target=target,
        reason=reason,
        result=result,
        request_id=bound().get("request_id"),
    )
    audit_chain.note(session, entry)
