"""Union-find over channel labels."""

from __future__ import annotations

import numpy as np

from workers.graphs.labels import FIXED, Labels


def test_tied_labels_have_one_root_through_chains() -> None:
    labels = Labels()
    a, b, c = labels.fresh(3), labels.fresh(3), labels.fresh(3)
    labels.tie(b, c, "")
    labels.tie(a, b[::-1], "")
    assert labels.roots(c).tolist() == labels.roots(a)[::-1].tolist()


def test_freezing_one_label_freezes_all_that_are_or_become_tied_to_it() -> None:
    labels = Labels()
    a, b, c = labels.fresh(2), labels.fresh(2), labels.fresh(2)
    labels.tie(a, b, "")
    labels.freeze(b[:1], "why")
    labels.tie(b, c, "")
    assert labels.free(np.concatenate([a, b, c])).tolist() == [False, True] * 3
    assert labels.reason(int(c[0])) == "why"


def test_the_first_reason_stays() -> None:
    labels = Labels()
    a = labels.fresh(1)
    labels.freeze(a, "first")
    labels.freeze(a, "second")
    assert labels.reason(int(a[0])) == "first"


def test_a_tie_with_what_is_fixed_freezes_and_does_not_unite() -> None:
    labels = Labels()
    a, b = labels.fresh(1), labels.fresh(1)
    for one in (a, b):
        labels.tie(one, np.array([FIXED]), "fixed there")
    assert labels.reason(int(a[0])) == "fixed there"
    assert labels.roots(a) != labels.roots(b)
