"""The environment, read once."""

import re
from pathlib import Path

import pytest

from burnish.errors import BadSetting
from burnish.settings import SETTINGS, Settings

ROOT = Path(__file__).parents[2]


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
    ("variable", "value", "reason"),
    [
        ("BURNISH_LEASE", "soon", "'soon' is not a quantity"),
        ("BURNISH_LEASE", "30sec", "'sec' is not a unit of time"),
        ("BURNISH_LEASE", "0", "it must lie between 1s and 1h"),
        ("BURNISH_LEASE", "0.01s", "it must lie between 1s and 1h"),
        ("BURNISH_LEASE", "1e999", "it must lie between 1s and 1h"),
        ("BURNISH_STEP_TIME", "0", "it must lie between 1s and 1000h"),
        ("BURNISH_STEP_MEMORY", "16", "it must be 0, or lie between 10MB and 1000TB"),
        ("BURNISH_MAX_UPLOAD", "0", "it must lie between 1MB and 1000TB"),
        ("BURNISH_MAX_UPLOAD", "big", "'big' is not a quantity"),
        ("BURNISH_MAX_UPLOAD", "1e999GB", "it is too much"),
        ("BURNISH_CACHE_SIZE", "500", "it must be 0, or lie between 1MB and 1000TB"),
        ("BURNISH_KEEP", "1e999h", "it must lie between 0s and 100000h"),
        ("BURNISH_SLOTS", "-1", "it must lie between 0 and 1024"),
        ("BURNISH_SLOTS", "two", "it is no whole number"),
        ("BURNISH_DATA", "", "it is empty"),
        ("BURNISH_LISTEN", "8520", "it must be host:port"),
        ("BURNISH_URL", "burnish.example", "it must start with http: or https:"),
        ("BURNISH_URL", "https://", "it names no host"),
        ("BURNISH_DATABASE_URL", "mysql://x", "it must start with postgresql: or sqlite:"),
        ("BURNISH_BLOBS_URL", "gs://bucket", "it must start with s3: or file:"),
        ("BURNISH_BROKER_URL", "", "it must start with redis: or rediss:"),
        ("BURNISH_BROKER_URL", "amqp://host", "it must start with redis: or rediss:"),
        ("BURNISH_BROKER_URL", "redis://host:port/0", "Port could not be cast to integer value as 'port'"),
        ("BURNISH_QUEUES", "", "it must be device names in lower case, separated by commas"),
        ("BURNISH_LOG", "xml", "it must be text or json"),
        ("BURNISH_DIRECT_UPLOADS", "yes", "it must be off or on"),
    ],
)
def test_a_bad_value_is_told_with_the_variable_the_reason_and_one_that_would_do(
    variable: str, value: str, reason: str
) -> None:
    with pytest.raises(BadSetting) as raised:
        Settings.from_environment({variable: value})
    assert raised.value.message == f"{variable} is {value!r}, and that can't be used: {reason}."
    assert raised.value.cure.startswith(f"Write it like {variable}=")
    assert raised.value.where == variable


@pytest.mark.parametrize("value", ["1s", "1h", "3.0"])
def test_bounds_themselves_are_allowed(value: str) -> None:
    assert 1 <= Settings.from_environment({"BURNISH_LEASE": value}).lease_seconds <= 3600


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("BURNISH_TOKENS", "hunter2"),
        ("BURNISH_DATABASE_URL", "mysql://burnish:hunter2@host/db"),
        ("BURNISH_BROKER_URL", "redis://:hunter2@host:port/0"),
    ],
)
def test_a_secret_does_not_get_into_the_log(variable: str, value: str) -> None:
    with pytest.raises(BadSetting, match=variable) as raised:
        Settings.from_environment({variable: value})
    assert "hunter2" not in str(raised.value)


def test_an_address_is_told_by_the_variable_that_it_comes_from(tmp_path: Path) -> None:
    given = "postgresql://burnish:hunter2@host/db"
    settings = Settings.from_environment({"BURNISH_DATA": str(tmp_path), "BURNISH_DATABASE_URL": given})
    assert settings.told("database_url") == ("BURNISH_DATABASE_URL", "'postgresql://burnish:…@host/db'")
    assert settings.told("blobs_url") == ("BURNISH_DATA", repr(str(tmp_path)))


def test_a_misspelt_variable_is_an_error_not_a_silent_default() -> None:
    with pytest.raises(BadSetting, match="BURNISH_TOKNE"):
        Settings.from_environment({"BURNISH_TOKNE": "x"})


def test_every_setting_has_a_unit_a_meaning_and_values_that_are_valid() -> None:
    for setting in SETTINGS.values():
        assert setting.unit
        assert setting.meaning.endswith(".")
        setting.read(setting.default)
        setting.read(setting.example or setting.default)


def test_the_example_environment_and_the_page_tell_each_unit() -> None:
    example = (ROOT / "deploy/env.example").read_text()
    page = (ROOT / "docs/operating.md").read_text()
    for setting in SETTINGS.values():
        assert f"Unit: {setting.unit}.\n#{setting.variable}=" in example, setting.variable
        assert re.search(rf"^\| `{setting.variable}` \|.*\| {setting.unit} \| [^|]*\|$", page, re.M), setting.variable
