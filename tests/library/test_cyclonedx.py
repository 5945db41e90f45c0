"""The bill of materials is valid by the standard's own schema, and says what the deed says.

Oracle: the CycloneDX 1.6 schema as cyclonedx-python-lib 11 ships it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from freehold.library.cyclonedx import bill_of_materials
from freehold.library.deed import find_deed
from freehold.library.identity import identity_of
from freehold.library.record import Source, Terms, Weights, open_record, record_obtained
from tests.library import owned
from tests.library.owned import House

house = pytest.fixture(owned.house)


def document(house: House, ref: str = "toy-small") -> dict[str, Any]:
    with open_record(house.settings) as events:
        deed, head = find_deed(ref, events, settings=house.settings, identify=identity_of)
        return bill_of_materials(deed, head)


def problems(bom: dict[str, Any]) -> object:
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bom))


def test_is_valid(house: House) -> None:
    assert problems(document(house)) is None
    assert problems(document(house, "org/toy")) is None


def test_the_schema_refuses_what_is_wrong(house: House) -> None:
    wrong = document(house)
    wrong["metadata"]["component"]["licenses"] = [{"license": {"id": "toy-licence"}}]
    assert problems(wrong) is not None


def test_says_hash_licence_ancestors_and_loss(house: House) -> None:
    model = document(house)["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    assert model["hashes"] == [
        {"alg": "SHA-256", "content": identity_of(house.small).digest.removeprefix("sha256:")}
    ]
    assert model["licenses"][0]["license"]["name"] == "toy-licence"
    (ancestor,) = model["pedigree"]["ancestors"]
    assert ancestor["purl"] == "pkg:huggingface/org/toy@abc123"
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {metric["type"].partition(",")[0]: metric["value"] for metric in metrics} == {
        "mean KL divergence from the source": "0.0123",
        "99th percentile of the KL divergence from the source": "0.21",
        "share of tokens whose likeliest successor is the source's": "0.957",
        "perplexity": "13.4",
        "perplexity of the source": "13.1",
    }


def test_the_same_record_gives_the_same_document(house: House) -> None:
    assert document(house) == document(house)


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("apache-2.0", {"id": "Apache-2.0"}),
        ("MIT", {"id": "MIT"}),
        ("llama3.2", {"name": "Llama 3.2 Community License Agreement"}),
        ("house-terms", {"name": "house-terms"}),
    ],
)
def test_a_licence_goes_by_its_spdx_id_or_its_name(
    house: House, tmp_path: Path, licence: str, expected: dict[str, str]
) -> None:
    folder = tmp_path / "several"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    weights = Weights(
        identity=identity_of(folder), name="d", location=folder, terms=Terms(licence=licence)
    )
    with open_record(house.settings) as events:
        record_obtained(
            events, weights, source=Source(kind="package", reference="Some.Package==1.0")
        )
    bom = document(house, "d")
    assert problems(bom) is None
    model = bom["metadata"]["component"]
    assert model["licenses"] == [{"license": expected | {"acknowledgement": "declared"}}]
    assert model["purl"] == "pkg:pypi/some.package@1.0"
    assert [file["name"] for file in model["components"]] == ["config.json", "model.safetensors"]
