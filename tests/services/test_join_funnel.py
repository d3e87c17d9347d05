"""How far the owners of a flow came: every attempt counts once, as the list of attempts tells of it."""

from __future__ import annotations

from collections import Counter
from itertools import product

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.admin import join_attempts, join_funnel
from joinder.services.admin.join_funnel import Funnel, funnel
from joinder.store.tables import Enrollment, JoinSession
from services.conftest import Enroll

FLOW = "flow-aaaaaaaaaaaaaaaa"


async def attempt(hub: Hub, account_id: str, token: str, **columns: object) -> None:
    async with hub.store.write() as session:
        session.add(
            JoinSession.model_validate(
                {
                    "token_hash": token.encode(),
                    "account_id": account_id,
                    "flow_id": FLOW,
                    "vendor": "strict",
                    "cookie_hash": b"c",
                    "secrets_sealed": b"s",
                    "client_redirect_uri": "https://app.example/",
                    "created_at": now() - 60,
                    "expires_at": now() + 600,
                    **columns,
                }
            )
        )


async def test_every_shape_of_an_attempt_counts_as_the_list_of_attempts_tells_it(hub: Hub, account_id: str) -> None:
    shapes = product(
        (None, now()),
        (None, now()),
        (None, "joined", "user_denied"),
        (None, "enrl-aaaaaaaaaaaaaaaa"),
        (now() - 1, now() + 600),
    )
    for number, (ended, used, code, enrollment, expires) in enumerate(shapes):
        columns = {"ended_at": ended, "used_at": used, "end_code": code, "enrollment_id": enrollment}
        await attempt(hub, account_id, str(number), expires_at=expires, **columns)
    told = Counter(one.code or join_funnel.UNDER_WAY for one in await join_attempts.latest(hub))
    assert await join_funnel.of_flows(hub, account_id) == {FLOW: funnel(told)}
    assert sum(told.values()) == 48


async def test_who_waited_for_approval_is_connected_once_the_vendor_said_yes(
    hub: Hub, account_id: str, enroll: Enroll
) -> None:
    waits, approved = await enroll("ada"), await enroll("bob")
    async with hub.store.write() as session:
        row = await session.get(Enrollment, waits)
        assert row is not None
        row.status = "pendingvendor"
    for enrollment_id in (waits, approved):
        columns = {"ended_at": now(), "used_at": now(), "end_code": "pending_approval", "enrollment_id": enrollment_id}
        await attempt(hub, account_id, enrollment_id, **columns)
    assert await join_funnel.of_flows(hub) == {FLOW: Funnel(started=2, consented=2, connected=1)}


async def test_only_flows_of_the_account_and_of_thirty_days_are_counted(hub: Hub, account_id: str) -> None:
    await attempt(hub, account_id, "old", created_at=now() - 31 * 86400)
    await attempt(hub, account_id, "reconnects", flow_id="")
    await attempt(hub, "acct-bbbbbbbbbbbbbbbb", "another's")
    assert await join_funnel.of_flows(hub, account_id) == {}
    assert await join_funnel.of_flows(hub) == {FLOW: Funnel(started=1, under_way=1)}


def test_who_said_nothing_left_and_reasons_come_by_how_often() -> None:
    found = funnel(
        {"": 1, "joined": 4, "pending_approval": 2, "session_expired": 3, "user_denied": 1, "app_refused": 2}
    )
    assert (found.started, found.under_way, found.consented, found.connected, found.left) == (13, 1, 6, 4, 3)
    assert list(found.refused.items()) == [("app_refused", 2), ("user_denied", 1)]
    assert join_funnel.actor_of("app_refused") == "operator"
    assert join_funnel.actor_of("of_a_later_version") == "nobody"


def test_several_flows_are_one_sum() -> None:
    one, other = (
        funnel({"joined": 3, "user_denied": 1, "": 1}),
        funnel({"joined": 1, "app_refused": 2, "user_denied": 2}),
    )
    both = funnel({"joined": 4, "user_denied": 3, "app_refused": 2, "": 1})
    assert join_funnel.in_all([one, other]) == both
    assert list(join_funnel.in_all([one, other]).refused) == ["user_denied", "app_refused"]
    assert join_funnel.in_all([]) == Funnel()
