"""The cache key: everything a result depends on is in it, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from burnish.errors import InternalError
from workers.catalogue import Catalogue, Facts
from workers.environment import Environment
from workers.keys import KeyMaker

CATALOGUE = Catalogue(
    steps={
        "capture": Facts(modules=("workers.variants",), libraries=("torch",)),
        "lower": Facts(modules=("workers.planner",), libraries=("torch",)),
        "measure": Facts(modules=("workers.planner",), libraries=(), alone=True),
    },
    backends={
        "inductor": Facts(modules=("workers.binding",), libraries=("torch",), depends_on_isa=True),
        "onnxruntime": Facts(modules=("workers.dispatch",), libraries=("onnxruntime",)),
    },
)
HERE = Environment(
    device="cpu", isa=("avx2",), cpu="Some CPU", threads=2, memory=1, versions={"python": "3.11", "burnish": "1"}
)
KEYS = KeyMaker(CATALOGUE, HERE)
SPEC: dict[str, Any] = {"settings": {"ratio": 0.5}, "inputs": {"program": "capture.program"}, "target": {}, "seed": 0}
INPUTS = {"program": "a" * 64}


def _lower(backend: str, keys: KeyMaker = KEYS) -> str:
    return keys.key("lower", {**SPEC, "settings": {"backend": backend}}, INPUTS).digest


def test_the_key_is_a_full_sha256_and_the_same_each_time() -> None:
    one, two = (KEYS.key("capture", SPEC, INPUTS) for _ in range(2))
    assert one == two
    assert len(one.digest) == 64


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"settings": {"ratio": 0.6}}, "settings.ratio"),
        ({"seed": 1}, "seed"),
        ({"target": {"threads": 4}}, "target.threads"),
    ],
)
def test_a_changed_spec_changes_the_key_in_the_part_that_is_named_so(changed: dict[str, Any], part: str) -> None:
    one, two = KEYS.key("capture", SPEC, INPUTS), KEYS.key("capture", {**SPEC, **changed}, INPUTS)
    assert one.digest != two.digest
    assert {name for name in {**one.parts, **two.parts} if one.parts.get(name) != two.parts.get(name)} == {part}


def test_other_input_bytes_change_the_key_and_other_names_of_their_steps_do_not() -> None:
    one = KEYS.key("capture", SPEC, INPUTS)
    assert KEYS.key("capture", SPEC, {"program": "b" * 64}).digest != one.digest
    assert KEYS.key("capture", {**SPEC, "inputs": {"program": "x/other.program"}}, INPUTS).digest == one.digest


def test_a_new_version_of_a_named_library_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = KEYS.key("capture", SPEC, INPUTS).digest
    monkeypatch.setattr("workers.environment.version_of", lambda name: "99")
    assert KEYS.key("capture", SPEC, INPUTS).digest != before


def test_the_processor_counts_only_where_the_result_depends_on_it() -> None:
    there = KeyMaker(CATALOGUE, replace(HERE, isa=("avx512f",)))
    assert there.key("capture", SPEC, INPUTS).digest == KEYS.key("capture", SPEC, INPUTS).digest
    assert _lower("onnxruntime", there) == _lower("onnxruntime")
    assert _lower("inductor", there) != _lower("inductor")
    measure = {**SPEC, "settings": {"contenders": []}}
    assert there.key("measure", measure, INPUTS).digest != KEYS.key("measure", measure, INPUTS).digest


def test_a_backend_brings_its_own_code_and_libraries() -> None:
    key = KEYS.key("lower", {**SPEC, "settings": {"backend": "onnxruntime"}}, INPUTS)
    assert "versions.onnxruntime" in key.parts
    assert key.parts["code"] != KEYS.key("lower", {**SPEC, "settings": {}}, INPUTS).parts["code"]


def test_a_measurement_depends_on_the_backends_of_all_its_contenders() -> None:
    contenders = [{"name": "a@onnxruntime", "backend": "onnxruntime"}]
    key = KEYS.key("measure", {**SPEC, "settings": {"contenders": contenders}}, INPUTS)
    assert "versions.onnxruntime" in key.parts
    assert key.alone


def test_an_unknown_step_is_refused_with_the_cure() -> None:
    with pytest.raises(InternalError, match="same version of Burnish"):
        KEYS.key("fold", SPEC, INPUTS)


def test_workers_that_can_stand_in_for_each_other_have_one_fingerprint() -> None:
    assert replace(HERE, memory=2, threads=64).fingerprint == HERE.fingerprint
    assert replace(HERE, cpu="Other").fingerprint != HERE.fingerprint


def test_this_machine_is_described_without_importing_a_library() -> None:
    here = Environment.of_this_machine("cpu")
    assert here.threads >= 1
    assert here.memory > 2**20
    assert here.versions["python"].startswith("3.")
    assert "torch" in here.versions
