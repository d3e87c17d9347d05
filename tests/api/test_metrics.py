"""Every answer has an id, a line in the log and a place in the figures; /metrics is for who holds the token."""

from __future__ import annotations

import logging
from pathlib import Path

import httpx
import pytest
from litestar import Litestar
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from api.fakes import Tenant, connect_site
from joinder.observe.tracing import tracing_to
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.operations.configuration import read_metrics_token
from joinder.settings import ConfigError, Settings
from log_lines import json_lines

DATABASES = ("sqlite",)  # nothing here depends on the database
TOKEN = "scraper-token-4b1c9a77de"


def counted(hub: Hub, route: str, method: str, status: str) -> float | None:
    labels = {"route": route, "method": method, "status": status}
    return hub.metrics.registry.get_sample_value("joinder_api_requests_total", labels)


def lines(records: list[logging.LogRecord]) -> list[tuple[str, str, int]]:
    return [(r.method, r.route, r.status) for r in records if r.name == "joinder.access"]  # type: ignore[attr-defined]


async def test_a_request_id_is_taken_over_or_made(anonymous: httpx.AsyncClient) -> None:
    given = await anonymous.get("/health/live", headers={"x-request-id": "from-the-proxy.1"})
    assert given.headers["x-request-id"] == "from-the-proxy.1"
    made = {(await anonymous.get("/health/live")).headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3


@pytest.mark.parametrize("bad", ["", "short", "x" * 65, 'quote"quote', "white space", "new%0aline;", "token=abcdefgh"])
async def test_an_id_that_cannot_stand_in_a_log_is_replaced(anonymous: httpx.AsyncClient, bad: str) -> None:
    answer = await anonymous.get("/nowhere", headers={"x-request-id": bad})
    assert answer.status_code == 404
    assert len(answer.headers["x-request-id"]) == 24
    assert answer.headers["x-request-id"] not in answer.text


async def test_a_line_names_the_route_and_neither_path_nor_query(
    caplog: pytest.LogCaptureFixture, tenant: Tenant, browser: httpx.AsyncClient, hub: Hub
) -> None:
    await connect_site(tenant.api, browser)
    caplog.set_level(logging.INFO, "joinder.access")
    caplog.clear()
    await tenant.api.get("/sites/site-canarycanarycana")
    await tenant.api.get("/sites/site-canarycanarycana?secret=canary-query")
    await tenant.api.get("/join/sessions/canary-session-token")
    await tenant.api.post("/canary-path")
    await tenant.api.request("CANARY", "/sites")
    assert lines(caplog.records) == [
        ("GET", "/sites/{site_id}", 404),
        ("GET", "/sites/{site_id}", 400),
        ("GET", "/join/sessions/{token}", 400),
        ("POST", "none", 404),
        ("other", "none", 405),
    ]
    assert "canary" not in str([vars(record) for record in caplog.records]).lower()
    assert counted(hub, "/sites/{site_id}", "GET", "4xx") == 2
    assert counted(hub, "none", "POST", "4xx") == 1


async def test_a_line_says_whose_request_it_was(tenant: Tenant) -> None:
    with json_lines("joinder.access") as lines:
        await tenant.api.get("/sites", headers={"x-request-id": "mine-1234"})
    (line,) = lines
    assert line.pop("duration_ms") >= 0
    line.pop("timestamp")
    assert line == {
        "level": "INFO",
        "logger": "joinder.access",
        "event": "GET /sites: 200",
        "request_id": "mine-1234",
        "account_id": tenant.account_id,
        "method": "GET",
        "route": "/sites",
        "status": 200,
    }


async def test_a_request_is_a_span_without_path_or_query(api: httpx.AsyncClient) -> None:
    exporter = InMemorySpanExporter()
    with tracing_to(exporter):
        await api.get("/sites/site-canarycanarycana?secret=canary")
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET /sites/{site_id}"
    assert dict(span.attributes or {}) == {"joinder.status": 400}
    assert "canary" not in span.to_json()


async def test_health_checks_that_work_are_not_told(
    anonymous: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "joinder.access")
    for path in ("/health/live", "/health/ready", "/metrics"):
        await anonymous.get(path)
    assert lines(caplog.records) == [("GET", "/metrics", 404)]


async def test_paths_and_methods_add_no_series(anonymous: httpx.AsyncClient, hub: Hub) -> None:
    async def ask(number: int) -> None:
        await anonymous.get(f"/sites/site-{number:016d}")
        await anonymous.request(f"METHOD{number}", f"/nowhere/{number}")

    def series() -> int:
        return sum(len(list(family.samples)) for family in hub.metrics.registry.collect())

    await ask(0)
    few = series()
    for number in range(1, 200):
        await ask(number)
    assert series() == few


async def test_without_a_token_file_there_is_no_page(anonymous: httpx.AsyncClient, tenant: Tenant) -> None:
    """Although the client comes from 127.0.0.1, as everybody behind a proxy does."""
    for client in (anonymous, tenant.api):
        assert (await client.get("/metrics")).status_code == 404


async def test_the_page_is_for_who_holds_the_token(
    app: Litestar, anonymous: httpx.AsyncClient, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.state, "metrics_token", Secrets({"metrics token": TOKEN}), raising=False)
    for header in (None, f"Basic {TOKEN}", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer é"):
        headers = {b"authorization": header.encode()} if header else {}
        assert (await anonymous.get("/metrics", headers=headers)).status_code == 401, header  # type: ignore[arg-type]
    assert (await tenant.api.get("/metrics")).status_code == 401
    page = await anonymous.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'joinder_api_requests_total{method="GET",route="/metrics",status="4xx"}' in page.text
    assert TOKEN not in page.text


async def test_the_page_names_no_account_and_no_row(
    app: Litestar,
    tenant: Tenant,
    browser: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = await connect_site(tenant.api, browser)
    monkeypatch.setattr(app.state, "metrics_token", Secrets({"metrics token": TOKEN}), raising=False)
    page = (await anonymous.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})).text
    assert 'joinder_enrollments{health="ok",vendor="sunny"} 1.0' in page
    for part in (tenant.account_id, str(site), "enrl-", "site-", "cred-", "http"):
        assert part not in page.replace("http_", "")


@pytest.mark.parametrize("content", [None, b"short", b"\xff" * 30, "ü".encode() * 30])
def test_a_token_file_that_cannot_work_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="JOINDER_METRICS_TOKEN_FILE"):
        read_metrics_token(Settings(metrics_token_file=str(path)))


def test_a_token_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    token = read_metrics_token(Settings(metrics_token_file=str(tmp_path / "token")))
    assert token is not None
    assert token["metrics token"] == TOKEN
    assert TOKEN not in repr(token)
