"""What is counted, that labels stay few, and that rules and documents name only what exists."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from email.utils import formatdate
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from msgspec import structs
from prometheus_client import CollectorRegistry

from core.conftest import InstallPlugin
from joinder import errors, skew
from joinder.clock import now
from joinder.errors import TransientError, VendorError
from joinder.grants import Grant
from joinder.http import HttpFactory
from joinder.observe.log_context import log_context
from joinder.observe.metrics import Metrics, outcome
from joinder.redact import Secrets
from joinder.runtime.exposition import exposed
from joinder.runtime.hub import Hub, open_hub
from joinder.services.admin.gauges import Gauges
from joinder.services.calls.call_windows import spans
from joinder.services.calls.vendor_context import vendor_context
from joinder.services.records import accounts
from joinder.settings import ConfigError, Settings
from joinder.skew import ClockSkew
from joinder.store.tables import Delivery, Due, Enrollment, Event, Quota, VendorCredentials, WebhookEndpoint
from joinder.trouble import StoreAway
from joinder.vendors.registry import Registry

DOCS = Path(__file__).parents[2] / "docs"
DEPLOY = DOCS.parent / "deploy"
CALLED = re.compile(r"joinder_\w+")
LIMITED = """
VENDOR = Vendor(
    name="sunny", label="sunny", docs_url="https://docs.example", flow=Flow.FORM,
    limits=Limits(poll_every=timedelta(hours=1), calls_per_day=100), capabilities={},
)
"""


@pytest.fixture
def registry(install_plugin: InstallPlugin) -> Registry:
    return Registry.load(found=[install_plugin("sunny", more=LIMITED), install_plugin("cloudy")])


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"joinder_{name}", labels)


def series(registry: CollectorRegistry) -> int:
    return sum(len(list(family.samples)) for family in registry.collect())


def families() -> dict[str, tuple[str, ...]]:
    """Every sample name of ours → its labels."""
    found = {}
    for collector in Metrics().registry._collector_to_names:
        for name in sample_names(collector):
            found[name] = tuple(getattr(collector, "_labelnames", ()))
    return found


def sample_names(collector: Any) -> list[str]:
    name = getattr(collector, "_name", "")
    if not name.startswith("joinder_"):
        return []
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(collector._type, ("",))
    return [name + suffix for suffix in suffixes]


# Hook calls ----------------------------------------------------------------------------------------------------------


async def test_hook_calls_are_counted_by_how_they_end(install_plugin: InstallPlugin) -> None:
    more = """
    class Odd(RateLimited):
        problem = "of-my-own"

    @hookimpl
    async def fetch_site(ctx, grant, site_id):
        if site_id == "bug":
            raise KeyError(site_id)
        if site_id == "odd":
            raise Odd("no")
        return Site(vendor_id=site_id, name="x")
    """
    registry = Registry.load(found=[install_plugin("acme", more=more)])
    registry.observer = metrics = Metrics()
    for site_id in ("one", "two", "bug", "odd"):
        try:
            await registry.fetch_site("acme", None, Grant(secrets=Secrets({})), site_id)  # type: ignore[arg-type]
        except VendorError:
            pass
    counted = {
        name: value(metrics, "vendor_calls_total", vendor="acme", outcome=name)
        for name in ("ok", "plugin-bug", "vendor-rate-limited", "of-my-own")
    }
    assert counted == {"ok": 2, "plugin-bug": 1, "vendor-rate-limited": 1, "of-my-own": None}
    assert value(metrics, "vendor_call_seconds_count", vendor="acme", hook="fetch_site") == 4


def test_every_class_of_failure_has_an_outcome_of_its_own_problem() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, VendorError)]
    assert {outcome(kind("x")) for kind in kinds} == {kind.problem for kind in kinds}
    assert outcome(asyncio.CancelledError()) == "cancelled"


def test_a_plugin_that_blocks_is_counted(registry: Registry) -> None:
    registry.observer = metrics = Metrics()
    module = registry._plugins["sunny"].__name__  # type: ignore[attr-defined]
    registry.note_blocked({module}, 3.0)
    registry.note_blocked({module}, 3.0)
    assert value(metrics, "plugin_blocked_total", vendor="sunny") == 1


# Tables --------------------------------------------------------------------------------------------------------------


async def fill(hub: Hub, count: int, first: int = 0) -> None:
    """`count` enrollments of two vendors, overdue by up to `count` minutes."""
    account = await accounts.create_account(hub, "test")
    async with hub.store.write() as session:
        for number in range(first, first + count):
            health = ("ok", "degraded", "needs_consent")[number % 3]
            row = Enrollment(account_id=account.id, **ids(number), health=health, health_since=now(), created_at=now())
            session.add(row)
        await session.flush()
        for number in range(first, first + count):
            key, app = ids(number).values()
            session.add(Due(kind="refresh", enrollment_id=key, app=app, due_at=now() - 60 * number))
            session.add(Due(kind="poll", enrollment_id=key, app=app, due_at=now() + 1000))


def ids(number: int) -> dict[str, str]:
    return {"id": f"enrl-{number:016d}", "vendor": ("sunny", "cloudy")[number % 2]}


async def test_a_thousand_enrollments_add_no_series(fresh_database: Settings, registry: Registry) -> None:
    async with open_hub(fresh_database, registry) as hub:
        await fill(hub, 12)
        await exercise(hub, 12)
        few = series(hub.metrics.registry)
        await fill(hub, 1000, first=12)
        await exercise(hub, 1000)
        assert value(hub.metrics, "enrollments", vendor="sunny", health="ok") == 169
        assert series(hub.metrics.registry) == few


async def exercise(hub: Hub, count: int) -> None:
    """As the services do for so many enrollments."""
    for number in range(count):
        vendor = ("sunny", "cloudy")[number % 2]
        with log_context(enrollment_id=f"enrl-{number}"), hub.metrics.refreshing(vendor):
            ctx = vendor_context(hub, vendor, None)
            await hub.registry.fetch_site(vendor, ctx, Grant(secrets=Secrets({})), f"site-{number}")
            hub.metrics.refreshed(vendor, "renewed")
            hub.metrics.made_durable(vendor, 0.01 * number)
            hub.metrics.lost_in_flight(vendor)
        hub.metrics.polled(vendor, "ok")
        hub.metrics.lease_overrun("refresh")
        hub.metrics.delivered("failed")
        hub.metrics.answered("/sites/{site_id}", "GET", 200 + number % 2, 0.001)
    await Gauges(hub).page()


async def test_ages_budgets_and_health_come_from_the_tables(fresh_database: Settings, registry: Registry) -> None:
    async with open_hub(fresh_database, registry) as hub:
        await fill(hub, 5)
        await store_app_and_delivery(hub)
        await Gauges(hub).page()
        metrics = hub.metrics
        assert 7200 <= (value(metrics, "refresh_due_age_seconds", vendor="sunny") or 0) < 7300  # the app's own
        assert 180 <= (value(metrics, "refresh_due_age_seconds", vendor="cloudy") or 0) < 280
        assert value(metrics, "due_age_seconds", kind="poll") == 0
        assert 50 <= (value(metrics, "due_age_seconds", kind="delivery") or 0) < 150
        assert value(metrics, "quota_left_ratio", vendor="sunny", span="day") == pytest.approx(0.05)
        assert value(metrics, "quota_left_ratio", vendor="cloudy", span="day") is None  # it declares no limit
        assert value(metrics, "enrollments", vendor="cloudy", health="degraded") == 1
        assert value(metrics, "store_up") == 1


async def store_app_and_delivery(hub: Hub) -> None:
    account = await accounts.create_account(hub, "other")
    (day,) = spans(hub.registry.vendor("sunny").limits, now())
    async with hub.store.write() as session:
        app = VendorCredentials(
            id="cred-1", account_id=account.id, vendor="sunny", type="a", secrets_sealed=b"", created_at=0, updated_at=0
        )
        session.add(app)
        session.add(Quota(app="cred-1", span="day", window=day.start, used=95))
        session.add(Quota(app="sunny", span="day", window=day.start, used=10))
        session.add(Quota(app="cred-1", span="day", window=day.start - 86400, used=100))
        ids = {"account_id": account.id, "id": "e-1"}
        session.add(Event(**ids, enrollment_id="x", type="x", data={}, at=0))
        session.add(
            WebhookEndpoint(**ids, url="https://x.example", types=[], secret_sealed=b"", created_at=0)  # type: ignore[arg-type]
        )
        await session.flush()
        session.add(Delivery(**ids, endpoint_id="e-1", event_id="e-1", created_at=0, due_at=now() - 50))
        session.add(Enrollment(id="enrl-of-app", account_id=account.id, vendor="sunny", health_since=0, created_at=0))
        await session.flush()
        session.add(Due(kind="refresh", enrollment_id="enrl-of-app", app="cred-1", due_at=now() - 7200))


async def test_without_its_database_a_page_still_has_the_rest(
    fresh_database: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_hub(fresh_database, registry) as hub:
        hub.metrics.refreshed("sunny", "renewed")

        async def away(*_: object) -> None:
            raise OSError("away")

        monkeypatch.setattr(hub.store, "scan", away)
        page = (await Gauges(hub).page()).decode()
    assert "joinder_store_up 0.0" in page
    assert 'joinder_refresh_total{result="renewed",vendor="sunny"} 1.0' in page
    assert "joinder_enrollments{" not in page


async def test_pages_in_a_row_read_the_tables_once(
    fresh_database: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_hub(fresh_database, registry) as hub:
        asked: list[str] = []
        scan = hub.store.scan

        async def counted(sql: str, parameters: dict[str, Any]) -> object:
            asked.append(sql)
            return await scan(sql, parameters)

        monkeypatch.setattr(hub.store, "scan", counted)
        gauges = Gauges(hub)
        first = await gauges.page()
        once = len(asked)
        await asyncio.gather(*(gauges.page() for _ in range(20)))
        assert (len(asked), once > 0, first[:6]) == (once, True, b"# HELP")


async def test_an_open_breaker_shows(fresh_database: Settings, registry: Registry) -> None:
    async with open_hub(fresh_database, registry) as hub:
        for _ in range(5):
            with pytest.raises(TransientError):
                async with hub.breakers.calling(hub.registry.vendor("sunny"), "refresh"):
                    raise TransientError("away")
        await Gauges(hub).page()
        assert value(hub.metrics, "breaker_state", vendor="sunny", hook="refresh") == 2


# The port of its own -------------------------------------------------------------------------------------------------


async def fetch(port: int, path: str, headers: str = "") -> tuple[bytes, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = headers or f"Host: 127.0.0.1:{port}"
    writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, body


async def test_metrics_have_a_port_of_their_own(fresh_database: Settings, registry: Registry) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = structs.replace(fresh_database, metrics_port=port)
        async with open_hub(settings, registry) as hub:
            with pytest.raises(ConfigError, match="JOINDER_METRICS_PORT"):
                async with exposed(hub):
                    pass
            taken.close()
            async with exposed(hub):
                head, body = await fetch(port, "/metrics")
                other, _ = await fetch(port, "/")
                page, nothing = await fetch(port, "/metrics", f"Host: 127.0.0.1:{port}\r\nOrigin: https://evil.example")
                rebound, _ = await fetch(port, "/metrics", f"Host: evil.example:{port}")
                long, _ = await fetch(port, "/" + "x" * 40_000)
            assert head.startswith(b"HTTP/1.0 200 OK")
            assert b"joinder_store_up 1.0" in body
            assert b"process_cpu_seconds_total" in body
            assert other.startswith(b"HTTP/1.0 404")
            assert long == b""
            assert (page.split()[1], nothing, rebound.split()[1]) == (b"403", b"", b"403")
            with pytest.raises(OSError, match=r"[Rr]efused|Connect"):
                await fetch(port, "/metrics")


async def test_at_an_address_open_to_others_the_port_wants_the_token(
    fresh_database: Settings, registry: Registry, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    open_to_all = structs.replace(fresh_database, metrics_port=port, metrics_host="0.0.0.0")  # noqa: S104 - as in a container
    async with open_hub(open_to_all, registry) as hub:
        with pytest.raises(ConfigError, match="set JOINDER_METRICS_TOKEN_FILE too"):
            async with exposed(hub):
                pass
    (tmp_path / "token").write_text("x" * 20)
    settings = structs.replace(open_to_all, metrics_token_file=str(tmp_path / "token"))
    async with open_hub(settings, registry) as hub, exposed(hub):
        host = f"Host: joinder-worker:{port}"
        for given, status in (("", b"401"), ("y" * 20, b"401"), ("x" * 20, b"200")):
            head, body = await fetch(port, "/metrics", f"{host}\r\nAuthorization: Bearer {given}")
            assert (head.split()[1], b"joinder_store_up" in body) == (status, status == b"200")
        assert [(await fetch(port, path, host))[0].split()[1] for path in ("/health/live", "/health/ready")] == [
            b"200"
        ] * 2
        hub.readiness = mock.Mock(proved=mock.AsyncMock(side_effect=StoreAway("away")))
        head, body = await fetch(port, "/health/ready", host)
        assert (head.split()[1], body) == (b"503", b"the database does not answer\n")


# The clock -----------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_off_is_told_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, moment = ClockSkew(), 1_800_000_000.0
    monkeypatch.setattr(skew.time, "time", lambda: moment)
    with caplog.at_level(logging.WARNING), log_context(vendor="sunny"):
        for ahead_s in (0, 900, 10, 900):
            seen.note({"date": formatdate(moment + ahead_s, usegmt=True)})
        assert seen.seen() == {"sunny": 900.0}
        assert caplog.text.count("900 s behind") == 2  # it was right in between
        seen.note({"date": formatdate(moment + 900, usegmt=True)})
        assert caplog.text.count("900 s behind") == 2
        moment += skew.KEPT_S + 1
        seen.note({"date": formatdate(moment - 5, usegmt=True)})
    assert seen.seen() == {"sunny": -4.0}


@pytest.mark.parametrize(
    "headers", [{}, {"date": ""}, {"date": "yesterday"}, {"date": "Mon, 99 Xyz 99999 00:00:00"}, {"age": "7"}]
)
def test_what_says_nothing_of_a_clock_is_passed_over(headers: dict[str, str]) -> None:
    seen = ClockSkew()
    with log_context(vendor="sunny"):
        seen.note({"date": formatdate(0, usegmt=True), **headers} if "age" in headers else headers)
    seen.note({"date": formatdate(0, usegmt=True)})  # outside of a hook call nobody knows whose it is
    assert seen.seen() == {}


async def test_answers_of_vendors_are_looked_at(serve: Any) -> None:
    late = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ndate: Tue, 15 Nov 1994 08:12:31 GMT\r\n\r\n{}"
    server = await serve(late.encode())
    http = HttpFactory(reroute={"api.vendor.example": f"http://127.0.0.1:{server.port}"})
    with log_context(vendor="sunny"):
        await http.vendor(("api.vendor.example",)).request("GET", "https://api.vendor.example/x")
    assert http.skew.seen()["sunny"] < -(10**8)
    await http.close()


# Rules and documents -------------------------------------------------------------------------------------------------


def rules() -> list[dict[str, Any]]:
    return [
        rule
        for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    ]


def test_rules_are_whole() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) >= 12
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "action", "runbook"}
        assert re.fullmatch(r"\d+m", rule.get("for", "1m"))
        assert rule["expr"].count("(") == rule["expr"].count(")")


def test_rules_use_series_and_labels_that_exist() -> None:
    known = families()
    for rule in rules():
        expression = rule["expr"]
        used = CALLED.findall(expression)
        assert used, rule
        assert set(used) <= set(known), rule
        labels = {label for name in used for label in known[name]} | {"le", "instance"}
        asked = re.findall(r"(\w+)(?:=~|!=|!~|=)\"", expression)
        grouped = [
            name.strip() for part in re.findall(r"(?:by|on) \(([^)]*)\)", expression) for name in part.split(",")
        ]
        assert {*asked, *grouped} <= labels, rule
        shown = re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))
        assert set(shown) <= set(grouped), rule
        for name, selector in re.findall(r"(joinder_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)(?:=~|!=|!~|=)\"", selector)) <= set(known[name]), rule


def test_every_figure_is_documented_with_its_labels_and_no_other() -> None:
    rows = re.findall(r"^\| `(joinder_\w+)(?:\{([\w,]+)\})?` \|", (DOCS / "operate.md").read_text(), re.M)
    documented = {name: tuple(labels.split(",")) if labels else () for name, labels in rows}
    ours = {name.removesuffix("_bucket"): labels for name, labels in families().items() if "_count" not in name}
    assert documented == {name: labels for name, labels in ours.items() if not name.endswith("_sum")}
