"""S20, API6: what a stranger may cost, and that an honest owner beside a flood of them still joins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from litestar import Litestar, Request
from msgspec import structs

from api.fakes import Vendors, begin, come_back, connect, count, new_flow, result_of
from api.test_join import assert_page, form_of, send
from joinder import errors
from joinder.api.addresses import address_of
from joinder.ids import new_id
from joinder.runtime.hub import Hub
from joinder.services.calls import buckets
from joinder.services.calls.buckets import Buckets
from joinder.services.calls.strangers import REMEMBERED_MOST_S, Guest, SlowDown, Strangers
from joinder.services.join.browser_sessions import COOKIES_MOST

At = Callable[..., httpx.AsyncClient]
HONEST = "198.51.100.77"


@pytest.fixture
async def at(app: Litestar, public_url: str) -> AsyncIterator[At]:
    """A new browser at an address."""
    async with AsyncExitStack() as exits:

        def make(address: str, **headers: str) -> httpx.AsyncClient:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 40000))
            made = httpx.AsyncClient(transport=transport, base_url=public_url, headers=headers)
            exits.push_async_callback(made.aclose)
            return made

        yield make


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands still, so that a busy machine gives nobody more."""
    held = SimpleNamespace(now=1e6)
    monkeypatch.setattr(buckets, "monotonic", lambda: held.now)
    return held


async def started(browser: httpx.AsyncClient, flow_id: str, vendor: str = "sunny") -> httpx.Response:
    return await browser.get(f"/join/flows/{flow_id}/authorize", params={"vendor": vendor, "state": "s"})


def refused_codes(vendors: Vendors) -> None:
    vendors.sunny.failures["handle_callback"] = errors.ConsentInvalid("no such code")


async def invent(browser: httpx.AsyncClient, flow_id: str) -> httpx.Response:
    """Begins, and comes back with a code that the vendor never gave."""
    return await come_back(browser, await begin(browser, flow_id))


async def test_starts_of_an_address_have_an_end(
    api: httpx.AsyncClient, hub: Hub, at: At, clock: SimpleNamespace
) -> None:
    flow_id = await new_flow(api)
    answers = [await started(at("203.0.113.5"), flow_id) for _ in range(90)]
    assert [answer.status_code for answer in answers] == [303] * 60 + [429] * 30
    assert await count(hub, "join_session") == 60
    page = assert_page(answers[-1], 429)
    assert "Too many" in page
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert (await started(at(HONEST), flow_id)).status_code == 303
    clock.now += int(answers[-1].headers["retry-after"])
    assert (await started(at("203.0.113.5"), flow_id)).status_code == 303


@pytest.mark.parametrize("act", ["starts", "attempts"])
async def test_who_has_nothing_left_is_sent_away_before_anything_is_read_or_waited_for(
    api: httpx.AsyncClient, app: Litestar, hub: Hub, vendors: Vendors, at: At, clock: SimpleNamespace, act: str
) -> None:
    """S20: no place, no turn and no connection to the store is taken."""
    flow_id = await new_flow(api)
    refused_codes(vendors)
    stranger = at("203.0.113.5")
    token = await begin(stranger, flow_id)
    paths = {
        "starts": (
            f"/join/flows/{flow_id}/authorize?vendor=sunny",
            f"/join/flows/{flow_id}/authorize?vendor=sunny&go=1",
        ),
        "attempts": (f"/join/sunny/auth-granted?state={token}&code=x", "/join/sunny/auth-granted?state=y&code=x"),
    }[act]
    tier = getattr(hub.strangers, act)
    while tier.address.wait_s("203.0.113.5") == 0:
        tier.address.take("203.0.113.5")
    async with hub.store.write():  # nobody else writes now
        app.state.intake.strangers._free = 0
        for path in paths:
            answer = await stranger.get(path)
            assert_page(answer, 429)
            assert 0 < int(answer.headers["retry-after"]) <= 60
    app.state.intake.strangers._free = 1
    assert_page(await at(HONEST).get(f"/join/flows/{flow_id}/authorize?vendor=none"), 400)


async def test_a_flow_that_has_no_starts_left_is_not_read_for_them(
    api: httpx.AsyncClient, hub: Hub, at: At, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow_id, other = await new_flow(api), await new_flow(api)
    hub.strangers.starts = replace(hub.strangers.starts, flow=Buckets(2))
    for number in range(2):
        assert (await started(at(f"203.0.113.{number}"), flow_id)).status_code == 303
    with monkeypatch.context() as closed:
        closed.setattr(hub.store, "read", None)
        assert (await started(at(HONEST), flow_id)).status_code == 429
    assert (await started(at(HONEST), other)).status_code == 303


async def test_whatever_an_address_asks_for_has_an_end(
    api: httpx.AsyncClient, hub: Hub, at: At, clock: SimpleNamespace
) -> None:
    """S20: also what is only read."""
    hub.strangers.asked = Buckets(10)
    flow_id = await new_flow(api)
    paths = [
        f"/join/flows/{flow_id}/authorize",
        "/join/sessions/x",
        "/join/reconnect?link=x",
        "/join/connection?link=x",
    ]
    answers = [(await at("203.0.113.5").get(paths[number % 4])).status_code for number in range(14)]
    assert 429 not in answers[:10]
    assert answers[10:] == [429] * 4
    assert (await started(at(HONEST), flow_id)).status_code == 303
    unknown = [(await started(at(""), flow_id)).status_code for _ in range(14)]  # such as by a socket of this machine
    assert unknown == [303] * 14


async def test_a_client_that_makes_flows_is_no_stranger_and_spends_nothing_of_its_address(
    api: httpx.AsyncClient, hub: Hub, at: At, clock: SimpleNamespace
) -> None:
    """It has a budget of its own, and reads JSON."""
    hub.strangers.asked = Buckets(5)
    flow_id = await new_flow(api)
    client = at("203.0.113.5", authorization=api.headers["authorization"])
    answers = [await client.get(f"/join/flows/{flow_id}") for _ in range(8)]
    assert {(one.status_code, one.headers["content-type"]) for one in answers} == {(200, "application/json")}
    assert (await started(at("203.0.113.5"), flow_id)).status_code == 303


async def test_invented_codes_reach_the_vendor_so_often_and_an_honest_owner_still_joins(
    api: httpx.AsyncClient, vendors: Vendors, at: At, clock: SimpleNamespace
) -> None:
    flow_id = await new_flow(api)
    refused_codes(vendors)
    flood = [f"203.0.113.{number}" for number in range(1, 9)]
    for _ in range(30):
        for address in flood:
            await invent(at(address), flow_id)
    asked = vendors.sunny.calls.count("handle_callback")
    assert asked <= 120 / 2 + len(flood)
    del vendors.sunny.failures["handle_callback"]
    assert result_of(await invent(at(HONEST), flow_id))["enrollmentID"]


def test_strangers_who_wait_a_little_between_their_tries_leave_owners_their_half(clock: SimpleNamespace) -> None:
    strangers = Strangers()
    refused = 0
    for second in range(900):
        for number in range(20):
            with suppress(SlowDown):
                strangers.attempts.spend(Guest(f"203.0.113.{number}"), "flow", "sunny")
                refused += 1
        strangers.attempts.spend(Guest(f"198.18.{second // 250}.{second % 250}"), "flow", "sunny").give_back()
        clock.now += 1
    assert 900 < refused < 900 * 2 + 120  # what the flow takes in fifteen minutes, and no more
    clock.now += REMEMBERED_MOST_S
    assert strangers.attempts.tried.is_full("address 203.0.113.1")


async def test_a_refused_attempt_leaves_the_session_as_it_is(
    api: httpx.AsyncClient, hub: Hub, vendors: Vendors, at: At, clock: SimpleNamespace
) -> None:
    flow_id = await new_flow(api)
    owner = at("203.0.113.5")
    token = await begin(owner, flow_id)
    refused_codes(vendors)
    for _ in range(20):
        await invent(at("203.0.113.5"), flow_id)
    asked = len(vendors.sunny.calls)
    answer = await come_back(owner, token)
    assert_page(answer, 429)
    assert len(vendors.sunny.calls) == asked
    del vendors.sunny.failures["handle_callback"]
    clock.now += int(answer.headers["retry-after"])
    assert result_of(await come_back(owner, token))["enrollmentID"]


async def test_owners_who_join_cost_nothing(api: httpx.AsyncClient, hub: Hub, at: At, clock: SimpleNamespace) -> None:
    """A trade fair: one address, and every code is right."""
    flow_id = await new_flow(api)
    for _ in range(25):
        assert await connect(api, at("203.0.113.5"), flow_id=flow_id)


async def test_a_browser_is_told_from_others_of_its_address(
    api: httpx.AsyncClient, vendors: Vendors, at: At, clock: SimpleNamespace
) -> None:
    flow_id = await new_flow(api)
    browser = at("203.0.113.5")
    answers = [await started(browser, flow_id) for _ in range(30)]
    assert [answer.status_code for answer in answers].count(429) == 30 - 21  # the first came without a cookie
    assert (await started(at("203.0.113.5"), flow_id)).status_code == 303


async def test_a_browser_keeps_a_few_cookies_and_its_last_sessions_work(
    api: httpx.AsyncClient, at: At, clock: SimpleNamespace
) -> None:
    flow_id = await new_flow(api)
    browser = at("203.0.113.5")
    tokens = []
    for _ in range(20):
        tokens.append(await begin(browser, flow_id))
        assert len(browser.cookies) <= COOKIES_MOST
        assert len(browser.cookies) == min(len(tokens), COOKIES_MOST)
    assert (await come_back(browser, tokens[3])).status_code == 400  # forgotten
    assert result_of(await come_back(browser, tokens[0]))["enrollmentID"]
    assert result_of(await come_back(browser, tokens[-1]))["enrollmentID"]


async def test_what_is_typed_into_a_form_is_an_attempt(
    api: httpx.AsyncClient, vendors: Vendors, at: At, clock: SimpleNamespace
) -> None:
    flow_id = await new_flow(api, "boxy")
    vendors.boxy.failures["handle_callback"] = errors.ConsentInvalid("no such token")
    entries = {"host": "192.0.2.9", "token": "wrong", "note": ""}
    statuses = []
    for _ in range(8):
        browser = at("203.0.113.5")
        session = await begin(browser, flow_id)
        form_token = await form_of(browser, session)
        statuses += [(await send(browser, session, form_token=form_token, **entries)).status_code for _ in range(4)]
    assert statuses == [422] * 20 + [429] * 12
    assert vendors.boxy.calls.count("handle_callback") == 20


async def test_a_flow_and_a_vendor_have_budgets_over_all_addresses(
    api: httpx.AsyncClient, hub: Hub, vendors: Vendors, at: At, clock: SimpleNamespace
) -> None:
    few = {"flow": Buckets(6), "vendor": Buckets(10)}
    hub.strangers.attempts = replace(hub.strangers.attempts, **few)
    refused_codes(vendors)
    first, second = await new_flow(api), await new_flow(api)
    for number in range(1, 9):
        await invent(at(f"203.0.113.{number}"), first)
    assert vendors.sunny.calls.count("handle_callback") == 6
    for number in range(11, 19):
        await invent(at(f"203.0.113.{number}"), second)
    assert vendors.sunny.calls.count("handle_callback") == 10


async def test_reconnect_links_are_counted_too(
    api: httpx.AsyncClient, hub: Hub, at: At, clock: SimpleNamespace
) -> None:
    enrollment = await connect(api, at(HONEST))
    link = (await api.post(f"/enrollments/{enrollment}/reconnect", json={})).json()["url"]
    answers = [(await at("203.0.113.5").get(link)).status_code for _ in range(62)]
    assert answers == [303] * 60 + [429] * 2


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": "192.0.2.{n}"},
        {"forwarded": "for=192.0.2.{n}"},
        {"x-real-ip": "192.0.2.{n}"},
        {"x-forwarded-for": "192.0.2.{n}, 10.0.0.1"},
    ],
)
async def test_a_text_about_the_address_counts_only_from_a_declared_proxy(
    api: httpx.AsyncClient, at: At, clock: SimpleNamespace, headers: dict[str, str]
) -> None:
    flow_id = await new_flow(api)
    said = [{name: text.format(n=number) for name, text in headers.items()} for number in range(70)]
    answers = [await started(at("203.0.113.5", **one), flow_id) for one in said]
    assert [answer.status_code for answer in answers].count(429) == 10


async def test_behind_a_declared_proxy_every_owner_has_an_address_of_their_own(
    api: httpx.AsyncClient, hub: Hub, at: At, clock: SimpleNamespace
) -> None:
    hub.settings = structs.replace(hub.settings, trusted_proxies=("127.0.0.1/32",))
    flow_id = await new_flow(api)
    for number in range(70):
        owner = at("127.0.0.1", **{"x-forwarded-for": f"192.0.2.{number}"})
        assert (await started(owner, flow_id)).status_code == 303
    spoofed = [
        await started(at("127.0.0.1", **{"x-forwarded-for": f"192.0.2.{n}, 203.0.113.5"}), flow_id) for n in range(70)
    ]
    assert [answer.status_code for answer in spoofed].count(429) == 10


PROXIES = ("10.0.0.0/8", "127.0.0.1/32", "::1/128", "2001:db8:ffff::/48")
SEEN = {
    "no proxy": ("203.0.113.5", ["192.0.2.1"], "203.0.113.5"),
    "one": ("10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
    "a chain": ("10.0.0.1", ["192.0.2.1, 10.0.0.9, 10.1.2.3"], "192.0.2.1"),
    "two fields": ("10.0.0.1", ["192.0.2.1", "10.0.0.9"], "192.0.2.1"),
    "said by the sender": ("10.0.0.1", ["192.0.2.66, 192.0.2.1"], "192.0.2.1"),
    "only proxies": ("10.0.0.1", ["10.0.0.2"], "10.0.0.2"),
    "nothing said": ("10.0.0.1", [], "10.0.0.1"),
    "no address": ("10.0.0.1", ["192.0.2.1, unknown"], "10.0.0.1"),
    "empty": ("10.0.0.1", [""], "10.0.0.1"),
    "a port": ("10.0.0.1", ["192.0.2.1:5555"], "192.0.2.1"),
    "IPv6": ("::1", ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
    "IPv6 in brackets": ("::1", ["[2001:db8:1:2::9]:443"], "2001:db8:1:2::/64"),
    "another of the same home": ("2001:db8:1:2:9:9:9:9", [], "2001:db8:1:2::/64"),
    "mapped": ("::ffff:203.0.113.5", [], "203.0.113.5"),
    "translated": ("64:ff9b::cb00:7105", [], "203.0.113.5"),
    "quoted": ("10.0.0.1", ['"192.0.2.1"'], "10.0.0.1"),
    "wide digits": ("10.0.0.1", ["\uff11\uff19\uff12.0.2.1"], "10.0.0.1"),
    "leading zeros": ("10.0.0.1", ["192.000.002.001"], "10.0.0.1"),
    "nothing between commas": ("10.0.0.1", ["192.0.2.1,,10.0.0.2"], "10.0.0.2"),
    "a mapped proxy": ("::ffff:10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
    "very long": ("10.0.0.1", [",".join(["10.0.0.7"] * 50_000)], "10.0.0.7"),
    "a socket": ("", ["192.0.2.1"], None),
}


@pytest.mark.parametrize("kind", SEEN)
def test_an_address_is_what_the_last_declared_proxy_saw(kind: str) -> None:
    peer, forwarded, expected = SEEN[kind]
    state = SimpleNamespace(hub=SimpleNamespace(settings=SimpleNamespace(trusted_proxies=PROXIES)))
    scope: dict[str, Any] = {
        "type": "http",
        "client": (peer, 1),
        "headers": [(b"x-forwarded-for", text.encode()) for text in forwarded],
        "litestar_app": SimpleNamespace(state=state),
        "state": {},
    }
    assert address_of(Request(scope)) == expected  # type: ignore[arg-type]


def test_a_bucket_fills_again_and_gives_back(clock: SimpleNamespace) -> None:
    three = Buckets(3)
    for _ in range(3):
        assert three.wait_s("a") == 0
        three.take("a")
    assert three.wait_s("a") == pytest.approx(20)
    assert three.wait_s("b") == 0
    three.give_back("a")
    assert three.wait_s("a") == 0
    three.take("a")
    clock.now += 19
    assert three.wait_s("a") == pytest.approx(1)
    clock.now += 1
    assert three.wait_s("a") == 0
    clock.now += 3600
    assert three.is_full("a")


def test_a_share_is_left_to_others(clock: SimpleNamespace) -> None:
    ten = Buckets(10)
    for _ in range(5):
        assert ten.wait_s("flow", share=0.5) == 0
        ten.take("flow")
    assert ten.wait_s("flow", share=0.5) > 0
    assert ten.wait_s("flow") == 0


@pytest.mark.parametrize("size", [1, 1000, 1_000_000])
def test_a_key_of_any_length_costs_the_same(size: int) -> None:
    """Finding 3: a stranger's text is never kept, and only so many of them are remembered."""
    kept = Buckets(20, keys_most=100)
    for number in range(300):
        kept.take(f"{number}" + "x" * size if size < 10**6 or number < 5 else str(number))
    assert len(kept) == 100
    assert {len(key) for key in kept._full_at} == {16}


async def test_failed_log_ins_with_invented_ids_of_any_length_are_one(
    anonymous: httpx.AsyncClient, clock: SimpleNamespace, app: Litestar
) -> None:
    """S20: what is no client id is counted together."""
    grant = {"grant_type": "client_credentials", "client_secret": "x"}
    ids = [f"{number}" + "x" * 5000 for number in range(25)]
    answers = [await anonymous.post("/oauth2/token", data={**grant, "client_id": one}) for one in ids]
    assert [answer.status_code for answer in answers] == [401] * 20 + [429] * 5
    assert len(app.state.failures._of_client) == 1


async def test_an_address_that_tries_many_client_ids_is_slowed(
    anonymous: httpx.AsyncClient, clock: SimpleNamespace, at: At
) -> None:
    grant = {"grant_type": "client_credentials", "client_secret": "x"}
    tried = [await anonymous.post("/oauth2/token", data={**grant, "client_id": new_id("clnt")}) for _ in range(205)]
    assert [answer.status_code for answer in tried] == [401] * 200 + [429] * 5
    other = await at(HONEST).post("/oauth2/token", data={**grant, "client_id": new_id("clnt")})
    assert other.status_code == 401
