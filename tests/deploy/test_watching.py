"""Alert rules and dashboard: expressions that parse, over metrics that the API serves, explained in the docs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.metrics import Metrics
from storage.database import Database
from tests.deploy.files import DEPLOY, ROOT, documents

RULES: list[dict[str, Any]] = documents(DEPLOY / "prometheus/alerts.yaml")[0]["groups"][0]["rules"]
DASHBOARD = json.loads((DEPLOY / "grafana/burnish.json").read_text())
PROMETHEUS_OWN = {"up", "ALERTS"}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[Any]:
    """Every expression, as Prometheus would get it."""
    for rule in RULES:
        yield pytest.param(rule["expr"], id=rule["alert"])
    for panel in panels():
        for target in panel["targets"]:
            yield pytest.param(target["expr"].replace("$__rate_interval", "5m"), id=panel["title"])
    for note in DASHBOARD["annotations"]["list"]:
        yield pytest.param(note["expr"], id=note["name"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of all metrics and series that an API process serves."""
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('metrics') / 'burnish.sqlite'}")
    database.migrate()
    families = list(text_string_to_metric_families(Metrics(database).text().decode()))
    database.close()
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    series = {
        family.name + suffix
        for family in families
        if family.type == "histogram"
        for suffix in ("_bucket", "_count", "_sum")
    }
    return names | series


@pytest.mark.parametrize("expression", list(expressions()))
def test_an_expression_parses_and_asks_for_metrics_that_there_are(expression: str, served: set[str]) -> None:
    promql_parser.parse(expression)
    asked = set(re.findall(r"\bburnish_\w+", expression)) | PROMETHEUS_OWN & set(re.findall(r"\w+", expression))
    assert asked
    assert asked <= served | PROMETHEUS_OWN


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["alert"]) for rule in RULES])
def test_an_alert_says_how_urgent_it_is_and_what_happened(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Burnish")
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"].keys() == {"summary", "description"}


def test_the_page_of_operations_explains_each_alert_and_no_other() -> None:
    page = (ROOT / "docs/operating.md").read_text()
    explained = re.findall(r"^\| `(Burnish\w+)`", page, re.MULTILINE)
    assert sorted(explained) == sorted(rule["alert"] for rule in RULES)


def test_each_alert_is_fired_in_the_rules_own_tests() -> None:
    tests = Path(DEPLOY / "prometheus/alerts_test.yaml").read_text()
    for rule in RULES:
        assert rule["alert"] in tests, rule["alert"]


def test_panels_don_t_overlap_and_take_the_chosen_source() -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
    sources = {panel["datasource"]["uid"] for panel in panels()}
    assert sources == {"${datasource}"}
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "queue"]
