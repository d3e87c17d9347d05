"""Join flows: what the operator configures once, and which redirect URIs are refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from api.fakes import (
    BOXY,
    CLOUDY,
    REDIRECT_URI,
    FakeVendor,
    assert_problem,
    connect,
    count,
    new_credentials,
    new_flow,
    pointers,
)
from joinder.runtime.hub import Hub
from joinder.vendor import AppCredentialType, Field, Flow


async def test_created_listed_shown_and_deleted(api: httpx.AsyncClient) -> None:
    entry = {"vendor": "sunny", "credentialsID": await new_credentials(api), "options": {"region": "eu"}}
    body = {"vendors": [entry, {"vendor": "boxy"}], "redirectURI": REDIRECT_URI}
    made = await api.post("/join/flows", json=body)
    assert (made.status_code, made.json()) == (201, {"id": made.json()["id"], **body})
    path = f"/join/flows/{made.json()['id']}"
    assert (await api.get(path)).json() == made.json()
    assert (await api.get("/join/flows")).json() == {"joinFlows": [made.json()], "totalSize": 1}
    deleted = await api.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert_problem(await api.get(path), 404, "not-found")


async def test_a_flow_cannot_be_changed(api: httpx.AsyncClient) -> None:
    path = f"/join/flows/{await new_flow(api)}"
    for method in ("PATCH", "PUT"):
        assert_problem(await api.request(method, path, json={"redirectURI": "https://a.example/"}), 405,
                       "method-not-allowed")  # fmt: skip


async def test_deleting_a_flow_keeps_its_enrollments(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    flow_id = await new_flow(api)
    enrollment_id = await connect(api, browser, flow_id=flow_id)
    await api.delete(f"/join/flows/{flow_id}")
    assert (await api.get(f"/enrollments/{enrollment_id}")).json()["flowID"] == flow_id


async def _refused(api: httpx.AsyncClient, *entries: dict[str, Any], uri: str = REDIRECT_URI) -> list[str]:
    answer = await api.post("/join/flows", json={"vendors": list(entries), "redirectURI": uri})
    assert_problem(answer, 400, "validation-error")
    return pointers(answer)


async def test_vendors_that_cannot_work(api: httpx.AsyncClient) -> None:
    mine = await new_credentials(api)
    sunny = {"vendor": "sunny", "credentialsID": mine}
    assert await _refused(api) == ["/vendors"]
    assert await _refused(api, {"vendor": "nobody"}) == ["/vendors/0/vendor"]
    assert await _refused(api, {"vendor": ""}) == ["/vendors/0/vendor"]
    assert await _refused(api, {"vendor": "Sunny", "credentialsID": mine}) == ["/vendors/0/vendor"]
    assert await _refused(api, sunny, {"vendor": "boxy"}, sunny) == ["/vendors/2/vendor"]
    assert await _refused(api, {"vendor": "sunny"}) == ["/vendors/0/credentialsID"]
    assert await _refused(api, {"vendor": "sunny", "credentialsID": "cred-" + "a" * 16}) == ["/vendors/0/credentialsID"]
    assert await _refused(api, {"vendor": "sunny", "credentialsID": "x"}) == ["/vendors/0/credentialsID"]
    assert await _refused(api, {"vendor": "boxy", "credentialsID": mine}) == ["/vendors/0/credentialsID"]
    assert await _refused(api, {**sunny, "options": {"city": "x"}}) == ["/vendors/0/options/city"]
    assert set(await _refused(api, {"vendor": "nobody"}, uri="http://a.example/")) == {
        "/redirectURI",
        "/vendors/0/vendor",
    }
    assert (await api.get("/join/flows")).json() == {"joinFlows": [], "totalSize": 0}


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({"programme": "summer"}, []),
        ({"programme": "summer", "region": "eu"}, []),
        ({}, ["/vendors/0/options/programme"]),
        ({"region": "eu"}, ["/vendors/0/options/programme"]),
        ({"programme": " "}, ["/vendors/0/options/programme"]),
        ({"programme": "x" * 41}, ["/vendors/0/options/programme"]),
        ({"programme": "summer", "region": ""}, ["/vendors/0/options/region"]),
        ({"colour": "red"}, ["/vendors/0/options/colour", "/vendors/0/options/programme"]),
    ],
)
async def test_options_a_vendor_declares(
    api: httpx.AsyncClient, hub: Hub, options: dict[str, str], refused: list[str]
) -> None:
    fields = (
        Field(name="programme", label="Programme", max_length=40),
        Field(name="region", label="R", required=False),
    )
    hub.registry.add("windy", FakeVendor(replace(CLOUDY, name="windy", flow_fields=fields)))
    entry = {"vendor": "windy", **({"options": options} if options else {})}
    answer = await api.post("/join/flows", json={"vendors": [entry], "redirectURI": REDIRECT_URI})
    assert (answer.status_code, pointers(answer)) == (400 if refused else 201, refused)


async def test_creation_and_deletion_are_written_down(api: httpx.AsyncClient, hub: Hub) -> None:
    flow_id = await new_flow(api)
    await api.delete(f"/join/flows/{flow_id}")
    for action in ("flow.create", "flow.delete"):
        assert await count(hub, "audit", "action = :action AND target = :id", {"action": action, "id": flow_id}) == 1


HOSTILE = [
    "", " ", "x", "/relative", "//evil.example/", "///evil.example", "https:", "https:/", "https://", "https:///path",
    "https:evil.example", "https:\\\\evil.example", "https://a.example\\@evil.example/", "https://user@a.example/",
    "https://user:pass@a.example/", "https://@a.example/", "https://a.example@evil.example/", "https://:8443/",
    "http://a.example/", "http://127.0.0.1.evil.example/", "http://localhost.evil.example/", "http://localhost:80@evil/",
    "http://127.1/", "http://0.0.0.0/", "http://[::]/", "http://2130706433/", "ftp://a.example/", "file:///etc/passwd",
    "javascript:alert(1)", "javascript://a.example/%0aalert(1)", "data:text/html,x", "urn:ietf:wg:oauth:2.0:oob",
    "myapp://callback", "https://a.example/#fragment", "https://a.example/#", "https://*.example/", "https://a.example/*",
    "https://a.example/\r\nset-cookie: x", "https://a.example/\n", "https://a.example/\t", "https://a.example/\x00",
    " https://a.example/", "https://a.example/ ", "https://a.example/a b", "https://bücher.example/",
    "https://a.example/ü", "https://a.example/\u202e", "https://exa\u00admple.com/", "https://a.example:99999/",
    "https://a.example:port/", "https://a.example:/", "https://a.example:-1/", "https://[::1", "https://[zz]/",
    "https://a_b.example/", "https://-a.example/", "https://a.example-/", "https://a.example/<script>",
    'https://a.example/"', "https://a.example/{id}", "https://a.example/" + "x" * 2000, "HTTPS//a.example",
    "https://a%2eexample/", "https://a.example%00.evil/",
]  # fmt: skip


async def test_hostile_redirect_uris_are_refused(api: httpx.AsyncClient) -> None:
    assert len(HOSTILE) >= 60
    accepted = []
    for uri in HOSTILE:
        answer = await api.post("/join/flows", json={"vendors": [{"vendor": "boxy"}], "redirectURI": uri})
        if answer.status_code != 400 or pointers(answer) != ["/redirectURI"]:
            accepted.append((uri, answer.status_code, answer.text))
    assert accepted == []


ORDINARY = [
    "https://a.example",
    "https://a.example/",
    "https://a.example:8443/back?x=1&x=2&y=%2F%20z",
    "https://xn--bcher-kva.example/",
    "https://192.0.2.7/back",
    "https://[2001:db8::1]:8443/back",
    "http://127.0.0.1:5000/back",
    "http://localhost/back",
    "http://[::1]:5000/",
    "https://a.example/%2e%2e/x?",
    "https://A.example/Case",
]


async def test_ordinary_redirect_uris_are_kept_to_the_letter(api: httpx.AsyncClient) -> None:
    for uri in ORDINARY:
        made = await api.post("/join/flows", json={"vendors": [{"vendor": "boxy"}], "redirectURI": uri})
        assert (made.status_code, made.json().get("redirectURI")) == (201, uri), made.text


async def test_credentials_that_need_no_owner_are_none_that_owners_need(api: httpx.AsyncClient, hub: Hub) -> None:
    keys = AppCredentialType(type="key", label="Key", fields=(Field(name="key", label="Key"),), flow=Flow.OPERATOR)
    added = hub.registry.add("keyed", FakeVendor(replace(BOXY, name="keyed", app_credentials=(keys,))))
    assert added.problem is None
    assert await new_flow(api, "keyed")
