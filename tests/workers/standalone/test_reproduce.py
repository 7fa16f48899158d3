import numpy as np

from workers.standalone.reproduce import repeat, views


class Doubles:
    """Doubles its input, and does `after` to it."""

    def __init__(self, after=lambda held, call: None, copies=False):  # type: ignore[no-untyped-def]
        self.after, self.copies, self.call = after, copies, 0

    def prepare(self, arrays):  # type: ignore[no-untyped-def]
        return {"x": arrays[0].copy() if self.copies else arrays[0]}

    def run(self, prepared):  # type: ignore[no-untyped-def]
        self.call += 1
        output = prepared["x"] * 2
        self.after(prepared["x"], self.call)
        return output

    def arrays(self, outputs):  # type: ignore[no-untyped-def]
        return [outputs]


def overwrite(held: np.ndarray, call: int) -> None:
    held += 1


def test_equal_calls_are_told_to_be_identical() -> None:
    outputs, report = repeat(Doubles(), [np.ones(3)], 3)
    assert outputs[0].tolist() == [2, 2, 2]
    assert report == {"calls": [{"identical": True, "sqnr_db": None, "inputs_unchanged": True}] * 3}


def test_a_changed_input_is_seen_in_the_arrays_given() -> None:
    _, report = repeat(Doubles(overwrite), [np.ones(3)], 2)
    assert not report["calls"][0]["inputs_unchanged"]


def test_a_changed_input_is_seen_in_a_copy_that_the_loader_made() -> None:
    _, report = repeat(Doubles(overwrite, copies=True), [np.ones(3)], 2)
    assert not report["calls"][0]["inputs_unchanged"]


def test_a_different_output_is_told_with_its_ratio() -> None:
    _, report = repeat(Doubles(overwrite), [np.ones(3)], 2)
    assert report["calls"][1] == {"identical": False, "sqnr_db": 0.0, "inputs_unchanged": False}


def test_outputs_are_copied_before_the_next_call_can_overwrite_them() -> None:
    class Reuses(Doubles):
        def run(self, prepared):  # type: ignore[no-untyped-def]
            self.call += 1
            self.buffer = getattr(self, "buffer", np.zeros(3))
            self.buffer += 1
            return self.buffer

    outputs, report = repeat(Reuses(), [np.ones(3)], 2)
    assert outputs[0].tolist() == [1, 1, 1]
    assert not report["calls"][1]["identical"]


def test_arrays_are_found_in_whatever_a_loader_prepares() -> None:
    one = np.ones(2)
    assert len(views({"a": one, "b": [one, (one,)], "c": object()})) == 3
