"""The smoke script: what it would submit is right, and it says what it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.formats import faults, inspect_dataset, inspect_model
from burnish.recipe import Recipe
from tests.deploy.files import script

smoke = script("smoke")


def test_its_model_data_and_recipe_go_together(tmp_path: Path) -> None:
    model, data = smoke.make(tmp_path)
    recipe = Recipe.model_validate(smoke.recipe("cpu"))
    with model.open("rb") as program, data.open("rb") as samples:
        schema = inspect_dataset(samples)
        assert faults(schema, inspect_model(program), recipe.target.batch) == []
    assert schema.samples >= 20
    assert [settings.name for settings in recipe.passes] == ["quantize"]


def test_a_model_without_data_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["smoke.py", "--model", "m.pt2"])
    with pytest.raises(SystemExit):
        smoke.main()
    assert "--model and --data belong together" in capsys.readouterr().err


def test_without_torch_it_asks_for_files(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["smoke.py"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        smoke.main()
    assert "name a model and data" in capsys.readouterr().err
