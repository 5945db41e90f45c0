"""`freehold keys` and `freehold usage`: what people make, see and end at the command line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from freehold.cli import moments
from freehold.errors import BadSetting
from freehold.store import FILE_NAME, open_store
from tests.cli.conftest import Run


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def created(freehold: Run, *args: str) -> dict[str, Any]:
    ran = freehold("keys", "create", *args, "--json")
    assert ran.status == 0, ran.err
    (row,) = rows(ran.out)
    return row


def test_create_writes_the_secret_alone_to_stdout(freehold: Run, home: Path) -> None:
    ran = freehold("keys", "create", "laptop")
    assert ran.status == 0
    secret = ran.out.rstrip("\n")
    assert secret.startswith("fh_")
    assert len(secret.split()) == 1
    assert secret not in ran.err
    assert "cannot be shown again" in ran.err
    store = open_store(None, home)
    found = store.keys.find(secret)
    assert found is not None
    assert found.name == "laptop"
    assert found.scopes == {"generate", "embed", "read"}
    store.close()


def test_create_takes_every_limit(freehold: Run) -> None:
    row = created(
        freehold,
        "ci",
        *("--scope", "embed", "--scope", "read,metrics"),
        *("--requests-per-minute", "60", "--tokens-per-minute", "1000", "--concurrent", "2"),
        *("--expires", "90d"),
    )
    assert row["scopes"] == ["embed", "metrics", "read"]
    assert (row["requests_per_minute"], row["tokens_per_minute"], row["concurrent"]) == (
        60,
        1000,
        2,
    )
    assert row["state"] == "valid"
    assert moments.moment_after(row["expires"]) == pytest.approx(time.time() + 90 * 86400, abs=60)


def test_the_secret_is_shown_once(freehold: Run, home: Path) -> None:
    secret = created(freehold, "laptop")["secret"]
    for args in (["list"], ["list", "--json"], ["revoke", "laptop", "--json"], ["list"]):
        ran = freehold("keys", *args)
        assert ran.status == 0
        assert secret not in ran.out + ran.err
    assert secret.encode() not in (home / FILE_NAME).read_bytes()


def test_list_shows_revoked_keys_too(freehold: Run) -> None:
    first = created(freehold, "first", "--concurrent", "3")
    created(freehold, "second")
    freehold("keys", "revoke", first["id"])
    listed = rows(freehold("keys", "list", "--json").out)
    assert [(row["name"], row["state"]) for row in listed] == [
        ("first", "revoked"),
        ("second", "valid"),
    ]
    assert "secret" not in listed[0]
    table = freehold("keys", "list").out
    for shown in ("first", "revoked", "3 at once", "second", "valid", first["prefix"]):
        assert shown in table


def test_an_empty_list_says_what_that_means(freehold: Run) -> None:
    ran = freehold("keys", "list")
    assert ran.out == ""
    assert "freehold keys create" in ran.err
    assert freehold("keys", "list", "--json").out == ""


def test_revoking_the_last_key_says_that_nobody_gets_in(freehold: Run) -> None:
    created(freehold, "a")
    created(freehold, "b")
    assert "nobody in" not in freehold("keys", "revoke", "a").err
    assert "nobody in" in freehold("keys", "revoke", "b").err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["revoke", "nonesuch"], "request.not_found"),
        (["create", "taken"], "name"),
        (["create", ""], "name"),
        (["create", "a", "--scope", "everything"], "everything"),
        (["create", "a", "--scope", ""], "scope"),
        (["create", "a", "--expires", "soon"], "soon"),
        (["create", "a", "--expires", "2001-01-01"], "end"),
        (["create", "a", "--expires", "0d"], "0d"),
        (["create", "a", "--concurrent", "0"], "concurrent"),
        (["create", "a", "--tokens-per-minute", "99999999999"], "tokens per minute"),
        (["create"], "NAME"),
    ],
)
def test_what_makes_no_sense_is_status_2(freehold: Run, args: list[str], said: str) -> None:
    created(freehold, "taken")
    ran = freehold("keys", *args)
    assert ran.status == 2
    assert said.lower() in ran.err.lower()
    assert len(rows(freehold("keys", "list", "--json").out)) == 1


def test_a_database_that_cannot_be_used_is_status_1(freehold: Run, home: Path) -> None:
    home.mkdir()
    (home / FILE_NAME).write_bytes(b"no database " * 1000)
    ran = freehold("keys", "list")
    assert ran.status == 1
    assert ran.err.startswith("error[store.unusable]: ")


def test_the_database_setting_is_used(freehold: Run, home: Path, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.db"
    env = {"FREEHOLD_DATABASE": f"sqlite:///{path}"}
    assert freehold("keys", "create", "a", env=env).status == 0
    assert path.is_file()
    assert not (home / FILE_NAME).exists()
    assert rows(freehold("keys", "list", "--json").out) == []


def test_usage_sums_by_key_and_model(freehold: Run, home: Path) -> None:
    key = created(freehold, "laptop")
    store = open_store(None, home)
    for key_id, tokens in ((key["id"], 1000), (key["id"], 234), ("local", 5)):
        store.usage.add(key_id, "org/m", prompt_tokens=tokens, completion_tokens=2, cached_tokens=1)
    store.close()
    assert rows(freehold("usage", "--json").out) == [
        {
            "key_id": key["id"],
            "key": "laptop",
            "model": "org/m",
            "requests": 2,
            "prompt_tokens": 1234,
            "completion_tokens": 4,
            "cached_tokens": 2,
        },
        {
            "key_id": "local",
            "key": None,
            "model": "org/m",
            "requests": 1,
            "prompt_tokens": 5,
            "completion_tokens": 2,
            "cached_tokens": 1,
        },
    ]
    table = freehold("usage").out
    assert "laptop" in table
    assert "1,234" in table


def test_usage_since_leaves_older_days_out(freehold: Run, home: Path) -> None:
    store = open_store(None, home)
    store.usage.add("local", "m", prompt_tokens=1, completion_tokens=1)
    store.flush()
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE usage SET day = '2020-05-05'")
    store.close()
    assert rows(freehold("usage", "--json", "--since", "7d").out) == []
    assert len(rows(freehold("usage", "--json", "--since", "2020-05-05").out)) == 1
    assert rows(freehold("usage", "--json", "--since", "2020-05-06").out) == []
    assert freehold("usage", "--since", "lately").status == 2


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("12h", 43200), ("90d", 7776000), ("2w", 1209600)]
)
def test_a_time_from_now(text: str, seconds: float) -> None:
    assert moments.moment_after(text) == pytest.approx(time.time() + seconds, abs=5)


def test_a_date_is_in_utc_unless_it_says_otherwise() -> None:
    assert moments.utc(moments.moment_after("2030-01-31")) == "2030-01-31T00:00:00Z"
    assert moments.utc(moments.moment_after("2030-01-31T02:00+02:00")) == "2030-01-31T00:00:00Z"


@pytest.mark.parametrize(
    "text", ["", "d", "1", "-1d", "1.5h", "1y", "999999d", "2030-13-01", "0001-01-01T00:00+14:00"]
)
def test_no_time_is_refused(text: str) -> None:
    with pytest.raises(BadSetting):
        moments.moment_after(text)
