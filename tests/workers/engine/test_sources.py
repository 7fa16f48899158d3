"""The code version of a step, found without importing it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from workers import sources
from workers.sources import STANDALONE, code_digest, modules_behind


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A source tree of its own, in place of the project's."""
    monkeypatch.setattr(sources, "_ROOT", tmp_path)
    caches = (sources.code_digest, sources._digest, sources._imports, sources._path, sources._tree)
    for cache in caches:
        cache.cache_clear()
    for name in ("workers", "workers/steps", "workers/passes", "burnish"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text("")
    yield tmp_path
    for cache in caches:
        cache.cache_clear()


def _digest(*modules: str) -> str:
    for cache in (sources.code_digest, sources._digest, sources._imports, sources._path, sources._tree):
        cache.cache_clear()
    return code_digest(modules)


def test_a_comment_or_a_docstring_changes_no_digest(tree: Path) -> None:
    file = tree / "workers/one.py"
    file.write_text('"""One."""\ndef f():\n    """Does."""\n    return 1\n')
    before = _digest("workers.one")
    file.write_text('"""Another."""\n# why\ndef f():\n    return 1\n')
    assert _digest("workers.one") == before


def test_a_changed_statement_changes_the_digest(tree: Path) -> None:
    file = tree / "workers/one.py"
    file.write_text("def f():\n    return 1\n")
    before = _digest("workers.one")
    file.write_text("def f():\n    return 2\n")
    assert _digest("workers.one") != before


def test_imports_of_ours_are_followed_wherever_they_stand(tree: Path) -> None:
    (tree / "workers/one.py").write_text("import os\ndef f():\n    from workers.two import g\n    return g\n")
    (tree / "workers/two.py").write_text("import workers.three\n")
    (tree / "workers/three.py").write_text("from . import two\n")
    assert modules_behind(["workers.one"]) == ["workers.one", "workers.three", "workers.two"]


def test_a_name_from_a_package_is_followed_to_the_module_that_defines_it(tree: Path) -> None:
    (tree / "burnish/__init__.py").write_text("from burnish.a import A\nfrom burnish.b import B\n")
    (tree / "burnish/a.py").write_text("A = 1\n")
    (tree / "burnish/b.py").write_text("B = 2\n")
    (tree / "workers/one.py").write_text("from burnish import A\n")
    assert modules_behind(["workers.one"]) == ["burnish.a", "workers.one"]


def test_a_name_that_a_package_defines_itself_brings_the_package(tree: Path) -> None:
    (tree / "burnish/__init__.py").write_text("from burnish.b import B\nA = 1\n")
    (tree / "burnish/b.py").write_text("B = 2\n")
    (tree / "workers/one.py").write_text("from burnish import A\n")
    assert modules_behind(["workers.one"]) == ["burnish", "burnish.b", "workers.one"]


def test_relative_imports_are_followed(tree: Path) -> None:
    (tree / "workers/steps/one.py").write_text("from ..two import x\nfrom .three import y\n")
    (tree / "workers/two.py").write_text("x = 1\n")
    (tree / "workers/steps/three.py").write_text("y = 1\n")
    assert modules_behind(["workers.steps.one"]) == ["workers.steps.one", "workers.steps.three", "workers.two"]


def test_the_tables_are_not_followed(tree: Path) -> None:
    (tree / "workers/passes/__init__.py").write_text("from workers.passes.prune import P\nRUNNERS = {'prune': P()}\n")
    (tree / "workers/passes/prune.py").write_text("class P: ...\n")
    (tree / "workers/one.py").write_text("from workers.passes import RUNNERS\n")
    assert modules_behind(["workers.one"]) == ["workers.one"]


def test_the_standalone_files_count_as_one_part() -> None:
    found = modules_behind([STANDALONE])
    assert f"{STANDALONE}.load_eager" in found
    assert f"{STANDALONE}.load_onnxruntime" in found


def test_a_pass_does_not_depend_on_another_pass() -> None:
    found = modules_behind(["workers.steps.apply_pass", "workers.passes.prune"])
    assert "workers.passes.base" in found
    assert "workers.programs" in found
    assert "workers.passes.quantize" not in found
