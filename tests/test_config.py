"""Settings are resolved once, in one order, and nothing unknown passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.config import Settings, config_path, data_home, resolve_settings
from freehold.errors import BadSetting


def write_config(tmp_path: Path, text: str) -> dict[str, str]:
    """An environment whose settings file holds the text."""
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    path = config_path(environment)
    path.parent.mkdir()
    path.write_text(text, "utf-8")
    return environment


def test_defaults(tmp_path: Path) -> None:
    settings = resolve_settings(environment={"XDG_DATA_HOME": str(tmp_path)})
    assert settings == Settings(
        home=tmp_path / "freehold", threads=None, context_tokens=None, history=True
    )
    assert settings.models_dir == tmp_path / "freehold" / "models"
    assert set(settings.origin.values()) == {"default"}


def test_flag_beats_environment_beats_file(tmp_path: Path) -> None:
    environment = write_config(tmp_path, 'threads = 1\ncontext_tokens = 10\nhome = "/data"\n')
    environment |= {"FREEHOLD_THREADS": "2", "FREEHOLD_CONTEXT": "20"}
    settings = resolve_settings({"threads": 3}, environment=environment)
    assert (settings.threads, settings.context_tokens, settings.home) == (3, 20, Path("/data"))
    assert settings.origin["threads"] == "flag"
    assert settings.origin["context_tokens"] == "environment FREEHOLD_CONTEXT"
    assert settings.origin["home"].startswith("file ")
    assert settings.origin["history"] == "default"


def test_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    environment = {"FREEHOLD_THREADS": "", "XDG_CONFIG_HOME": str(tmp_path)}
    assert resolve_settings(environment=environment).threads is None


def test_relative_xdg_directories_are_ignored() -> None:
    assert data_home({"XDG_DATA_HOME": "relative"}).is_absolute()
    assert config_path({"XDG_CONFIG_HOME": "relative"}).is_absolute()


@pytest.mark.parametrize("word", ["0", "false", "no", "off", "False"])
def test_history_can_be_switched_off(word: str, tmp_path: Path) -> None:
    environment = {"FREEHOLD_HISTORY": word, "XDG_CONFIG_HOME": str(tmp_path)}
    assert not resolve_settings(environment=environment).history


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("thread = 2\n", "thread"),
        ("[threads]\nx = 1\n", "threads"),
        ("threads = 0\n", "threads"),
        ("threads = true\n", "threads"),
        ("threads = 1.5\n", "threads"),
        ("history = 3\n", "history"),
        ("home = 7\n", "home"),
        ('home = ""\n', "home"),
        ("threads =\n", "TOML"),
    ],
)
def test_bad_file_is_refused_by_name(text: str, named: str, tmp_path: Path) -> None:
    environment = write_config(tmp_path, text)
    with pytest.raises(BadSetting, match=named) as caught:
        resolve_settings(environment=environment)
    assert caught.value.expected
    assert caught.value.found


def test_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    environment = write_config(tmp_path, "")
    config_path(environment).write_bytes(b"\xff\xfe")
    with pytest.raises(BadSetting, match="TOML"):
        resolve_settings(environment=environment)


@pytest.mark.parametrize("value", ["two", "-1", "0", "1e3", "٣.٥"])
def test_bad_variable_is_refused_by_name(value: str, tmp_path: Path) -> None:
    environment = {"FREEHOLD_THREADS": value, "XDG_CONFIG_HOME": str(tmp_path)}
    with pytest.raises(BadSetting, match="environment FREEHOLD_THREADS"):
        resolve_settings(environment=environment)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:word@db/freehold", "postgresql://me:***@db/freehold"),
        ("postgresql://db/freehold", "postgresql://db/freehold"),
    ],
)
def test_a_password_in_a_url_is_not_shown(url: str, shown: str, tmp_path: Path) -> None:
    environment = {"FREEHOLD_DATABASE": url, "XDG_CONFIG_HOME": str(tmp_path)}
    settings = resolve_settings(environment=environment)
    assert settings.database == url
    assert settings.shown("database") == shown


def test_several_words_come_from_a_variable_or_a_list(tmp_path: Path) -> None:
    environment = {"FREEHOLD_ALLOWED_HOSTS": "a.example, b.example,"}
    environment["XDG_CONFIG_HOME"] = str(tmp_path)
    settings = resolve_settings(environment=environment)
    assert settings.allowed_hosts == ("a.example", "b.example")
    assert settings.shown("allowed_hosts") == "a.example, b.example"
    (tmp_path / "freehold").mkdir()
    (tmp_path / "freehold" / "config.toml").write_text('allowed_origins = ["https://a.example"]')
    assert resolve_settings(environment=environment).allowed_origins == ("https://a.example",)
