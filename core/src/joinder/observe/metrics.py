"""The figures of one process for Prometheus, counted where things happen. Labels are bounded: never an id, never a URL.

What lies in the tables (ages of due work, healths, budgets) is read when somebody asks: services/admin/gauges.py.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from joinder import errors
from joinder.errors import VendorError

RefreshResult = Literal["renewed", "failed", "refused", "unknown", "overtaken"]
PollResult = Literal["ok", "failed", "skipped"]
RevocationResult = Literal["revoked", "failed", "given_up", "kept"]
DeliveryResult = Literal["delivered", "failed", "given_up"]
BREAKER_STATES = {"closed": 0, "half-opened": 1, "opened": 2}
_DURABLE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0)
_HOOK_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 90.0)
_API_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """One per hub; `registry` is what /metrics prints."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nothing reads
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        self.tally: Tally[tuple[str, str]] = Tally()  # vendor, what; not stored yet
        self._count_work()
        self._count_calls()
        self._gauge_tables()

    def _count_work(self) -> None:
        self._refreshes = self._counter("refresh", "Token exchanges that ended", "vendor", "result")
        self._refreshing = self._gauge("refresh_in_flight", "Token exchanges under way", "vendor")
        self._overruns = self._counter("lease_overruns", "Work that outlived its lease: must stay 0", "kind")
        self._lost = self._counter("lost_in_flight", "Grants lost because an exchange was cut off", "vendor")
        self._durable = self._histogram(
            "time_to_durable_seconds", "From a renewed token's arrival to its commit", _DURABLE_S, "vendor"
        )
        self._polls = self._counter("poll", "Polls that ended", "vendor", "result")
        self._revocations = self._counter("revocations", "Attempts to end a consent at its vendor", "vendor", "result")
        self._joins = self._counter("joins", "Ways of owners through a join, by how they ended", "vendor", "code")
        self._deliveries = self._counter("webhook_deliveries", "Attempts to deliver an event", "result")

    def _count_calls(self) -> None:
        self._calls = self._counter("vendor_calls", "Hook calls by how they ended", "vendor", "outcome")
        self._call_s = self._histogram("vendor_call_seconds", "Duration of hook calls", _HOOK_S, "vendor", "hook")
        self._of_call: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}
        self._requests = self._counter("api_requests", "Requests answered", "route", "method", "status")
        self._request_s = self._histogram("api_request_seconds", "Duration of requests", _API_S, "route", "method")
        self._of_request: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._blocked = self._counter("plugin_blocked", "Plugins that stopped the whole process", "vendor")
        self._refused = self._counter(
            "readings_refused", "Values, rows and devices of answers that were not taken", "vendor", "rule"
        )

    def _gauge_tables(self) -> None:
        self.refresh_due_age = self._gauge("refresh_due_age_seconds", "Age of the oldest overdue renewal", "vendor")
        self.due_age = self._gauge("due_age_seconds", "Age of the oldest overdue work", "kind")
        self.enrollments = self._gauge("enrollments", "Enrollments by health", "vendor", "health")
        self.breaker_state = self._gauge("breaker_state", "0 closed, 1 half open, 2 open", "vendor", "hook")
        self.quota_left = self._gauge("quota_left_ratio", "Least left of a call budget, over apps", "vendor", "span")
        self.store_up = self._gauge("store_up", "1 when the tables could be read for this page, else 0")
        self.tokens_unsaved = self._gauge("tokens_unsaved", "New tokens this process holds and could not store yet")
        self.clock_skew = self._gauge("clock_skew_seconds", "Vendor's clock less ours, the largest seen", "vendor")

    def refreshing(self, vendor: str) -> AbstractContextManager[object]:
        """Measures around one token exchange."""
        return self._refreshing.labels(vendor).track_inprogress()

    def refreshed(self, vendor: str, result: RefreshResult) -> None:
        """Counts a refresh; overtaken: another process, or a newer consent, was first."""
        self._refreshes.labels(vendor, result).inc()
        if result != "overtaken":
            self.tally[vendor, "refreshed" if result == "renewed" else "failed"] += 1

    def made_durable(self, vendor: str, seconds: float) -> None:
        self._durable.labels(vendor).observe(seconds)

    def lease_overrun(self, kind: str) -> None:
        self._overruns.labels(kind).inc()

    def lost_in_flight(self, vendor: str) -> None:
        self._lost.labels(vendor).inc()

    def polled(self, vendor: str, result: PollResult) -> None:
        self._polls.labels(vendor, result).inc()
        if result != "skipped":
            self.tally[vendor, "polled" if result == "ok" else "failed"] += 1

    def revoked(self, vendor: str, result: RevocationResult) -> None:
        """Counts a revocation; failed: tried again later. kept: another enrollment lives on it."""
        self._revocations.labels(vendor, result).inc()

    def joined(self, vendor: str, code: str) -> None:
        """Counts an end, one of services/join/join_ends.py."""
        self._joins.labels(vendor, code).inc()

    def delivered(self, result: DeliveryResult) -> None:
        self._deliveries.labels(result).inc()

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts one request; `route` is the template, `status` becomes its class such as 2xx."""
        key = route, method, status // 100
        if key not in self._of_request:
            counted = self._requests.labels(route, method, f"{status // 100}xx")
            self._of_request[key] = counted, self._request_s.labels(route, method)
        ended, took = self._of_request[key]
        ended.inc()
        took.observe(seconds)

    def calling(self, vendor: str, hook: str) -> AbstractContextManager[object]:
        """Measures around one hook call (vendors/registry.py)."""
        return _Call(self, vendor, hook)

    def blocked(self, vendor: str) -> None:
        self._blocked.labels(vendor).inc()

    def refused(self, vendor: str, rule: str, count: int) -> None:
        """Counts what the gate left out of an answer (vendors/gate/rules.py)."""
        self._refused.labels(vendor, rule).inc(count)

    def called(self, vendor: str, hook: str, result: str, seconds: float) -> None:
        key = vendor, hook, result
        if key not in self._of_call:  # looking labels up costs more than all the rest of a call
            self._of_call[key] = self._calls.labels(vendor, result), self._call_s.labels(vendor, hook)
        ended, took = self._of_call[key]
        ended.inc()
        took.observe(seconds)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"joinder_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"joinder_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"joinder_{name}", text, labels, buckets=buckets, registry=self.registry)


class _Call:
    """A class, not a generator: it runs around every hook call."""

    __slots__ = ("_began", "_hook", "_metrics", "_vendor")

    def __init__(self, metrics: Metrics, vendor: str, hook: str) -> None:
        self._metrics = metrics
        self._vendor = vendor
        self._hook = hook

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        self._metrics.called(self._vendor, self._hook, outcome(error), time.perf_counter() - self._began)


def outcome(error: BaseException | None) -> str:
    """Says ok, the problem's name of the nearest class in errors.py, or cancelled: a plugin's own classes add none."""
    if error is None:
        return "ok"
    if isinstance(error, VendorError):
        nearest = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
        return str(nearest.__dict__.get("problem", VendorError.problem))
    return "cancelled"
