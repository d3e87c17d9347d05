"""OpenTelemetry spans, for those who collect them: nothing is imported, and a span costs nothing, until `exporting`.

A span holds methods, route templates, vendors, hooks, job kinds and enrollment ids. No URL, no exception's text.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from joinder.redact import redact

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_NOTHING: AbstractContextManager[None] = nullcontext()
_tracer: Tracer | None = None
log = logging.getLogger("joinder.tracing")


@contextmanager
def exporting(env: Mapping[str, str] | None = None) -> Iterator[None]:
    """Sends spans where the standard variables say, while it lasts; without them, or the packages, does nothing."""
    if not any((os.environ if env is None else env).get(name) for name in _ENDPOINTS):
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        log.warning("%s is set, but OpenTelemetry is not installed: pip install 'joinder[otel]'", _ENDPOINTS[0])
        yield
        return
    with tracing_to(OTLPSpanExporter()):
        yield


@contextmanager
def tracing_to(exporter: SpanExporter) -> Iterator[None]:
    """Traces while the block runs; what is not sent yet is sent at its end."""
    global _tracer
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME", "joinder")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = provider.get_tracer("joinder")
    try:
        yield
    finally:
        _tracer = None
        provider.shutdown()


def span(name: str, **attributes: str) -> AbstractContextManager[Any]:
    """Spans a request, a hook call or a job: `span("job", kind="poll", enrollment_id=…)`."""
    return _NOTHING if _tracer is None else _span(_tracer, name, attributes)


def rename(current: Span | None, name: str, **attributes: str | int) -> None:
    """Tells a span what is known only at the end, such as the route."""
    if current is not None:
        current.update_name(name)
        current.set_attributes({f"joinder.{key}": value for key, value in attributes.items()})


@contextmanager
def _span(tracer: Tracer, name: str, attributes: Mapping[str, str]) -> Iterator[Span]:
    from opentelemetry.trace import StatusCode

    cleaned = {f"joinder.{key}": redact(value) for key, value in attributes.items()}
    with tracer.start_as_current_span(
        name, attributes=cleaned, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except BaseException as error:
            current.set_status(StatusCode.ERROR, type(error).__name__)
            raise
