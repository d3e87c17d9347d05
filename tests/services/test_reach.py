"""S27: from what a hook is handed, following attributes, nothing of core is reachable, nor another account's secret."""

from __future__ import annotations

import functools
import types
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from joinder import Callback, Context, Grant
from joinder.grants import AppCredentials, MachineToken
from joinder.http import HttpFactory
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.calls.budgets import Budgets
from joinder.services.calls.failure_observer import Watch
from joinder.services.calls.vendor_context import vendor_context
from joinder.services.join.consents import callback_url
from joinder.services.join.kept_consents import Keeper
from joinder.store.journal import Journal
from joinder.store.tables import JoinSession
from joinder.store.types import Store
from joinder.store.vault import Vault
from joinder.vendors.registry import Registry
from joinder.vendors.token_cache import TokenCache

OTHERS = "canary-of-another-account-5d1e"
CORE = (
    Hub,
    Store,
    Vault,
    HttpFactory,
    Budgets,
    TokenCache,
    Registry,
    Journal,
    AsyncEngine,
    JoinSession,
)
INTO = ("__self__", "__func__", "__wrapped__", "__closure__", "__dict__", "__defaults__", "__kwdefaults__")
DEPTH, MOST = 12, 100_000
PLAIN = (str, bytes, int, float, complex, bool, type(None), types.ModuleType, type, types.CodeType)


def parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What stands one attribute, member or cell away. Not a function's globals: that is an import."""
    names = {*(name for name in dir(value) if not name.startswith("__")), *INTO}
    for name in names:
        with suppress(Exception):
            yield f".{name}", getattr(value, name)
    if isinstance(value, types.CellType):
        yield ".cell_contents", value.cell_contents
    if isinstance(value, functools.partial):
        yield ".args", value.args
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", member) for key, member in list(value.items()))
    elif isinstance(value, tuple | list | set | frozenset):
        yield from ((f"[{index}]", member) for index, member in enumerate(value))


def reached(handed: Any, name: str, enough: frozenset[str] = frozenset()) -> dict[str, str]:
    """Type, or the canary → the way to it. The walk ends early once it has found `enough`, if that is any."""
    found: dict[str, str] = {}
    seen: dict[int, Any] = {}
    todo = deque([(handed, name, 0)])
    while todo and len(seen) < MOST and not (enough and found.keys() >= enough):
        value, way, depth = todo.popleft()
        if isinstance(value, str) and OTHERS in value:
            found["another account's secret"] = way
        if isinstance(value, PLAIN) or id(value) in seen:
            continue
        seen[id(value)] = value
        found |= {kind.__name__: way for kind in CORE if isinstance(value, kind)}
        if depth < DEPTH:
            todo += [(part, way + step, depth + 1) for step, part in parts(value)]
    assert len(seen) > 10, "the walk looks at nothing"
    return found


def app(secret: str) -> AppCredentials:
    return AppCredentials(type="oauthclient", secrets=Secrets({"clientID": "an-id", "clientSecret": secret}))


async def machine_token() -> MachineToken:
    return MachineToken(value=f"{OTHERS}-token")


@pytest.mark.parametrize("budget", [None, "cred-aaaaaaaaaaaaaaaa"])
@pytest.mark.parametrize("is_watched", [False, True])
async def test_a_context_leads_nowhere(hub: Hub, budget: str | None, is_watched: bool) -> None:
    other = vendor_context(hub, "strict", app(OTHERS), budget="cred-bbbbbbbbbbbbbbbb")
    await other.app_token(machine_token)
    ctx = vendor_context(hub, "strict", app("own"), {"region": "eu"}, budget=budget)
    ctx = Watch().over(ctx) if is_watched else ctx
    assert reached(ctx, "ctx") == {}


def test_device_access_leads_nowhere(hub: Hub) -> None:
    assert reached(hub.http.device_access(hub.registry.vendor("strict")), "ctx.device") == {}


def test_what_keeps_a_code_leads_nowhere(hub: Hub) -> None:
    row = JoinSession(token_hash=b"x", account_id="acct-aaaaaaaaaaaaaaaa", vendor="strict")
    keeper = Keeper(hub, row, hub.registry.vendor("strict"), app("own"), Secrets({"code": "code-of-this-owner"}))
    assert (
        reached(Callback(values=Secrets({}), redirect_uri=callback_url(hub, "strict"), keep=keeper), "callback") == {}
    )


async def test_the_walk_finds_what_is_reachable(hub: Hub) -> None:
    """Or the tests above would prove nothing."""

    def careless(ctx: Context, grant: Grant) -> None:
        assert hub.store

    wanted = frozenset({"Hub", "Store", "Vault"})
    assert reached(careless, "hook", wanted).keys() >= wanted
