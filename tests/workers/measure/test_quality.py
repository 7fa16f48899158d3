import numpy as np
import pytest

from workers.measure.quality import EXACT_DB, assess, metric_of, sqnr_db


def scores(classes: list[int], count: int = 3) -> np.ndarray:
    """Outputs whose top-1 classes are these."""
    return np.eye(count, dtype=np.float32)[classes]


def test_top1_counts_right_answers_of_both_on_the_same_samples() -> None:
    found = assess([scores([0, 1, 2, 2])], [scores([0, 1, 1, 2])], np.array([0, 1, 2, 0]), seed=0)
    assert found.quality.metric == "top1"
    assert (found.quality.original, found.quality.value) == (0.75, 0.5)
    assert found.quality.drop.value == pytest.approx(0.25)
    assert (found.only_original, found.only_candidate) == (1, 0)
    assert found.quality.samples == 4


def test_a_candidate_that_is_right_more_often_has_a_negative_drop() -> None:
    found = assess([scores([0, 0])], [scores([0, 1])], np.array([0, 1]), seed=0)
    assert found.quality.drop.value == -0.5


def test_without_labels_the_original_is_the_truth() -> None:
    found = assess([scores([0, 1, 2, 2])], [scores([0, 1, 1, 2])], None, seed=0)
    assert found.quality.metric == "agreement"
    assert (found.quality.original, found.quality.value) == (1.0, 0.75)


def test_outputs_that_are_no_class_scores_are_compared_by_cosine() -> None:
    one = np.random.default_rng(0).standard_normal((5, 4, 3)).astype(np.float32)
    found = assess([one], [2 * one], None, seed=0)
    assert found.quality.metric == "cosine"
    assert found.quality.value == pytest.approx(1.0)
    assert found.quality.sqnr_db == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("outputs", "targets", "metric"),
    [
        (np.zeros((4, 3), np.float32), np.zeros(4, np.int64), "top1"),
        (np.zeros((4, 3), np.float32), np.zeros((4, 1), np.int64), "top1"),
        (np.zeros((4, 3), np.float32), np.zeros((4, 3), np.float32), "cosine"),
        (np.zeros((4, 3), np.float32), np.zeros(4, np.float32), "cosine"),
        (np.zeros((4, 3), np.float32), np.full(4, 3), "agreement"),
        (np.zeros((4, 3), np.float32), np.full(4, -1), "agreement"),
        (np.zeros((4, 1), np.float32), None, "cosine"),
        (np.zeros((4, 3), np.int64), None, "cosine"),
        (np.zeros((4, 3, 2), np.float32), None, "cosine"),
    ],
)
def test_the_metric_follows_from_outputs_and_labels(
    outputs: np.ndarray, targets: np.ndarray | None, metric: str
) -> None:
    assert metric_of([outputs], targets) == metric


def test_rows_of_length_one_are_an_embedding_unless_labels_or_probabilities_say_otherwise() -> None:
    rows = np.random.default_rng(0).standard_normal((6, 4))
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    assert metric_of([unit], None) == "cosine"
    assert metric_of([unit], np.arange(6) % 4) == "top1"
    assert metric_of([unit], np.full(6, 9)) == "cosine", "numbers of speakers, say, which are no columns"
    assert metric_of([np.eye(4, dtype=np.float32)], None) == "agreement", "probabilities, each of them certain"
    assert metric_of([rows.astype(np.float32)], None) == "agreement"


def test_the_drop_is_paired_so_that_equal_answers_leave_no_doubt() -> None:
    same = scores([0, 1, 2, 0, 1, 2])
    drop = assess([same], [same], np.array([0, 1, 1, 1, 2, 2]), seed=0).quality.drop
    assert (drop.low, drop.value, drop.high) == (0.0, 0.0, 0.0)


def test_sqnr_is_signal_over_noise_in_db() -> None:
    assert sqnr_db([np.array([3.0, 4.0])], [np.array([3.0, 4.5])]) == pytest.approx(20.0)


def test_sqnr_stays_finite_for_equal_and_for_hopeless_outputs() -> None:
    one = np.array([1.0, 2.0])
    assert sqnr_db([one], [one]) == EXACT_DB
    assert sqnr_db([one], [np.array([np.nan, 2.0])]) == -EXACT_DB
    assert sqnr_db([np.zeros(2)], [one]) == -EXACT_DB


def test_zero_outputs_beside_zero_outputs_are_alike() -> None:
    zero = np.zeros((2, 1), np.float32)
    assert assess([zero], [zero], None, seed=0).quality.value == 1.0
    assert assess([zero], [zero + 1], None, seed=0).quality.value == 0.0


def test_the_assessment_gives_mcnemars_p_value() -> None:
    found = assess([scores([0] * 5)], [scores([1] * 5)], np.zeros(5, np.int64), seed=0)
    assert found.mcnemar_p == pytest.approx(0.0625)
