"""One account never sees, changes or learns of another's rows (BOLA, security.md S18)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy import text

from api.conftest import NewBrowser, NewTenant
from api.fakes import EVERYTHING, REDIRECT_URI, Tenant, Vendors, connect_site, count, new_credentials, new_flow
from api.test_problems import BODIES, operations
from api.test_queries import told
from joinder.api.deps import page_token
from joinder.runtime.hub import Hub

RANDOM = "a" * 16
SESSIONS = "/join/session/"  # refused for everybody
PROGRAM = {"name": "North", "vendors": ["sunny"]}
VIRTUAL = "/virtual/"  # of virtual accounts, of which test_virtual.py asks the same
LISTS = {
    "/vendor-credentials": "vendorCredentials",
    "/join/flows": "joinFlows",
    "/programs": "programs",
    "/enrollments": "enrollments",
    "/sites": "sites",
    "/solar-inverters": "solarInverters",
    "/batteries": "batteries",
    "/meters": "meters",
    "/chargers": "chargers",
    "/events": "events",
    "/webhooks": "webhooks",
    "/backfills": "backfills",
}
OF_VENDORS = ("vendorID", "vendorSiteID")  # whose ids have any form
_KEYS = {"enrollmentID": "enrollment_id", "siteID": "site_id", "flowID": "flow_id", "programID": "program_id"}
NO_LISTS = ("/vendors", "/aggregates/intervals")  # nobody's; sums of one's own (test_aggregates.py)


@pytest.fixture
async def stranger(new_tenant: NewTenant) -> Tenant:
    """Another account with every scope there is."""
    return await new_tenant(EVERYTHING)


@pytest.fixture
async def owned(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> dict[str, str]:
    """One id of every kind that the first account owns, by the path that shows it."""
    site_id = await connect_site(api, browser)
    site = (await api.get(f"/sites/{site_id}")).json()
    (enrollment,) = (await api.get("/enrollments")).json()["enrollments"]
    return {
        "/vendor-credentials/{credentials_id}": await new_credentials(api),
        "/join/flows/{flow_id}": await new_flow(api),
        "/programs/{program_id}": (await api.post("/programs", json=PROGRAM)).json()["id"],
        "/enrollments/{enrollment_id}": enrollment["id"],
        "/sites/{site_id}": site_id,
        "/solar-inverters/{device_id}": site["solarInverters"][0]["id"],
        "/batteries/{device_id}": site["batteries"][0]["id"],
        "/meters/{device_id}": site["meters"][0]["id"],
        "/chargers/{device_id}": site["chargers"][0]["id"],
        "/webhooks/{webhook_id}": (await api.post("/webhooks", json={"url": "https://hook.example/"})).json()["id"],
        "/backfills/{backfill_id}": (await api.post(f"/enrollments/{enrollment['id']}/backfill")).json()["id"],
    }


def _root(template: str) -> str:
    """`/sites/{site_id}/live` → `/sites/{site_id}`."""
    return template[: template.index("}") + 1]


async def _ask(api: httpx.AsyncClient, method: str, template: str, row_id: str) -> tuple[int, str, list[Any]]:
    """Status, body and headers, with the id itself taken out."""
    path = template.replace(template[template.index("{") : template.index("}") + 1], row_id)
    path = path.replace("{name}", "register").replace("{delivery_id}", f"dlvy-{RANDOM}")
    body = BODIES.get((method, template))
    same_id = {"x-request-id": "the-same-for-both"}
    answer = await api.request(method.upper(), path, headers=same_id, **({"json": body} if body else {}))
    assert answer.headers.pop("ratelimit").startswith('"requests";r=')  # it alone may differ: one less each time
    return answer.status_code, answer.text.replace(row_id, "ID"), sorted(answer.headers.items())


async def test_anothers_id_and_a_random_one_look_the_same(
    api: httpx.AsyncClient, stranger: Tenant, owned: dict[str, str], vendors: Vendors, hub: Hub
) -> None:
    """Over every operation with an id that the OpenAPI document names."""
    known = await operations(api)
    with_id = [(method, path) for method, path in known if "{" in path and not path.startswith((VIRTUAL, SESSIONS))]
    assert len(with_id) >= 18
    vendors.sunny.calls.clear()
    for method, template in with_id:
        row_id = owned[_root(template)]  # KeyError: a new resource; add it to `owned`
        theirs = await _ask(stranger.api, method, template, row_id)
        unknown = await _ask(stranger.api, method, template, f"{row_id[:5]}{RANDOM}")
        assert theirs[0] == 404, (method, template)
        assert theirs == unknown, (method, template)
    assert vendors.sunny.calls == []
    own = "account_id = :id AND action NOT LIKE '%.create' AND action <> 'client.login'"
    assert await count(hub, "audit", own, {"id": stranger.account_id}) == 0


async def test_a_filter_by_anothers_id_and_by_a_random_one_finds_nothing_alike(
    api: httpx.AsyncClient, stranger: Tenant, owned: dict[str, str]
) -> None:
    """Over every filter by an id of ours; what is no such id is refused with its form."""
    paths = (await api.get("/openapi.json")).json()["paths"]
    filters = [
        (path, entry["name"])
        for path in LISTS
        for entry in paths[path]["get"]["parameters"]
        if entry.get("name", "").endswith("ID") and entry["name"] not in OF_VENDORS
    ]
    assert len(filters) >= 12
    for path, name in filters:
        row_id = next(one for template, one in owned.items() if template.endswith(f"/{{{_KEYS[name]}}}"))
        answers = []
        for asked in (row_id, f"{row_id[:5]}{RANDOM}"):
            answer = await stranger.api.get(path, params={name: asked}, headers={"x-request-id": "the-same-for-both"})
            answer.headers.pop("ratelimit")
            answers.append((answer.status_code, answer.content, sorted(answer.headers.items())))
            assert answer.json()[LISTS[path]] == []
        assert answers[0] == answers[1], (path, name)
        for other in ("x", row_id[:-1], row_id.upper(), f"evnt-{RANDOM}", f"{row_id} "):
            errors = told(await stranger.api.get(path, params={name: other}))
            assert errors == {f"/{name}": f"must match ^{row_id[:5]}[a-z2-7]{{16}}$"}, (path, name, other)


async def test_the_owner_does_reach_each_of_them(api: httpx.AsyncClient, owned: dict[str, str]) -> None:
    """Or the test above would prove nothing."""
    for template, row_id in owned.items():
        assert (await _ask(api, "get", template, row_id))[0] == 200, template


async def test_an_id_of_the_right_account_but_another_kind_is_unknown(
    api: httpx.AsyncClient, owned: dict[str, str]
) -> None:
    for template in owned:
        for other, row_id in owned.items():
            if other != template:
                assert (await _ask(api, "get", template, row_id))[0] == 404, (template, row_id)


async def test_lists_show_only_ones_own(api: httpx.AsyncClient, stranger: Tenant, owned: dict[str, str]) -> None:
    known = await operations(api)
    listed = {path for method, path in known if method == "get" and "{" not in path and not path.startswith(VIRTUAL)}
    assert listed == {*LISTS, *NO_LISTS}, "a list of what an account owns goes into LISTS, what is none into NO_LISTS"
    for path, member in LISTS.items():
        assert (await api.get(path)).json()[member], path
        body = (await stranger.api.get(path)).json()
        assert body[member] == [], path
        assert set(body) <= {member, "errors", "totalSize"}


async def test_filters_and_page_tokens_open_nothing(
    api: httpx.AsyncClient, stranger: Tenant, owned: dict[str, str]
) -> None:
    flow_id = owned["/join/flows/{flow_id}"]
    filters: list[tuple[str, dict[str, str]]] = [
        ("/vendor-credentials", {"vendor": "sunny"}),
        ("/enrollments", {"flowID": flow_id, "vendor": "sunny", "status": "enrolled", "health": "ok"}),
        ("/enrollments", {"vendor": "sunny"}),
        ("/sites", {"vendor": "sunny", "vendorID": "site-1", "expand": "true"}),
        ("/solar-inverters", {"vendorSiteID": "site-1"}),
        ("/batteries", {"vendorSiteID": "site-1", "vendorID": "bat-1"}),
        ("/meters", {"vendorSiteID": "site-1"}),
        ("/chargers", {"vendorID": "car-1"}),
        *((path, {"pageToken": page_token(row_id)}) for path in LISTS for row_id in owned.values()),
    ]
    taken = set()
    for path, query in filters:
        answer = await stranger.api.get(path, params=query)
        if "pageToken" in query and answer.status_code == 400:  # of another list
            continue
        assert answer.status_code == 200
        assert answer.json()[LISTS[path]] == [], (path, query)
        taken |= {path} if "pageToken" in query else set()
    assert taken == LISTS.keys() - {"/events"}  # pages by time: only an event of one's own is a place in them


async def test_anothers_trouble_is_not_ones_own(
    hub: Hub, api: httpx.AsyncClient, stranger: Tenant, owned: dict[str, str]
) -> None:
    async with hub.store.write() as session:
        await session.execute(text("UPDATE enrollment SET health = 'degraded'"))
    assert (await api.get("/sites")).json()["errors"].keys() == {"sunny"}
    assert (await stranger.api.get("/sites")).json()["errors"] == {}


async def test_a_flow_cannot_use_anothers_credentials(stranger: Tenant, owned: dict[str, str]) -> None:
    theirs = owned["/vendor-credentials/{credentials_id}"]
    answers = []
    for credentials_id in (theirs, f"cred-{RANDOM}"):
        entry = {"vendor": "sunny", "credentialsID": credentials_id}
        answer = await stranger.api.post("/join/flows", json={"vendors": [entry], "redirectURI": REDIRECT_URI})
        answers.append((answer.status_code, answer.content))
    assert answers[0] == answers[1]
    assert answers[0][0] == 400


async def test_the_same_home_in_two_accounts_is_two_sites(
    api: httpx.AsyncClient, stranger: Tenant, new_browser: NewBrowser
) -> None:
    mine = await connect_site(api, await new_browser())
    theirs = await connect_site(stranger.api, await new_browser())
    assert mine != theirs
    assert (await api.get("/sites")).json()["sites"] == [{"id": mine}]
    assert (await stranger.api.get("/sites")).json()["sites"] == [{"id": theirs}]


async def test_deleting_ones_own_leaves_anothers(
    api: httpx.AsyncClient, stranger: Tenant, new_browser: NewBrowser
) -> None:
    mine = await connect_site(api, await new_browser())
    await connect_site(stranger.api, await new_browser())
    (enrollment,) = (await stranger.api.get("/enrollments")).json()["enrollments"]
    assert (await stranger.api.delete(f"/enrollments/{enrollment['id']}")).status_code == 204
    assert (await api.get(f"/sites/{mine}")).status_code == 200
