"""Prometheus metrics: what this process does as it does it, and the whole service from SQL at the moment of a scrape.

`docs/metrics.md` explains each; a test compares.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from apiflask import APIFlask
from flask import Response, g, request
from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from burnish.errors import BurnishError
from storage.counters import BOUNDS
from storage.database import Database
from storage.figures import Durations, Figures, figures

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

disable_created_metrics()  # type: ignore[no-untyped-call]  # doubles the lines, for a format that few read
_QUICK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
Family = GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily


class Metrics:
    """Those of one app."""

    def __init__(self, database: Database) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Service(database))
        self._requests = Histogram(
            "burnish_http_request_seconds",
            "Time until an answer began.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._store = Histogram(
            "burnish_store_seconds",
            "Time of a call of the blob store by this process.",
            ("operation",),
            buckets=_SLOW,
            registry=self._registry,
        )
        self._sql = Histogram(
            "burnish_sql_seconds", "Time of a statement of this process.", buckets=_QUICK, registry=self._registry
        )

    def install(self, app: APIFlask) -> None:
        """Counts every request of the app."""
        app.before_request(_begin)
        app.after_request(self._count)

    def stored(self, operation: str, seconds: float) -> None:
        """A call of the blob store took so long."""
        self._store.labels(operation).observe(seconds)

    def asked(self, seconds: float) -> None:
        """A statement took so long."""
        self._sql.observe(seconds)

    def text(self) -> bytes:
        """All of them, in the text format of Prometheus."""
        return bytes(generate_latest(self._registry))

    def _count(self, response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "none"  # not the path: its values are without end
        method = request.method if request.url_rule else "none"  # nor a method that somebody made up
        if "began" in g:
            labels = self._requests.labels(route, method, str(response.status_code))
            labels.observe(time.monotonic() - g.began)
        return response


def _begin() -> None:
    g.began = time.monotonic()


class _Service(Collector):
    """If SQL is away there are none of these, and the rest is served all the same."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Family]:
        try:
            with self._database.read() as tx:
                found = figures(tx)
        except BurnishError:
            yield GaugeMetricFamily("burnish_sql_up", "Whether the database answered this scrape.", value=0)
            return
        yield GaugeMetricFamily("burnish_sql_up", "Whether the database answered this scrape.", value=1)
        yield from _gauges(found)
        yield from _counters(found)
        yield _durations("burnish_step_seconds", "Time of steps that were done.", "op", found.step_seconds)
        calls = "Time of calls of SQL and the blob store by workers."
        yield _durations("burnish_worker_call_seconds", calls, "call", found.worker_calls)
        late = "How late jobs of schedules were made."
        yield _durations("burnish_schedule_lateness_seconds", late, "cause", found.firing_lateness)


def _gauges(found: Figures) -> Iterator[Family]:
    yield _by_label(GaugeMetricFamily("burnish_jobs", "Jobs by state.", labels=("state",)), found.jobs)
    computations = GaugeMetricFamily("burnish_computations", "Computations.", labels=("state", "queue"))
    for labels, value in found.computations.items():
        computations.add_metric(labels, value)
    yield computations
    oldest = "How long the oldest ready computation has been waiting."
    yield _by_label(GaugeMetricFamily("burnish_queue_age_seconds", oldest, labels=("queue",)), found.queue_age)
    serving = "Live workers by the queue they serve."
    yield _by_label(GaugeMetricFamily("burnish_workers", serving, labels=("queue",)), found.workers)
    overdue = "How late the schedule is that has been due the longest."
    yield GaugeMetricFamily("burnish_schedule_overdue_seconds", overdue, value=found.overdue)
    waiting = "How long the oldest delivery to an enabled webhook has been on its way."
    yield GaugeMetricFamily("burnish_webhook_age_seconds", waiting, value=found.delivery_age)


def _counters(found: Figures) -> Iterator[Family]:
    yield CounterMetricFamily("burnish_cache_hits", "Steps read from the cache.", value=found.cache_hits)
    yield CounterMetricFamily("burnish_cache_misses", "Steps not in the cache.", value=found.cache_misses)
    yield CounterMetricFamily("burnish_lease_losses", "Leases that lapsed.", value=found.lease_losses)
    retries = {name: found.step_retries.get(name, 0.0) for name in ("user", "resource", "internal")}
    again = "Attempts that failed and are made again."
    yield _by_label(CounterMetricFamily("burnish_step_retries", again, labels=("class",)), retries)
    due = "Times that schedules were due."
    yield _by_label(CounterMetricFamily("burnish_schedule_firings", due, labels=("outcome",)), found.firings)
    ended = "Deliveries that ended."
    yield _by_label(CounterMetricFamily("burnish_webhook_deliveries", ended, labels=("outcome",)), found.deliveries)
    failed = "Attempts at a delivery that failed and are made again."
    yield CounterMetricFamily("burnish_webhook_retries", failed, value=found.delivery_retries)


def _by_label(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, float]) -> Family:
    for label, value in values.items():
        family.add_metric((label,), value)
    return family


def _durations(name: str, help: str, label: str, found: Mapping[str, Durations]) -> Family:
    family = HistogramMetricFamily(name, help, labels=(label,))
    bounds = [*map(str, BOUNDS), "+Inf"]
    for each, told in found.items():
        family.add_metric((each,), list(zip(bounds, told.buckets, strict=True)), told.seconds)
    return family
