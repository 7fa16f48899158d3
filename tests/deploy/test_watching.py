"""Alert rules and dashboard: expressions that parse, over metrics that the API serves, explained in the docs."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.metrics import Metrics
from storage.database import Database
from tests.deploy.files import DEPLOY, ROOT, documents

RULES: list[dict[str, Any]] = documents(DEPLOY / "prometheus/alerts.yaml")[0]["groups"][0]["rules"]
TESTS: list[dict[str, Any]] = documents(DEPLOY / "prometheus/alerts_test.yaml")[0]["tests"]
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


def fired(tests: list[dict[str, Any]]) -> set[str]:
    """The alerts that tests for `promtool` expect to fire."""
    found: set[str] = set()
    for test in tests:
        found |= {case["alertname"] for case in test.get("alert_rule_test", ()) if case["exp_alerts"]}
        for case in test.get("promql_expr_test", ()):
            if 'alertstate="firing"' in case["expr"]:
                hits = [sample.get("labels", "") for sample in case["exp_samples"] if sample["value"] > 0]
                asked = hits + [case["expr"]] * bool(hits)
                found |= set(re.findall(r'alertname="(\w+)"', " ".join(asked)))
    return found


def test_each_alert_is_expected_to_fire_in_the_rules_own_tests() -> None:
    assert fired(TESTS) == {rule["alert"] for rule in RULES}


@pytest.mark.parametrize("rule", [rule["alert"] for rule in RULES])
def test_an_alert_that_is_only_named_does_not_count_as_fired(rule: str) -> None:
    quiet = copy.deepcopy(TESTS)
    for test in quiet:
        for case in test.get("promql_expr_test", ()):
            labels = [sample.get("labels", "") for sample in case["exp_samples"]]
            case["exp_samples"] = [
                {**sample, "value": 0} if rule in label or rule in case["expr"] else sample
                for sample, label in zip(case["exp_samples"], labels, strict=True)
            ]
    assert rule not in fired(quiet)


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
