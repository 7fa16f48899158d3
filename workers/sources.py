"""The code version of a step: a digest of the modules of ours that it runs, found without importing them.

Rules:

1. A module counts as its syntax tree without docstrings: a comment or a sentence changes no result.
2. Every import of ours in it is followed, wherever it stands; other libraries count by their version instead.
3. `from package import Name` is followed to the module that defines `Name`, so that a package's list of names does
   not tie every step to every other.
4. The tables of steps, passes and backends are not followed: whoever uses an entry adds it by name.
5. Files that are run by path, in `workers/standalone/`, count as one part: `STANDALONE`.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import workers

__all__ = ["STANDALONE", "code_digest", "modules_behind"]

STANDALONE = "workers.standalone"
_OURS = ("burnish", "storage", "workers", "tests")
_TABLES = frozenset({"workers.steps.table", "workers.passes", "workers.backends"})
_ROOT = Path(workers.__file__).parents[1]


@cache
def code_digest(modules: tuple[str, ...]) -> str:
    """SHA-256 in hex over `modules` and all of ours that they import, at any depth, as they are when first asked."""
    total = hashlib.sha256()
    for name in modules_behind(modules):
        total.update(f"{name} {_digest(name)}\n".encode())
    return total.hexdigest()


def modules_behind(modules: Iterable[str]) -> list[str]:
    """Names of `modules` and all of ours that they import, at any depth, sorted."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting.extend(_standalone() if name == STANDALONE else _imports(name))
    return sorted(found)


@cache
def _digest(module: str) -> str:
    return hashlib.sha256(ast.dump(_without_docstrings(_tree(module))).encode()).hexdigest()


@cache
def _imports(module: str) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if _is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(module, node)
            if _is_ours(source):
                found.update(target for alias in node.names for target in _defining(source, alias.name))
    return frozenset(found - _TABLES - {module})


def _defining(source: str, name: str) -> Iterator[str]:
    """The modules that `from source import name` depends on (rule 3)."""
    if _path(f"{source}.{name}") is not None:
        yield f"{source}.{name}"
        return
    if source in _TABLES:
        return
    if (path := _path(source)) is not None and path.name == "__init__.py":
        for node in _tree(source).body:
            if isinstance(node, ast.ImportFrom) and _is_ours(origin := _absolute(source, node)):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        yield from _defining(origin, alias.name)
                        return
    yield source


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    path = _path(module)
    keep = module.split(".")[: -node.level + (1 if path is not None and path.name == "__init__.py" else 0) or None]
    return ".".join([*keep, *([node.module] if node.module else [])])


def _is_ours(name: str) -> bool:
    return name.split(".")[0] in _OURS and _path(name) is not None


@cache
def _path(module: str) -> Path | None:
    place = _ROOT.joinpath(*module.split("."))
    for path in (place / "__init__.py", place.with_name(place.name + ".py")):
        if path.is_file():
            return path
    return None


@cache
def _tree(module: str) -> ast.Module:
    path = _path(module)
    assert path is not None, module  # callers name modules that were found or imported
    return ast.parse(path.read_bytes())


def _without_docstrings(tree: ast.Module) -> ast.Module:
    stripped = ast.parse("")
    stripped.body = tree.body
    for node in ast.walk(stripped):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not _is_text(each)]  # type: ignore[attr-defined]
    return stripped


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _standalone() -> list[str]:
    folder = _ROOT.joinpath(*STANDALONE.split("."))
    return [f"{STANDALONE}.{path.stem}" for path in folder.glob("*.py") if path.stem != "__init__"]
