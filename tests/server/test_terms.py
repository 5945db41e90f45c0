"""The server loads only what the gate lets through, and says so without a path."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from freehold.config import resolve_settings
from freehold.errors import FreeholdError, LicenceDenied, UnknownLicence
from freehold.library.terms import Profile, write_profile
from freehold.server.http_errors import status_of
from freehold.server.residents import Residents
from freehold.server.serving import serve
from tests.library.terms.files import gguf


def test_a_file_of_unknown_terms_is_not_served_to_others(tmp_path: Path, home: Path) -> None:
    file = gguf(tmp_path)
    with pytest.raises(UnknownLicence) as error:
        serve(resolve_settings({"host": "0.0.0.0"}), [str(file)])
    assert f"freehold license accept {file}" in error.value.hint
    assert not (home / "freehold.db").exists()


def test_a_file_whose_terms_forbid_it_is_not_served_at_all(tmp_path: Path) -> None:
    write_profile(Profile(commercial=True))
    with pytest.raises(LicenceDenied, match="commercial activities"):
        serve(resolve_settings(), [str(gguf(tmp_path, "mrl"))])


def test_a_model_loaded_on_demand_is_asked_for_first(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_profile(Profile(commercial=True))
    file = gguf(home / "models" / "mine", "mrl")
    residents = Residents(settings=resolve_settings(), refs=[str(file)])
    (card,) = residents.cards()
    residents._at_start.clear()
    with pytest.raises(FreeholdError) as error:
        asyncio.run(residents.chat(card.id))
    assert isinstance(error.value, LicenceDenied)
    assert status_of(error.value) == 403
    assert str(home) not in str(error.value)
    assert card.id in error.value.message
