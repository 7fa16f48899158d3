"""The environment, read once."""

from pathlib import Path

import pytest

from burnish.errors import BadSetting
from burnish.settings import SETTINGS, Settings


def test_without_variables_everything_lives_in_one_data_folder(tmp_path: Path) -> None:
    settings = Settings.from_environment({"BURNISH_DATA": str(tmp_path)})
    assert settings.database_url == f"sqlite:///{tmp_path}/burnish.sqlite"
    assert settings.blobs_url == f"file://{tmp_path}/blobs"
    assert settings.listen == ("127.0.0.1", 8520)


def test_settings_survive_the_way_through_a_child_environment(tmp_path: Path) -> None:
    settings = Settings.from_environment(
        {"BURNISH_DATA": str(tmp_path), "BURNISH_LISTEN": "[::1]:99", "BURNISH_TOKENS": "a" * 64 + "," + "b" * 64}
    )
    assert Settings.from_environment(settings.environment()) == settings


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("BURNISH_LEASE", "soon"),
        ("BURNISH_SLOTS", "-1"),
        ("BURNISH_LISTEN", "8520"),
        ("BURNISH_TOKENS", "secret"),
        ("BURNISH_URL", "burnish.example"),
        ("BURNISH_DATABASE_URL", "mysql://x"),
        ("BURNISH_QUEUES", ""),
        ("BURNISH_MAX_UPLOAD", "big"),
    ],
)
def test_a_bad_value_fails_at_start_with_the_name_of_the_variable(variable: str, value: str) -> None:
    with pytest.raises(BadSetting, match=variable):
        Settings.from_environment({variable: value})


def test_a_misspelt_variable_is_an_error_not_a_silent_default() -> None:
    with pytest.raises(BadSetting, match="BURNISH_TOKNE"):
        Settings.from_environment({"BURNISH_TOKNE": "x"})


def test_every_setting_has_a_unit_a_meaning_and_a_default_that_is_valid() -> None:
    for setting in SETTINGS.values():
        assert setting.unit
        assert setting.meaning.endswith(".")
        setting.read(setting.default)
