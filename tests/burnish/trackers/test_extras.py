"""What is not installed is said once, with what to install."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from burnish.errors import Unavailable
from burnish.trackers import to_mlflow, to_tensorboard, to_wandb
from burnish.trackers.extras import load
from tests.burnish.results import judged


@pytest.mark.parametrize(
    ("extra", "write"), [("tensorboard", to_tensorboard), ("mlflow", to_mlflow), ("wandb", to_wandb)]
)
def test_a_missing_extra_is_named_with_its_command(
    extra: str, write: Callable[..., Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == extra]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, extra, None)  # as import sees what is not there
    with pytest.raises(Unavailable) as caught:
        write(judged(), str(tmp_path / "out"))
    assert f"pip install 'burnish[{extra}]'" in caught.value.cure
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_module_that_is_there_is_handed_back() -> None:
    assert load("json", "nothing").loads("1") == 1


def test_the_package_comes_up_without_trackers_torch_and_numpy() -> None:
    program = (
        "import sys, burnish.trackers, burnish.cli;"
        "assert not {'torch', 'numpy', 'mlflow', 'wandb', 'tensorboard'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-P", "-c", program], check=True)
