"""Every known way to run code from a `.pt2` is refused before torch sees it, or has no part in what is read."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.errors import InvalidModel
from burnish.formats import inspect_model
from tests.burnish.formats import hostile

Attack = Callable[[Path], bytes]


@pytest.mark.parametrize("attack", hostile.REFUSED, ids=lambda attack: attack.__name__)
def test_an_archive_that_can_run_code_is_refused_without_running_it(attack: Attack, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with pytest.raises(InvalidModel) as refused:
        inspect_model(io.BytesIO(attack(marker)))
    assert refused.value.cure
    assert not marker.exists()


@pytest.mark.parametrize("attack", hostile.NEUTRALISED, ids=lambda attack: attack.__name__)
def test_what_is_dropped_or_said_anew_does_no_harm(attack: Attack, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    assert inspect_model(io.BytesIO(attack(marker))).parameters == 5764
    assert not marker.exists()


@pytest.mark.parametrize(
    ("attack", "where"),
    [
        (hostile.expression, "models/model.json#/graph_module/graph/tensor_values/features/sizes/0/as_expr/expr_str"),
        (hostile.operator_on_files, "models/model.json#/graph_module/graph/nodes/0 (linear)/target"),
        (hostile.opaque_object, "data/constants/opaque_obj_0"),
        (hostile.pickled_weight, "data/weights/model_weights_config.json#/config/layers.0.weight/use_pickle"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_refusal_names_the_member_and_the_place_in_it(attack: Attack, where: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidModel) as refused:
        inspect_model(io.BytesIO(attack(tmp_path / "marker")))
    assert refused.value.where == where
