"""Each way in which an artifact can be wrong is refused, with the check, the batch size, the call and the figures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.workers.measure.fakes import contender
from workers.measure.reproduction import Case, Precision, Refused, Tolerance, cases, check_cases, rows, tolerance_of

HELDOUT = [np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)]
EXACT = Tolerance(floats_db=60.0, integers=0.01)


def double(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What the fakes should compute."""
    return [inputs[0] * 2]


def check(folder: Path, body: str, tolerance: Tolerance = EXACT) -> list[dict[str, object]]:
    """All cases against a loader with this body."""
    with contender(folder, body) as one:
        one.load(30)
        return check_cases(one, cases(HELDOUT, (1, 32), 4), double, tolerance, 30)


def test_a_right_artifact_passes_every_case_three_times(tmp_path: Path) -> None:
    entries = check(tmp_path, "")
    assert [entry["check"] for entry in entries] == [
        "batch 7", "batch 1", "batch 2", "batch 3", "batch 4", "batch 32",
        "zeros at batch 4", "large values at batch 4", "large negative values at batch 4",
    ]  # fmt: skip
    assert {entry["calls"] for entry in entries} == {3}


def test_overwriting_the_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="input: at batch 7, call 1 overwrote its input"):
        check(tmp_path, "x += 1")


def test_an_input_overwritten_only_at_the_third_call_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="input: at batch 7, call 3 overwrote its input"):
        check(tmp_path, "x += (CALLS == 3)")


def test_other_outputs_at_the_second_call_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"repeat: at batch 7, call 2 gave other outputs .* \(6\.0 dB, at least 80 dB"):
        check(tmp_path, "y = y * (1 if CALLS == 1 else 1.5)")


def test_a_constant_that_accumulates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="repeat: at batch 7, call 2"):
        check(tmp_path, "y = y + (CALLS - 1) * numpy.float32(0.1)")


def test_rounding_that_differs_from_call_to_call_is_tolerated(tmp_path: Path) -> None:
    check(tmp_path, "y = y * numpy.float32(1 + 1e-6 * (CALLS % 2))")


def test_a_wrong_answer_at_one_batch_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        Refused, match=r"agreement: at batch 3, output 0 of call 1 differs .* \(1\.0 dB, at least 60 dB"
    ):
        check(tmp_path, "y = y * (len(x) != 3)")


def test_a_wrong_answer_at_the_largest_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="agreement: at batch 32"):
        check(tmp_path, "y = y * (len(x) != 32)")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("y = y + (abs(x).max() == 0)", "zeros"),
        ("y = y.clip(-9, 9)", "large values"),
        ("y = y.clip(-9, None)", "large negative values"),
    ],
)
def test_a_wrong_answer_at_edge_values_is_refused(tmp_path: Path, body: str, name: str) -> None:
    with pytest.raises(Refused, match=f"agreement: at {name} at batch 4"):
        check(tmp_path, f"{body}; y = y.astype(numpy.float32)")


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="-inf dB"):
        check(tmp_path, "y[0, 0] = float('nan')")


def test_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"shape: at batch 7, output 0 of call 1 is float32 \(1, 4\)"):
        check(tmp_path, "y = y[:1]")


def test_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is float64"):
        check(tmp_path, "y = y.astype('float64')")


def test_another_number_of_outputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="call 1 gave 2 outputs, the program gives 1"):
        check(tmp_path, "return [y, y]")


def test_a_crash_at_one_batch_size_names_the_signal(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="run: at batch 2, its process was ended by SIGSEGV at check"):
        check(tmp_path, "len(x) == 2 and os.kill(os.getpid(), signal.SIGSEGV)")


def test_an_exception_at_one_batch_size_names_it(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="run: at batch 32, check failed with AssertionError: too large"):
        check(tmp_path, "assert len(x) < 16, 'too large'")


def test_int8_noise_passes_where_the_tolerance_is_that_of_int8(tmp_path: Path) -> None:
    body = "y = (numpy.round(y * 16) / 16).astype(numpy.float32)"
    with pytest.raises(Refused, match="agreement"):
        check(tmp_path, body)
    (tmp_path / "again").mkdir()
    entries = check(tmp_path / "again", body, tolerance_of("int8", 40.0))
    assert all(entry["sqnr_db"] is None or float(str(entry["sqnr_db"])) > 20 for entry in entries)


@pytest.mark.parametrize(
    ("precision", "program_db", "needed"),
    [
        ("float32", 300.0, 60.0),
        ("weights", 12.0, 50.0),
        ("float16", 70.0, 48.0),
        ("float16", 40.0, 34.0),
        ("float16", 5.0, 30.0),
        ("bfloat16", 50.0, 30.0),
        ("bfloat16", 20.0, 14.0),
        ("bfloat16", 5.0, 12.0),
        ("int8", 40.0, 20.0),
        ("int8", 14.0, 11.0),
        ("int8", 2.0, 8.0),
    ],
)
def test_the_tolerance_follows_the_program(precision: Precision, program_db: float, needed: float) -> None:
    assert tolerance_of(precision, program_db).floats_db == needed


def test_a_program_for_one_batch_size_is_tried_at_that_alone() -> None:
    assert {case.batch for case in cases(HELDOUT, (5, 5), 5)} == {5}


def test_batches_below_the_least_are_not_tried() -> None:
    assert min(case.batch for case in cases(HELDOUT, (2, 16), 4)) == 2


def test_an_unbounded_batch_is_tried_up_to_64() -> None:
    assert max(case.batch for case in cases(HELDOUT, (1, None), 4)) == 64


def test_a_target_batch_above_64_is_tried_too() -> None:
    assert 128 in {case.batch for case in cases(HELDOUT, (1, 256), 128)}


def test_integers_are_tried_at_the_extremes_of_the_data_at_each_place() -> None:
    tokens = np.array([[3, 9], [4, 5]], np.int64)
    found = {case.name: case.inputs[0] for case in cases([tokens], (1, None), 2) if case.edge}
    assert set(found) == {"least integers", "greatest integers"}
    assert found["least integers"].tolist() == [[3, 5], [3, 5]]
    assert found["greatest integers"].tolist() == [[4, 9], [4, 9]]


def test_a_mask_that_leaves_something_to_every_sample_is_tried_with_no_mask_that_leaves_nothing() -> None:
    mask = np.array([[1, 1, 0], [1, 0, 0]], np.int64)
    found = {case.name: case.inputs[0] for case in cases([mask], (1, None), 2) if case.edge}
    assert found["least integers"].tolist() == [[1, 0, 0], [1, 0, 0]]


def test_samples_are_repeated_where_there_are_too_few() -> None:
    assert rows(np.array([1, 2, 3]), 5, start=2).tolist() == [3, 1, 2, 3, 1]


class Answers:
    """A contender that gives fixed outputs, the same at every call."""

    def __init__(self, outputs: np.ndarray) -> None:
        self.outputs = outputs

    def check(self, inputs, calls, limit):  # type: ignore[no-untyped-def]
        return [self.outputs], [{"identical": True, "sqnr_db": None, "inputs_unchanged": True}] * calls


def test_one_class_number_may_differ_and_many_may_not() -> None:
    case = [Case("ordinary", 10, (np.zeros((10, 1), np.float32),))]
    truth = np.arange(10)
    one_off, all_off = truth.copy(), truth + 1
    one_off[0] = 5
    check_cases(Answers(one_off), case, lambda inputs: [truth], EXACT, 1)
    with pytest.raises(Refused, match="10 of 10 integers in output 0 of call 1 differ"):
        check_cases(Answers(all_off), case, lambda inputs: [truth], EXACT, 1)


def test_values_that_the_program_itself_makes_infinite_are_left_out() -> None:
    case = [Case("ordinary", 2, (np.zeros((2, 1), np.float32),))]
    truth = np.array([[np.inf], [1.0]], np.float32)
    check_cases(Answers(np.array([[np.nan], [1.0]], np.float32)), case, lambda inputs: [truth], EXACT, 1)


def _answer_40_db_off(own: float, edge: bool) -> None:
    """An artifact 40 dB from its program in one case, where the program is `own` dB from itself, moved."""
    truth = np.ones((10, 1), np.float32)
    near, moved = truth * np.float32(1 + 10**-2), truth * np.float32(1 + 10 ** (-own / 20))
    right = Case("ordinary", 10, (np.zeros((10, 1), np.float32),))
    off = Case("this one", 10, (truth,), edge=edge)
    check_cases(
        Answers(near),
        [right, off],
        lambda inputs: [truth if inputs[0].any() else near],
        EXACT,
        1,
        moved=lambda inputs: [moved],
    )


@pytest.mark.parametrize(("edge", "own"), [(False, 45.0), (True, 10.0)])
def test_what_the_last_bit_does_to_the_program_the_artifact_may_do_too(edge: bool, own: float) -> None:
    _answer_40_db_off(own, edge)


@pytest.mark.parametrize(("own", "needed"), [(80.0, 60), (58.0, 46)])
def test_what_the_last_bit_does_not_explain_is_refused(own: float, needed: int) -> None:
    with pytest.raises(Refused, match=rf"agreement: at this one .* \(40\.1 dB, at least {needed} dB is needed"):
        _answer_40_db_off(own, edge=True)


def test_ordinary_samples_must_agree_however_unsteady_the_program() -> None:
    truth = np.ones((10, 1), np.float32)
    case = [Case("ordinary", 10, (np.zeros((10, 1), np.float32),))]
    with pytest.raises(Refused, match=r"20\.0 dB, at least 30 dB"):
        check_cases(Answers(truth * np.float32(1.1)), case, lambda x: [truth], EXACT, 1, moved=lambda x: [-truth])
