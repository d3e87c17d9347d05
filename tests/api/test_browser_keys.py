"""Keys for browsers: minutes, one enrollment, reading only; CORS for those alone."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import httpx
import pytest
from litestar import Litestar
from msgspec import structs

from api.conftest import NewBrowser, NewTenant, renewed
from api.fakes import Tenant, Vendors, assert_problem, begin, come_back, new_flow, pointers, result_of
from api.test_problems import filled, operations, send
from joinder.runtime.hub import Hub, open_hub
from joinder.services.records import accounts
from joinder.settings import ConfigError, Settings, settings_from_env

ORIGIN = "https://app.example"


@pytest.fixture
async def hub(fresh_database: Settings, vendors: Vendors, public_url: str) -> AsyncIterator[Hub]:
    settings = structs.replace(fresh_database, public_url=public_url, cors_origins=(ORIGIN,))
    async with open_hub(settings, vendors.registry()) as opened:
        yield opened


@pytest.fixture
def app(hub: Hub, apps: dict[str, Litestar]) -> Litestar:
    """Another application than the shared one, which lets no origin in."""
    return renewed(apps, ORIGIN, hub)


async def joined(api: httpx.AsyncClient, browser: httpx.AsyncClient, vendor: str) -> tuple[str, dict[str, object]]:
    """An owner's enrollment and its site."""
    result = result_of(await come_back(browser, await begin(browser, await new_flow(api, vendor)), vendor))
    enrollment = (await api.get(f"/enrollments/{result['enrollmentID']}")).json()
    site = (await api.get(f"/sites/{enrollment['sites'][0]['id']}")).json()
    return enrollment["id"], site


async def keyed(api: httpx.AsyncClient, new_browser: NewBrowser, enrollment_id: str) -> httpx.AsyncClient:
    """A page with a key, at the origin that may."""
    answer = await api.post(f"/enrollments/{enrollment_id}/browser-keys", json={"minutes": 5})
    assert answer.status_code == 201, answer.text
    assert "no-store" in answer.headers["cache-control"]
    page = await new_browser()
    page.headers.update({"authorization": f"Bearer {answer.json()['accessToken']}", "origin": ORIGIN})
    return page


async def test_a_key_reads_one_enrollment_and_nothing_else(
    api: httpx.AsyncClient, new_browser: NewBrowser, tenant: Tenant
) -> None:
    enrollment_id, site = await joined(api, await new_browser(), "sunny")
    _, foreign = await joined(api, await new_browser(), "cloudy")
    page = await keyed(api, new_browser, enrollment_id)
    reading = ("/sites", "/solar-inverters", "/batteries", "/meters", "/chargers")
    assert (await page.get("/sites")).json()["sites"] == [{"id": site["id"]}]
    assert (await page.get("/batteries")).json()["batteries"] == site["batteries"]
    assert (await page.get(f"/sites/{site['id']}")).json() == site
    battery, theirs = (one["batteries"][0]["id"] for one in (site, foreign))  # type: ignore[index]
    assert (await page.get(f"/batteries/{battery}")).status_code == 200
    for path in (f"/sites/{foreign['id']}", f"/sites/{foreign['id']}/live", f"/batteries/{theirs}/intervals"):
        assert (await api.get(path)).status_code in (200, 422), path
        assert_problem(await page.get(path), 404, "not-found")
    for path in reading:
        answer = await page.get(path, params={"enrollmentID": "enrl-aaaaaaaaaaaaaaaa"})
        assert (answer.status_code, answer.json()["totalSize"]) == (200, 0), path
    for method, template in await operations(api):
        if method != "get" or not template.startswith(reading):
            answer = await send(page, method, template, filled(template, "a" * 16))
            assert_problem(answer, 403, "forbidden")
    assert (await api.delete(f"/enrollments/{enrollment_id}")).status_code == 204
    assert (await page.get("/sites")).json()["sites"] == []


async def test_a_key_ends(
    api: httpx.AsyncClient, new_browser: NewBrowser, new_tenant: NewTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrollment_id, _ = await joined(api, await new_browser(), "sunny")
    page = await keyed(api, new_browser, enrollment_id)
    later = time.time() + 301
    monkeypatch.setattr(time, "time", lambda: later)
    expired = await page.get("/sites")
    assert_problem(expired, 401, "unauthorized")
    assert expired.headers["access-control-allow-origin"] == ORIGIN
    monkeypatch.undo()
    path = f"/enrollments/{enrollment_id}/browser-keys"
    for minutes in (0, 61):
        assert pointers(await api.post(path, json={"minutes": minutes})) == ["/minutes"]
    assert (await api.post(path)).status_code == 201
    assert_problem(await (await new_tenant()).api.post(path), 404, "not-found")
    assert_problem(await (await new_tenant(("manage:enrollments",))).api.post(path), 403, "forbidden")
    assert accounts.SCOPES


async def test_origins_are_let_in_for_keys_alone(
    api: httpx.AsyncClient, anonymous: httpx.AsyncClient, new_browser: NewBrowser
) -> None:
    enrollment_id, _ = await joined(api, await new_browser(), "sunny")
    page = await keyed(api, new_browser, enrollment_id)
    allowed = "access-control-allow-origin"
    answer = await page.get("/sites")
    assert (answer.headers[allowed], "origin" in answer.headers["vary"]) == (ORIGIN, True)
    assert allowed not in (await page.get("/sites", headers={"origin": "https://evil.example"})).headers
    assert allowed not in (await api.get("/sites", headers={"origin": ORIGIN})).headers
    ask = {"origin": ORIGIN, "access-control-request-method": "GET", "access-control-request-headers": "authorization"}
    preflight = await anonymous.options("/sites", headers=ask)
    assert (preflight.status_code, preflight.headers[allowed]) == (204, ORIGIN)
    assert preflight.headers["access-control-allow-methods"] == "GET"
    assert "access-control-allow-credentials" not in preflight.headers
    for path, origin in (
        ("/vendor-credentials", ORIGIN),
        ("/oauth2/token", ORIGIN),
        ("/sites", "https://evil.example"),
    ):
        assert allowed not in (await anonymous.options(path, headers={**ask, "origin": origin})).headers


@pytest.mark.parametrize("text", ["*", "https://app.example/", "http://app.example", "app.example"])
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="CORS_ORIGINS"):
        settings_from_env({"JOINDER_CORS_ORIGINS": text})
