"""Prometheus metrics: requests as they are served, jobs and computations from SQL at the moment of the scrape."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from apiflask import APIFlask
from flask import Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from sqlalchemy import Select, func, select
from sqlalchemy.sql.expression import FromClause

from burnish.errors import BurnishError
from storage.database import Database, Transaction
from storage.tables import computations, jobs, workers

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_STATES = {
    "jobs": ("queued", "running", "canceling", "succeeded", "failed", "canceled"),
    "computations": ("ready", "leased", "done", "failed", "canceled"),
}


class Metrics:
    """Those of one app."""

    def __init__(self, database: Database) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Rows(database))
        labels = ("method", "route")
        self._requests = Counter(
            "burnish_requests_total", "Requests answered.", (*labels, "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "burnish_request_seconds", "Time until the answer began.", labels, registry=self._registry
        )

    def install(self, app: APIFlask) -> None:
        """Counts every request of the app."""
        app.before_request(_begin)
        app.after_request(self._count)

    def text(self) -> bytes:
        """All of them, in the text format of Prometheus."""
        return bytes(generate_latest(self._registry))

    def _count(self, response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "none"  # not the path: its values are without end
        self._requests.labels(request.method, route, str(response.status_code)).inc()
        if "began" in g:
            self._seconds.labels(request.method, route).observe(time.monotonic() - g.began)
        return response


def _begin() -> None:
    g.began = time.monotonic()


class _Rows(Collector):
    """Counts rows by state. If SQL is away, there are none of these, and the rest is served all the same."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            with self._database.read() as tx:
                yield _by_state(tx, "jobs", jobs)
                yield _by_state(tx, "computations", computations)
                live = select(func.count()).select_from(workers).where(workers.c.seen_at >= tx.now - 60.0)
                yield GaugeMetricFamily("burnish_workers", "Live workers.", value=int(tx.execute(live).scalar_one()))
        except BurnishError:
            return


def _by_state(tx: Transaction, name: str, table: FromClause) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"burnish_{name}", f"{name.capitalize()} by state.", labels=("state",))
    counted: Select[Any] = select(table.c.state, func.count().label("rows")).group_by(table.c.state)
    found = {row.state: int(row.rows) for row in tx.execute(counted)}
    for state in _STATES[name]:
        family.add_metric((state,), found.get(state, 0))
    return family
