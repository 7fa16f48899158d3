"""What is checked before a job is accepted, fault by fault."""

from __future__ import annotations

from typing import Any

import pytest

from api.submission import check
from burnish.errors import Fault, InvalidSpec
from storage import models
from tests.api.place import Place, dataset_bytes


@pytest.fixture
def ready(guarded: Place, model_bytes: bytes) -> Place:
    """A worker, a model of 20 features (batches up to 256, class scores) and 40 labelled samples."""
    guarded.worker()
    guarded.client.environ_base["HTTP_AUTHORIZATION"] = "Bearer secret"
    guarded.upload(model_bytes)
    return guarded


def faults(place: Place, recipe: Any = None, **document: Any) -> dict[str, Fault]:
    with place.database.read() as tx, pytest.raises(InvalidSpec) as caught:
        check(tx, {"model": "net", "dataset": "samples", "recipe": recipe or {}, **document})
    return {fault.where: fault for fault in caught.value.faults}


def test_a_sound_job_comes_with_what_it_refers_to(ready: Place) -> None:
    with ready.database.read() as tx:
        order = check(tx, {"model": "net:1", "dataset": "samples"})
    assert (order.model.name, order.dataset.name, order.spec.priority) == ("net", "samples", 5)


def test_missing_members_are_named(ready: Place) -> None:
    with ready.database.read() as tx, pytest.raises(InvalidSpec) as caught:
        check(tx, {})
    assert {fault.where for fault in caught.value.faults} == {"/model", "/dataset"}


def test_members_of_the_wrong_kind_are_named(ready: Place) -> None:
    assert set(faults(ready, model=3, dataset=None, priority=10)) == {"/model", "/dataset", "/priority"}
    assert set(faults(ready, recipe="prune")) == {"/recipe"}
    assert set(faults(ready, recipe=[1])) == {"/recipe"}


def test_a_device_that_no_live_worker_serves_is_refused_and_those_that_are_served_named(ready: Place) -> None:
    fault = faults(ready, {"target": {"device": "cuda"}})["/recipe/target/device"]
    assert "cpu" in fault.message
    assert "BURNISH_QUEUES=cuda" in fault.cure


def test_a_backend_that_makes_nothing_for_the_device_is_refused(ready: Place) -> None:
    ready.worker("cuda")
    ready.worker("npu")
    fault = faults(ready, {"target": {"device": "cuda", "backend": "openvino"}})["/recipe/target/backend"]
    assert fault.message == "`openvino` makes no artifact for 'cuda'."
    assert fault.cure == "Use inductor or eager."
    fault = faults(ready, {"target": {"device": "npu"}})["/recipe/target/backend"]
    assert fault.cure == "Use the device cpu or cuda."


def test_a_worker_that_gave_no_sign_of_life_serves_nothing(ready: Place) -> None:
    from sqlalchemy import update

    from storage.tables import workers

    with ready.database.begin() as tx:
        tx.execute(update(workers).values(seen_at=tx.now - 61))
    assert "nothing" in faults(ready)["/recipe/target/device"].message


def test_an_unknown_backend_is_refused(ready: Place) -> None:
    assert set(faults(ready, {"target": {"backend": "tensorrt"}})) == {"/recipe/target/backend"}


def test_a_batch_that_the_model_does_not_take_is_refused_with_and_without_the_dataset(ready: Place) -> None:
    recipe = {"target": {"batch": 257}}
    assert "256" in faults(ready, recipe)["/recipe/target/batch"].message
    assert set(faults(ready, recipe, dataset="other")) == {"/recipe/target/batch", "/dataset"}


def test_a_dataset_that_does_not_fit_the_model_is_refused(ready: Place) -> None:
    ready.client.post("/v1/datasets?name=wide", data=dataset_bytes(features=21))
    assert any(where.startswith("/dataset") for where in faults(ready, dataset="wide"))


def test_faults_of_the_target_show_beside_those_of_the_recipe(ready: Place) -> None:
    found = faults(ready, {"target": {"device": "cuda"}, "passes": ["prun"]})
    assert set(found) == {"/recipe/target/device", "/recipe/passes/0"}


def test_a_size_out_of_reach_is_refused_and_the_reachable_one_named(ready: Place) -> None:
    recipe = {"goal": {"max_size": "100B"}, "passes": ["quantize"]}
    assert "at least" in faults(ready, recipe)["/recipe/goal/max_size"].message
    with ready.database.read() as tx:
        check(tx, {"model": "net", "dataset": "samples", "recipe": {"goal": {"max_size": "100B"}}})


STUDENT = "/recipe/passes/0/distill/student"


def test_a_student_is_named_by_its_id_from_then_on(ready: Place) -> None:
    with ready.database.read() as tx:
        order = check(
            tx, {"model": "net", "dataset": "samples", "recipe": {"passes": [{"distill": {"student": "net"}}]}}
        )
    (distill,) = order.spec.recipe.passes
    assert distill.wants_student() == order.model.id


def test_a_student_that_is_not_there_is_refused(ready: Place) -> None:
    assert "nobody" in faults(ready, {"passes": [{"distill": {"student": "nobody"}}]})[STUDENT].message


def test_a_student_with_another_signature_is_refused_with_the_difference(ready: Place) -> None:
    other = {"inputs": [{"name": "y", "dtype": "float32", "shape": [None, 3]}], "outputs": [], "parameters": 1}
    with ready.database.begin() as tx:
        models.create(tx, name="other", digest="c" * 64, size=1, signature=other)
    fault = faults(ready, {"passes": [{"distill": {"student": "other"}}]})[STUDENT]
    assert "takes up to None" in fault.message or "inputs are y float32 (any, 3)" in fault.message
