"""Checking recipes: every fault with its place and its line, nothing stored, and YAML without surprises."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from api.recipe_text import RecipeText, written
from burnish.recipe import Recipe
from tests.api.place import Place, dataset_bytes

SOUND = """\
goal: {max_drop: 0.5%}
passes:
  - prune: {ratio: 0.5}
  - quantize: {}
"""


def check(client: FlaskClient, **question: Any) -> dict[str, Any]:
    response = client.post("/v1/recipes/check", json=question)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json
    return answer


def test_a_sound_recipe_comes_back_as_data_and_as_yaml(place: Place) -> None:
    place.worker()
    answer = check(place.client, yaml=SOUND)
    assert answer["faults"] == []
    assert answer["yaml"] == SOUND
    assert answer["recipe"] == {
        "goal": {"max_drop": "0.5%"}, "passes": [{"prune": {"ratio": 0.5}}, {"quantize": {}}],
    }  # fmt: skip
    assert check(place.client, recipe=answer["recipe"])["yaml"] == SOUND


def test_yaml_may_be_the_body_itself(place: Place) -> None:
    place.worker()
    response = place.client.post("/v1/recipes/check?model=net", data=SOUND, content_type="application/yaml")
    assert [fault["where"] for fault in response.json["faults"]] == ["/model"]


def test_each_fault_has_its_place_its_line_and_what_to_do(place: Place) -> None:
    place.worker()
    text = "passes:\n  - quantize: {}\n  - prune:\n      ratio: 7\n      depth: 1\ntarget: {threads: 0}\n"
    faults = check(place.client, yaml=text)["faults"]
    assert {(fault["where"], fault["line"]) for fault in faults} == {
        ("/passes/1/prune/ratio", 4), ("/passes/1/prune/depth", 5), ("/passes/1", 3), ("/target/threads", 6),
    }  # fmt: skip
    assert all(fault["message"] and fault["cure"] for fault in faults)


def test_a_device_that_nobody_serves_is_a_fault(client: FlaskClient) -> None:
    (fault,) = check(client, recipe={"target": {"device": "abacus"}})["faults"]
    assert (fault["where"], fault["line"]) == ("/target/device", 1)


def test_with_model_and_dataset_named_it_says_what_a_job_would_be_refused_for(place: Place, model_bytes: bytes) -> None:
    place.worker()
    model, dataset = place.upload(model_bytes, dataset_bytes(labelled=False))
    recipe = {"goal": {"max_size": 10}, "passes": ["quantize"], "target": {"batch": 1000}}
    alone = check(place.client, recipe=recipe)
    assert alone["faults"] == []
    placed = check(place.client, recipe=recipe, model=model, dataset=dataset)
    assert {"/goal/max_size", "/target/batch"} <= {fault["where"] for fault in placed["faults"]}
    job = {"model": model, "dataset": dataset, "recipe": recipe}
    refused = place.client.post("/v1/jobs", json=job).json
    assert [fault["where"] for fault in refused["faults"]] == [f"/recipe{fault['where']}" for fault in placed["faults"]]


def test_a_model_that_is_not_there_is_a_fault_and_not_a_404(place: Place) -> None:
    place.worker()
    faults = check(place.client, recipe={}, model="nobody", dataset="nothing")["faults"]
    assert [fault["where"] for fault in faults] == ["/model", "/dataset"]


def test_nothing_is_stored(place: Place) -> None:
    place.worker()
    check(place.client, yaml=SOUND)
    assert place.client.get("/v1/jobs").json["items"] == []
    assert place.bell.rung == []


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("goal: {max_drop: 1%\npasses: []\n", 2, "line 2"),
        ("a: &x [1]\nb: *x\n", 1, "anchors"),
        ("goal: {}\ngoal: {}\n", 2, "twice"),
        ("1: 2\n", 1, "text"),
        ("goal: !!python/object/apply:os.system [ls]\n", 1, "python"),
        ("[" * 30 + "]" * 30, 1, "deep"),
        ("x" * 200_000, None, "longer"),
    ],
)
def test_yaml_that_json_could_not_say_is_refused_with_its_line(
    client: FlaskClient, text: str, line: int | None, reason: str
) -> None:
    answer = check(client, yaml=text)
    assert answer["recipe"] is None
    assert answer["yaml"] == text
    (fault,) = answer["faults"]
    assert fault["line"] == line
    assert reason in fault["message"]


def test_a_date_is_text_like_in_json() -> None:
    assert RecipeText("a: 2026-01-01").document == {"a": "2026-01-01"}


def test_nothing_at_all_is_the_empty_recipe(place: Place) -> None:
    place.worker()
    assert check(place.client, yaml="# later\n") == {"recipe": {}, "yaml": "# later\n", "faults": []}
    assert check(place.client) == {"recipe": None, "yaml": "", "faults": []}


@pytest.mark.parametrize("document", [3, "text", [1], None])
def test_what_is_no_mapping_is_a_fault(place: Place, document: Any) -> None:
    place.worker()
    faults = check(place.client, recipe=document)["faults"]
    assert bool(faults) == (document is not None)


def test_what_is_written_is_read_again_as_it_was() -> None:
    whole = Recipe.model_validate(RecipeText(SOUND).document).model_dump(mode="json")
    assert RecipeText(written(whole)).document == whole


def test_a_question_that_is_no_question_is_refused(client: FlaskClient) -> None:
    assert client.post("/v1/recipes/check", json={"recipes": {}}).status_code == 422
    assert client.post("/v1/recipes/check", data="x", content_type="text/plain").status_code == 415
    long = client.post("/v1/recipes/check", data="x" * 2**21, content_type="application/yaml")
    assert long.status_code == 400


def test_the_schema_is_there_for_editors(client: FlaskClient) -> None:
    response = client.get("/v1/recipes/schema")
    assert response.json["properties"].keys() == Recipe.model_fields.keys()
    again = client.get("/v1/recipes/schema", headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304
