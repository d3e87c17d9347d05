"""One machine token per app: fetched once for all callers, again when it ends or was refused."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from joinder.errors import PluginBug, TransientError
from joinder.grants import AppCredentials, Grant, MachineToken
from joinder.redact import Secrets
from joinder.vendors.token_cache import TokenCache

APP = AppCredentials(type="app", secrets=Secrets({"clientID": "a", "clientSecret": "b"}))


class Fetch:
    """Counts; `life_s` None: the vendor states none."""

    def __init__(self, now: list[datetime], life_s: float | None = 3600) -> None:
        self.calls = 0
        self.fail: Exception | None = None
        self._now = now
        self._life_s = life_s

    async def __call__(self) -> MachineToken:
        self.calls += 1
        await asyncio.sleep(0)
        if self.fail:
            raise self.fail
        ends = None if self._life_s is None else self._now[0] + timedelta(seconds=self._life_s)
        return MachineToken(value=f"token-{self.calls}", expires_at=ends)


@pytest.fixture
def now() -> list[datetime]:
    return [datetime(2026, 1, 1, tzinfo=UTC)]


@pytest.fixture
def cache(now: list[datetime]) -> TokenCache:
    return TokenCache(lambda: now[0])


async def test_callers_at_the_same_time_share_one_fetch(cache: TokenCache, now: list[datetime]) -> None:
    fetch = Fetch(now)
    tokens = await asyncio.gather(*(cache.of("v", APP)(fetch) for _ in range(50)))
    assert (set(tokens), fetch.calls) == ({"token-1"}, 1)


@pytest.mark.parametrize(
    ("life_s", "after_s", "calls"), [(3600, 3000, 1), (3600, 3550, 2), (None, 200, 1), (None, 250, 2)]
)
async def test_a_token_is_fetched_again_before_it_ends(
    cache: TokenCache, now: list[datetime], life_s: float | None, after_s: float, calls: int
) -> None:
    fetch = Fetch(now, life_s)
    await cache.of("v", APP)(fetch)
    now[0] += timedelta(seconds=after_s)
    await cache.of("v", APP)(fetch)
    assert fetch.calls == calls


async def test_a_refused_token_is_replaced_once(cache: TokenCache, now: list[datetime]) -> None:
    """Of many callers that saw the old one refused, one fetches; the others get what it fetched."""
    fetch = Fetch(now)
    old = await cache.of("v", APP)(fetch)
    renewed = await asyncio.gather(*(cache.of("v", APP)(fetch, refused=old) for _ in range(20)))
    assert (set(renewed), fetch.calls) == ({"token-2"}, 2)


async def test_apps_and_vendors_do_not_share(cache: TokenCache, now: list[datetime]) -> None:
    fetch = Fetch(now)
    corrected = AppCredentials(type="app", secrets=Secrets({"clientID": "a", "clientSecret": "c"}))
    tokens = [await cache.of(*of)(fetch) for of in (("v", APP), ("v", corrected), ("w", APP), ("v", APP))]
    assert tokens == ["token-1", "token-2", "token-3", "token-1"]


async def test_a_failed_fetch_is_tried_again(cache: TokenCache, now: list[datetime]) -> None:
    fetch = Fetch(now)
    fetch.fail = TransientError("away")
    with pytest.raises(TransientError):
        await cache.of("v", APP)(fetch)
    fetch.fail = None
    assert await cache.of("v", APP)(fetch) == "token-2"


async def test_without_an_app_there_is_no_token(cache: TokenCache, now: list[datetime]) -> None:
    with pytest.raises(PluginBug):
        await cache.of("v", None)(Fetch(now))


def test_a_token_is_not_in_its_repr() -> None:
    assert "s3cret" not in repr(MachineToken(value="s3cret"))


# Of one grant


def grant(key: str, **facts: str) -> Grant:
    return Grant(secrets=Secrets({"key": key}), facts=facts)


async def test_a_session_is_made_once_for_its_grant_and_never_shown_to_another(now: list[datetime]) -> None:
    made: list[str] = []
    cache = TokenCache(lambda: now[0])

    async def fetch() -> MachineToken:
        made.append(f"session-{len(made)}")
        return MachineToken(value=made[-1], expires_at=now[0] + timedelta(hours=1))

    ada, bob = cache.of_grant("acme", grant("a")), cache.of_grant("acme", grant("b"))
    assert await asyncio.gather(*(ada(fetch) for _ in range(5))) == ["session-0"] * 5
    assert await bob(fetch) == "session-1"
    assert await cache.of_grant("acme", grant("a", region="eu"))(fetch) == "session-2"
    assert await cache.of_grant("other", grant("a"))(fetch) == "session-3"
    assert await ada(fetch, refused="session-0") == "session-4"
    assert await cache.of_grant("acme", grant("a"))(fetch) == "session-4"
