"""The organisation's answers are kept as given, and nothing is assumed in place of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.errors import BadSetting
from freehold.library.terms import (
    INDIVIDUAL,
    Profile,
    parse_answer,
    profile_path,
    read_profile,
    write_profile,
)


def test_without_a_file_nothing_is_answered() -> None:
    assert read_profile() == Profile()
    assert not profile_path().exists()


@pytest.mark.parametrize(
    "profile",
    [
        Profile(),
        INDIVIDUAL,
        Profile(commercial=True, monthly_users=200_000_000, regions=("DE", "US")),
        Profile(annual_revenue_usd=50_000_000, hosts_for_others=False, trains_on_outputs=True),
    ],
)
def test_what_is_written_is_read(profile: Profile) -> None:
    assert write_profile(profile) == profile_path()
    assert read_profile() == profile
    assert [path.name for path in profile_path().parent.iterdir()] == ["profile.toml"]


def test_the_answers_lie_beside_the_settings() -> None:
    path = profile_path({"XDG_CONFIG_HOME": "/etc/xdg"})
    assert path == Path("/etc/xdg/freehold/profile.toml")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("commercial", "yes", True),
        ("commercial", " NO ", False),
        ("monthly_users", "200M", 200_000_000),
        ("monthly_users", "1.5k", 1500),
        ("monthly_users", "0", 0),
        ("annual_revenue_usd", "$50m", 50_000_000),
        ("annual_revenue_usd", "1_200_000", 1_200_000),
        ("annual_revenue_usd", "1.2B", 1_200_000_000),
        ("regions", "de, us", ("DE", "US")),
        ("regions", "UK", ("GB",)),
        ("trains_on_outputs", "false", False),
    ],
)
def test_answers_as_people_type_them(name: str, text: str, value: object) -> None:
    assert parse_answer(name, text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("colour", "red"),
        ("commercial", "perhaps"),
        ("monthly_users", "many"),
        ("monthly_users", "-1"),
        ("annual_revenue_usd", "1e9"),
        ("regions", "Germany"),
        ("regions", ""),
    ],
)
def test_an_answer_that_means_nothing_is_refused(name: str, text: str) -> None:
    with pytest.raises(BadSetting):
        parse_answer(name, text)


@pytest.mark.parametrize(
    "text",
    [
        "commercial = 1",
        "monthly_users = -5",
        'monthly_users = "many"',
        'regions = ["Germany"]',
        "colour = true",
        "commercial =",
    ],
)
def test_a_file_that_was_edited_wrong_is_refused(text: str) -> None:
    path = profile_path()
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(BadSetting):
        read_profile()
