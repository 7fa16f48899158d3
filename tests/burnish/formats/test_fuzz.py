"""Whatever is done to an honest file, the check accepts it or refuses it: no other error, and no hang."""

import io
import json
from contextlib import suppress
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from burnish.errors import InvalidDataset, InvalidModel
from burnish.formats import inspect_dataset, inspect_model
from burnish.formats.canonical import write_canonical
from burnish.formats.expressions import expression_fault
from burnish.formats.pt2 import checked_model
from tests.burnish.formats.archives import CONSTANTS, MODEL, WEIGHTS, honest, honest_bytes, pack

quick = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["s0", "as_int", "x.y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def check(data: bytes) -> None:
    """Inspects, and writes the canonical form of what is accepted."""
    with suppress(InvalidModel), checked_model(io.BytesIO(data)) as model:
        write_canonical(model, io.BytesIO())


@quick
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8))
def test_an_archive_with_changed_bytes(changes: list[tuple[float, int]]) -> None:
    data = bytearray(honest_bytes())
    for place, value in changes:
        data[int(place * len(data))] = value
    check(bytes(data))


@quick
@given(st.lists(st.tuples(st.integers(1, 3000), st.integers(0, 255)), min_size=1, max_size=8))
def test_an_archive_with_a_changed_directory(changes: list[tuple[int, int]]) -> None:
    data = bytearray(honest_bytes())
    for from_end, value in changes:
        data[-from_end] = value
    check(bytes(data))


@quick
@given(st.floats(0, 1), st.floats(0, 1), st.binary(max_size=40))
def test_an_archive_with_a_piece_replaced(start: float, end: float, piece: bytes) -> None:
    data = honest_bytes()
    first, last = sorted((int(start * len(data)), int(end * len(data))))
    check(data[:first] + piece + data[last:])


@quick
@given(st.sampled_from([MODEL, WEIGHTS, CONSTANTS]), st.lists(st.integers(0, 2**16), max_size=14), JSON, st.booleans())
def test_an_archive_with_any_value_in_its_json_replaced(member: str, path: list[int], value: Any, drop: bool) -> None:
    members = honest()
    root = {"root": json.loads(members[member])}
    parent: Any = root
    key: Any = "root"
    for step in path:
        inner = parent[key]
        if not isinstance(inner, dict | list) or not inner:
            break
        parent, key = inner, (list(inner)[step % len(inner)] if isinstance(inner, dict) else step % len(inner))
    if drop and parent is not root:
        del parent[key]
    else:
        parent[key] = value
    check(pack({**members, member: json.dumps(root["root"]).encode()}))


@quick
@given(st.text(alphabet="s0123456789+-*/%(),.<>=&|~ '\"\\[]_abSymlMaxPow", max_size=40))
def test_any_text_as_an_expression(text: str) -> None:
    expression_fault(text)


DATASETS = [save({"inputs": np.zeros((4, 3), np.float32), "targets": np.arange(4)})]
_BUFFER = io.BytesIO()
np.savez_compressed(_BUFFER, inputs=np.zeros((4, 3), np.float32), targets=np.arange(4))
DATASETS.append(_BUFFER.getvalue())


@quick
@given(
    st.sampled_from(DATASETS),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    st.floats(0.01, 1),
)
def test_a_dataset_with_changed_bytes_or_cut_off(data: bytes, changes: list[tuple[float, int]], keep: float) -> None:
    changed = bytearray(data)
    for place, value in changes:
        changed[int(place * len(changed))] = value
    with suppress(InvalidDataset):
        inspect_dataset(io.BytesIO(bytes(changed[: int(keep * len(changed))])))


def test_the_honest_archive_is_accepted_by_the_same_check() -> None:
    assert inspect_model(io.BytesIO(honest_bytes())).parameters == 5764
