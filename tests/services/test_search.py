"""Looking for enrollments: every word counts literally, and pages neither repeat nor miss one, both ways."""

from __future__ import annotations

import itertools
import re

import pytest

from joinder import clock
from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.admin import search
from joinder.services.admin.search import Place
from joinder.services.refusals import Invalid
from joinder.store.tables import Account, Enrollment, SiteRow

BEGAN = 1_700_000_000
_letters = itertools.count()


async def add(hub: Hub, account_id: str, name: str, *, created_at: int = BEGAN, **columns: object) -> str:
    """An enrollment with one site of this name."""
    number = next(_letters)
    row_id = "enrl-" + "".join("abcdefghijklmnopqrstuvwxyz234567"[number // 32**place % 32] for place in range(16))
    async with hub.store.write() as session:
        values = {"vendor": "strict", "health_since": created_at, **columns}
        session.add(Enrollment(id=row_id, account_id=account_id, created_at=created_at, **values))
        await session.flush()
        session.add(
            SiteRow(
                id=row_id.replace("enrl", "site"),
                account_id=account_id,
                enrollment_id=row_id,
                vendor="strict",
                vendor_id=f"V-{number}",
                name=name,
            )
        )
    return row_id


async def named(hub: Hub, text: str, *, faults_only: bool = False) -> set[str | None]:
    query = search.parse(text, faults_only=faults_only)
    found = await search.page(hub, query)
    assert len(found) == await search.count(hub, query)
    return {row.site_name for row in found}


@pytest.fixture
async def other_account(hub: Hub) -> str:
    async with hub.store.write() as session:
        session.add(Account(id="acct-bbbbbbbbbbbbbbbb", name="other", created_at=1))
    return "acct-bbbbbbbbbbbbbbbb"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {"Roof 100%", "Roof 1000", "a_b", "axb", "bang!", "back\\slash", "Ärgernis Übergröße"}),
        ("roof", {"Roof 100%", "Roof 1000"}),
        ("ROOF", {"Roof 100%", "Roof 1000"}),
        ("100%", {"Roof 100%"}),
        ("%", {"Roof 100%"}),
        ("a_b", {"a_b"}),
        ("g!", {"bang!"}),
        ("!!", {"Roof 100%", "Roof 1000", "a_b", "axb", "back\\slash", "Ärgernis Übergröße"}),
        ("k\\s", {"back\\slash"}),
        ("'", set()),
        ("\" OR 1=1 --", set()),
        ("roof !100%", {"Roof 1000"}),
        ("!", {"Roof 100%", "Roof 1000", "a_b", "axb", "bang!", "back\\slash", "Ärgernis Übergröße"}),
        ("Ärgernis", {"Ärgernis Übergröße"}),
        ("ärgernis", {"Ärgernis Übergröße"}),
        ("ÄRGERNIS", {"Ärgernis Übergröße"}),
        ("übergröße", {"Ärgernis Übergröße"}),
        ("aergernis", {"Ärgernis Übergröße"}),
        ("argernis", {"Ärgernis Übergröße"}),
        ("UEBERGROESSE", {"Ärgernis Übergröße"}),
        ("bäng", {"bang!"}),
    ],
)  # fmt: skip
async def test_a_word_is_looked_for_as_it_is(hub: Hub, account_id: str, text: str, found: set[str]) -> None:
    for name in ("Roof 100%", "Roof 1000", "a_b", "axb", "bang!", "back\\slash", "Ärgernis Übergröße"):
        await add(hub, account_id, name)
    assert await named(hub, text) == found


async def test_filters_by_column_over_all_accounts(hub: Hub, account_id: str, other_account: str) -> None:
    await add(hub, account_id, "well")
    await add(hub, account_id, "lost", health="needs_consent", vendor_account_id="Owner-7")
    await add(hub, other_account, "theirs", vendor="sunny", health="degraded", paused_at=1)
    await add(hub, account_id, "waiting", status="pendingvendor", health="pending_approval")
    assert await named(hub, "vendor:sunny") == {"theirs"}
    assert await named(hub, "!vendor:sunny") == {"well", "lost", "waiting"}
    assert await named(hub, "health:needs_consent") == {"lost"}
    assert await named(hub, "status:pendingvendor") == {"waiting"}
    assert await named(hub, f"account:{account_id} !health:ok") == {"lost", "waiting"}
    assert await named(hub, "is:paused") == {"theirs"}
    assert await named(hub, "!is:paused", faults_only=True) == {"lost", "waiting"}
    assert await named(hub, "owner-7") == {"lost"}
    assert await named(hub, "vendor:sunny vendor:strict") == set()
    assert await named(hub, "vendor:%") == set()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("vender:x", "vender:x is no filter. Did you mean vendor:…? Known are vendor:… health:…"),
        ("vendor:", "Known are"),
        ("is:late", "Known are"),
        ("!health:bogus", "there is no health bogus. Known are quarantined"),
        ("status:enrolled,foo", "there is no status foo. Known are applied"),
        ("actor:me", "there is no actor me. Known are owner operator vendor nobody"),
        ("!x:y", "x:y is no filter"),
    ],
)
async def test_what_is_no_filter_is_said(text: str, says: str) -> None:
    with pytest.raises(Invalid, match=re.escape(says)):
        search.parse(text)


async def test_pages_neither_repeat_nor_miss_one_both_ways(hub: Hub, account_id: str) -> None:
    """Several of the same second, while others come and go."""
    ids = [await add(hub, account_id, f"s{at}", created_at=BEGAN + at // 4) for at in range(23)]
    query = search.parse("")
    pages: list[list[search.EnrollmentListRow]] = []
    place: Place | None = None
    while page := await search.page(hub, query, after=place, limit=5):
        pages.append(page)
        place = page[-1].place
        await add(hub, account_id, "newer", created_at=BEGAN + 1000)  # before all that was shown
    seen = [row.id for page in pages for row in page]
    assert seen == sorted(ids, key=lambda row_id: (ids.index(row_id) // 4, row_id), reverse=True)
    for earlier, later in itertools.pairwise(pages):
        assert await search.page(hub, query, before=later[0].place, limit=5) == earlier
    async with hub.store.write() as session:
        row = await session.get(Enrollment, pages[1][0].id)
        await session.delete(row)
    assert await search.page(hub, query, after=pages[0][-1].place, limit=4) == pages[1][1:]
    assert [row.site_name for row in await search.page(hub, query, before=pages[0][0].place, limit=50)] == ["newer"] * 5


async def test_a_page_has_an_end(hub: Hub, account_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PAGE", 2)
    for at in range(3):
        await add(hub, account_id, "x", created_at=now() - at)
    assert len(await search.page(hub, search.parse(""), limit=1000)) == 2
    assert clock.now() - (await search.page(hub, search.parse("")))[0].created_at < 60


@pytest.mark.parametrize("order", search.ORDERS)
async def test_pages_of_every_order_neither_repeat_nor_miss_one(hub: Hub, account_id: str, order: str) -> None:
    states = ("ok", "needs_consent", "operator_action", "ok", "degraded", "needs_consent", "ok")
    for index, state in enumerate(states):
        read = None if index == 2 else 1000 - index
        await add(hub, account_id, f"Site {index % 4}", health=state, last_success_at=read)
    by = search.ORDERS[order]
    whole = await search.page(hub, search.parse(""), order=by)
    found, place = list[search.EnrollmentListRow](), None
    while page := await search.page(hub, search.parse(""), after=place, limit=2, order=by):
        found, place = found + page, page[-1].place
    assert found == whole
    assert len({row.id for row in found}) == len(states)
    assert await search.page(hub, search.parse(""), before=found[4].place, limit=2, order=by) == found[2:4]


async def test_the_most_urgent_come_first_and_wait_the_longest_first(hub: Hub, account_id: str) -> None:
    for name, state, since in (("a", "ok", 1), ("b", "needs_consent", 9), ("c", "operator_action", 9)):
        await add(hub, account_id, name, health=state, health_since=since)
    await add(hub, account_id, "d", health="needs_consent", health_since=5)
    found = await search.page(hub, search.parse(""), order=search.ORDERS["health"])
    assert [row.site_name for row in found] == ["c", "d", "b", "a"]


async def test_who_must_act_is_looked_for_and_what_was_ended_waits_for_nobody(hub: Hub, account_id: str) -> None:
    for name, columns in {
        "well": {},
        "away": {"health": "degraded", "health_actor": "nobody"},
        "lost": {"health": "needs_consent", "health_actor": "owner"},
        "old": {"health": "lost_in_flight"},  # stored before there was a column
        "sold": {"health": "needs_consent", "health_actor": "nobody", "status": "unenrolled"},
        "app": {"health": "operator_action", "health_actor": "operator"},
        "asked": {"health": "pending_approval", "health_actor": "operator"},
    }.items():
        await add(hub, account_id, name, **columns)
    assert await named(hub, "actor:owner") == {"lost", "old"}
    assert await named(hub, "actor:operator") == {"app", "asked"}
    assert await named(hub, "actor:nobody") == {"well", "away", "sold"}
    assert await named(hub, "!actor:nobody,owner") == {"app", "asked"}
    assert await named(hub, "", faults_only=True) == {"away", "lost", "old", "app", "asked"}
    by_urgency = await search.page(hub, search.parse(""), order=search.ORDERS["health"])
    assert [row.site_name for row in by_urgency][-2:] == ["well", "sold"]
