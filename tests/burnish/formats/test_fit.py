"""A dataset fits a model and a target, or every reason why not is listed with its path."""

import pytest

from burnish.formats import DatasetSchema, faults
from burnish.results import Signature, TensorSpec


def spec(name: str = "inputs", dtype: str = "float32", shape: tuple[int | None, ...] = (100, 3, 8)) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


def schema(*inputs: TensorSpec, samples: int = 100) -> DatasetSchema:
    return DatasetSchema(format="npz", inputs=inputs or (spec(),), targets=None, samples=samples)


def signature(*inputs: TensorSpec, max_batch: int | None = 64) -> Signature:
    return Signature(
        inputs=inputs or (spec("x", shape=(None, 3, 8)),),
        outputs=(spec("y", shape=(None, 10)),),
        max_batch=max_batch,
        parameters=1,
    )


def test_a_dataset_that_fits_has_no_faults() -> None:
    assert faults(schema(), signature(), 1) == []


def test_a_dynamic_side_takes_any_length() -> None:
    assert faults(schema(), signature(spec("x", shape=(None, None, 8))), 1) == []


def test_inputs_are_matched_by_the_models_names() -> None:
    given = schema(spec("mask", "bool", (100, 3)), spec("x"))
    wanted = signature(spec("x", shape=(None, 3, 8)), spec("mask", "bool", (None, 3)))
    assert faults(given, wanted, 1) == []


def test_names_that_do_not_tell_which_input_is_which_are_a_fault_that_shows_both() -> None:
    given = schema(spec("attention_mask", shape=(100, 3)), spec("ids", shape=(100, 3)))
    wanted = signature(spec("input_ids", shape=(None, 3)), spec("attention_mask", shape=(None, 3)))
    (fault,) = faults(given, wanted, 1)
    assert fault.message == "Its arrays are called attention_mask, ids, and the model takes input_ids, attention_mask."
    assert "under its name" in fault.cure


def test_the_one_input_of_a_model_may_have_any_name() -> None:
    assert faults(schema(spec("pixels")), signature(), 1) == []


def test_another_dtype_is_a_fault_with_the_cure() -> None:
    (fault,) = faults(schema(spec(dtype="float64")), signature(), 1)
    assert fault.where == "/dataset/inputs"
    assert "astype('float32')" in fault.cure


@pytest.mark.parametrize("shape", [(100, 3, 9), (100, 24), (100, 3, 8, 1), (100,)])
def test_another_shape_is_a_fault_that_shows_both(shape: tuple[int, ...]) -> None:
    (fault,) = faults(schema(spec(shape=shape)), signature(), 1)
    assert "(any, 3, 8)" in fault.message


def test_another_number_of_inputs_is_a_fault() -> None:
    (fault,) = faults(schema(spec("inputs.0"), spec("inputs.1")), signature(), 1)
    assert "2 inputs" in fault.message


def test_a_batch_over_the_bound_is_a_fault_of_the_target() -> None:
    (fault,) = faults(schema(samples=1000), signature(), 65)
    assert fault.where == "/recipe/target/batch"


def test_another_batch_than_a_static_exports_is_a_fault_of_the_target() -> None:
    static = signature(spec("x", shape=(8, 3, 8)), max_batch=8)
    assert faults(schema(), static, 8) == []
    (fault,) = faults(schema(), static, 1)
    assert fault.where == "/recipe/target/batch"
    assert "Set the batch to 8" in fault.cure


def test_a_batch_that_neither_half_can_fill_is_a_fault_of_the_target() -> None:
    assert faults(schema(), signature(), 50) == []
    (fault,) = faults(schema(), signature(), 51)
    assert "at least 102 samples" in fault.cure


@pytest.mark.parametrize(("samples", "count"), [(19, 1), (20, 0)])
def test_fewer_than_twenty_samples_are_a_fault_that_says_why(samples: int, count: int) -> None:
    found = faults(schema(spec(shape=(samples, 3, 8)), samples=samples), signature(), 1)
    assert len(found) == count
    assert all("judge" in fault.message for fault in found)


def test_all_faults_are_listed_at_once_below_the_pointer_given() -> None:
    found = faults(schema(spec(dtype="int64", shape=(5, 2)), samples=5), signature(), 65, at="/jobs/0")
    assert [fault.where for fault in found] == [
        "/jobs/0/recipe/target/batch",
        "/jobs/0/dataset",
        "/jobs/0/dataset/inputs",
        "/jobs/0/dataset/inputs",
    ]


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "complex32"])
def test_ends_of_a_type_that_no_array_has_are_faults_with_the_cure(dtype: str) -> None:
    wanted = Signature(
        inputs=(spec("x", dtype, (None, 3, 8)),), outputs=(spec("y", dtype, (None, 10)),), max_batch=64, parameters=1
    )
    of_input, of_output, *_ = faults(schema(), wanted, 1)
    assert (of_input.where, of_output.where) == ("/model/x", "/model/y")
    assert dtype in of_input.message
    assert ".float()" in of_output.cure
