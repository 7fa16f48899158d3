"""What the tree promises: who may import whom, what is public, and that every list is complete."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import burnish
from burnish.errors import ERRORS, BurnishError
from burnish.passes import PASSES
from burnish.recipe import BACKENDS
from burnish.settings import SETTINGS

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "burnish": set(),
    "storage": {"burnish"},
    "workers": {"burnish", "storage"},
    "api": {"burnish", "storage"},
}
"""Room → the other rooms it may import."""


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full, so that a reader can find them"
            yield node.module or ""


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    forbidden = set(MAY_IMPORT) - MAY_IMPORT[room] - {room}
    for path in modules(room):
        for name in imported(path):
            assert name.split(".")[0] not in forbidden, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("room", ["burnish", "storage", "api"])
def test_torch_is_imported_outside_the_workers_only_where_a_user_asks_for_it(room: str) -> None:
    allowed = {"burnish/capture.py", "burnish/example.py", "burnish/demo/digits.py"}
    for path in modules(room):
        if str(path.relative_to(ROOT)) not in allowed:
            assert not {"torch"} & {name.split(".")[0] for name in imported(path)}, path


def test_stand_alone_code_imports_nothing_of_ours() -> None:
    for path in modules("workers/standalone"):
        assert not set(MAY_IMPORT) & {name.split(".")[0] for name in imported(path)}, path


@pytest.mark.parametrize("module", ["burnish", "burnish.cli", "api.app", "workers.app"])
def test_an_entry_point_comes_up_without_torch(module: str) -> None:
    program = f"import sys, {module}; assert 'torch' not in sys.modules, 'torch was imported'"
    subprocess.run([sys.executable, "-P", "-c", program], check=True)


def test_every_public_module_of_the_client_states_what_is_public() -> None:
    for info in pkgutil.walk_packages(burnish.__path__, "burnish."):
        if info.name.endswith("__main__") or info.name.startswith("burnish.demo.digits"):
            continue
        module = importlib.import_module(info.name)
        if info.name in ("burnish.errors", "burnish.demo", "burnish.local", "burnish.cli"):
            continue
        assert getattr(module, "__all__", None), f"{info.name} has no __all__"
        assert all(hasattr(module, name) for name in module.__all__), info.name


def test_the_public_surface_is_closed() -> None:
    assert set(burnish.__all__) == {
        "Client", "Goal", "JobSpec", "Recipe", "Target", "__version__", "capture",
        *(kind.__name__ for kind in PASSES.values()),
    }  # fmt: skip
    assert all(hasattr(burnish, name) for name in burnish.__all__)


def test_every_error_is_in_the_list_and_has_a_code_of_its_own() -> None:
    def below(kind: type[BurnishError]) -> set[type[BurnishError]]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    assert below(BurnishError) == set(ERRORS)
    leaves = [kind for kind in ERRORS if not kind.__subclasses__()]
    assert len({kind.code for kind in leaves}) == len(leaves)


def test_every_error_is_explained() -> None:
    text = (ROOT / "docs/errors.md").read_text()
    for kind in ERRORS:
        assert f"`{kind.code}`" in text, f"docs/errors.md does not explain {kind.code}"


def test_every_error_has_a_status() -> None:
    from api.errors import STATUS

    assert set(ERRORS) <= set(STATUS)


def test_every_pass_has_a_runner_a_page_and_a_test() -> None:
    from workers.passes import RUNNERS

    assert set(RUNNERS) == set(PASSES)
    for name, runner in RUNNERS.items():
        assert runner.settings is PASSES[name]
        page = ROOT / f"docs/passes/{name}.md"
        assert page.is_file(), page
        for setting in PASSES[name].model_fields:
            assert f"`{setting}`" in page.read_text(), f"{page} does not explain {setting}"
        assert list((ROOT / "tests/workers/passes").glob(f"test_{name}*.py")), name


def test_every_backend_has_a_runner_a_loader_and_a_page() -> None:
    from workers.backends import BACKENDS_BY_NAME

    assert set(BACKENDS_BY_NAME) == set(BACKENDS)
    for name in BACKENDS:
        assert (ROOT / f"docs/backends/{name}.md").is_file(), name
        assert (ROOT / f"workers/standalone/load_{name}.py").is_file(), name


def test_every_setting_is_in_the_example_environment_and_explained() -> None:
    example = (ROOT / "deploy/env.example").read_text()
    page = (ROOT / "docs/operating.md").read_text()
    for setting in SETTINGS.values():
        assert re.search(rf"^#? ?{setting.variable}={re.escape(setting.default)}$", example, re.MULTILINE), (
            setting.variable
        )
        assert f"`{setting.variable}`" in page, f"docs/operating.md does not explain {setting.variable}"


def test_every_command_is_documented() -> None:
    from burnish.cli.main import COMMANDS

    text = (ROOT / "docs/cli.md").read_text()
    for command in COMMANDS:
        assert f"burnish {command.name}" in text, command.name


def test_every_page_of_docs_can_be_reached_from_the_first() -> None:
    index = (ROOT / "docs/README.md").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        name = str(page.relative_to(ROOT / "docs"))
        assert name == "README.md" or f"({name})" in index, f"docs/README.md does not link {name}"
