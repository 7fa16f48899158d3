"""Settings of pruning: combinations that make no sense are refused, each with what to do instead."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from burnish.passes import Prune

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"method": "taylor"}, "set `importance` for channels, or `kind: unstructured`"),
    ({"schedule": {"steps": 4}}, "`schedule` is for single weights: leave it out, or set `kind: unstructured`"),
    ({"kind": "unstructured", "importance": "taylor"}, "set `method` for `kind: unstructured`"),
    ({"kind": "2:4", "round_to": 4}, "`round_to` counts channels: leave it out for `kind: 2:4`"),
    ({"kind": "unstructured", "layer_norm": "rescale"}, "`layer_norm` is about channels: leave it out"),
    ({"kind": "unstructured", "scope": "time"}, "zeros save none: set `kind: structured`"),
    ({"kind": "unstructured", "method": "sparsegpt", "scope": "global"}, "within each layer: set `scope: layer`"),
    ({"kind": "unstructured", "method": "sparsegpt", "schedule": {"steps": 4}}, "prunes at once: leave `schedule` out"),
    ({"kind": "2:4", "ratio": 0.6}, "removes exactly half: leave `ratio` at 0.5, or set `kind: unstructured`"),
    ({"kind": "2:4", "scope": "global"}, "removes half of every layer: set `scope: layer`"),
    ({"kind": "unstructured", "method": "movement"}, "follows the training between steps: set `schedule`"),
    ({"kind": "2:4", "method": "movement"}, "`method: movement` takes steps: set another method or kind"),
    ({"kind": "2:4", "schedule": {"steps": 4}}, "`kind: 2:4` prunes at once: leave `schedule` out"),
    ({"kind": "2:4", "layers": {"head": 0.3}}, "or nothing: the ratios in `layers` can only be 0"),
    ({"layers": {"head": 1.0}}, "`layers` gives 'head' the ratio 1: give a pattern and 0 ≤ ratio < 1"),
    ({"layers": {"": 0.5}}, "give a pattern"),
    ({"kind": "unstructured", "schedule": {"steps": 1}}, "greater than or equal to 2"),
    ({"ratio": 1.0}, "less than 1"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "cure"), REFUSED)
def test_settings_that_do_not_fit_each_other_are_refused(settings: dict[str, Any], cure: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Prune.model_validate(settings)
    assert cure in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ValidationError, match=r"`importance` ranks channels.*`round_to` counts channels"):
        Prune(kind="unstructured", importance="taylor", round_to=4)


@pytest.mark.parametrize("settings", [
    {}, {"scope": "time", "importance": "taylor", "layers": {"head": 0.0}}, {"kind": "2:4", "method": "sparsegpt"},
    {"kind": "unstructured", "method": "taylor", "schedule": {"steps": 3}}, {"kind": "2:4", "layers": {"head": 0}},
])  # fmt: skip
def test_what_is_stored_is_read_back_the_same(settings: dict[str, Any]) -> None:
    made = Prune.model_validate(settings)
    assert Prune.model_validate(made.model_dump(mode="json")) == made


def test_only_what_looks_at_data_reads_the_dataset() -> None:
    assert Prune().reads() == Prune(kind="2:4").reads() == frozenset()
    for settings in ({"importance": "taylor"}, {"kind": "2:4", "method": "sparsegpt"},
                     {"kind": "unstructured", "schedule": {"steps": 2}}):  # fmt: skip
        assert Prune.model_validate(settings).reads() == {"calibration"}
    with_labels = Prune.model_validate({"kind": "unstructured", "schedule": {"steps": 2, "labels": 0.5}})
    assert with_labels.reads() == {"calibration", "labels"}


def test_the_pre_flight_has_the_shortest_schedule() -> None:
    made = Prune.model_validate({"kind": "unstructured", "schedule": {"steps": 9, "epochs": 5}})
    assert made.shrunk().schedule is not None
    assert (made.shrunk().schedule.steps, made.shrunk().schedule.epochs) == (2, 1)  # type: ignore[union-attr]
    assert made.work(10) > made.shrunk().work(10)
    assert Prune().shrunk() == Prune()


def test_the_smallest_size_is_never_above_what_can_come_out() -> None:
    assert Prune(ratio=0.5).least_size_factor() == 0.25
    assert Prune(ratio=0.5, layers={"body.*": 0.8}).least_size_factor() == pytest.approx(0.04)
    assert Prune(scope="time").least_size_factor() == 0.0
    assert Prune(kind="unstructured").least_size_factor() == 1.0
