"""Spans when somebody collects them; otherwise not even an import."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from core.conftest import InstallPlugin
from joinder.errors import PluginBug
from joinder.grants import Grant
from joinder.observe import tracing
from joinder.observe.tracing import exporting, rename, span, tracing_to
from joinder.redact import Secrets
from joinder.vendors.registry import Registry

CANARY = "canary-span-7f3a91"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def attributes(seen: ReadableSpan) -> dict[str, object]:
    return dict(seen.attributes or {})


def test_without_an_endpoint_nothing_is_imported() -> None:
    code = (
        "import sys; from joinder.observe import tracing\n"
        "with tracing.exporting({}), tracing.span('job', kind='poll') as span: assert span is None\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not [name for name in done.stdout.split() if name.startswith("opentelemetry")]


def test_an_endpoint_without_the_packages_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with caplog.at_level(logging.WARNING), exporting({ENDPOINT: "http://127.0.0.1:4318"}), span("job") as current:
        assert current is None
    assert "joinder[otel]" in caplog.text


def test_spans_nest_and_hold_no_secret() -> None:
    held = Secrets({"a": CANARY})
    exporter = InMemorySpanExporter()
    with tracing_to(exporter):
        with pytest.raises(ValueError, match="canary"), span("request") as outer:  # noqa: PT012 - spans end in order
            with span("hook refresh", vendor="sunny", enrollment_id=f"enrl {CANARY}"):
                pass
            rename(outer, "GET /sites", status=200)
            raise ValueError(held["a"])
        assert span("x") is not tracing._NOTHING
    inner, request = exporter.get_finished_spans()
    assert inner.parent is not None
    assert request.context is not None
    assert inner.parent.span_id == request.context.span_id
    assert attributes(inner)["joinder.vendor"] == "sunny"
    assert (request.name, attributes(request)["joinder.status"]) == ("GET /sites", 200)
    assert request.status.description == "ValueError"
    assert CANARY not in inner.to_json() + request.to_json()
    assert span("x") is tracing._NOTHING


async def test_a_hook_call_is_a_span(install_plugin: InstallPlugin) -> None:
    broken = f"""
    @hookimpl
    async def fetch_site(ctx, grant, site_id):
        raise RuntimeError("{CANARY}")
    """
    registry = Registry.load(found=[install_plugin("acme", more=broken)])
    exporter = InMemorySpanExporter()
    with tracing_to(exporter), pytest.raises(PluginBug):
        await registry.fetch_site("acme", None, Grant(secrets=Secrets({})), "site-secret")  # type: ignore[arg-type]
    (seen,) = exporter.get_finished_spans()
    assert seen.name == "hook fetch_site"
    assert attributes(seen) == {"joinder.vendor": "acme", "joinder.hook": "fetch_site"}
    assert seen.status.description == "PluginBug"
    assert CANARY not in seen.to_json()
