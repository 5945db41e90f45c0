"""Claims about directories as sources: what is written is the model that the directory holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freehold.errors import BadConfig, UnknownTokenizer
from freehold.formats.gguf import open_gguf
from freehold.formats.gguf_writer import GgufWriter, NewTensor
from freehold.loading import Suggested, load_model, read_text_side
from freehold.loading.gguf import plan_gguf
from freehold.quantize import open_source
from freehold.quantize.loss import logits_of
from tests.loading.small_directory import CONFIG, write_directory, write_weights
from tests.tokenizer import tokenizer_json as made

TEXT = list(range(3, 120))


def directory(folder: Path, **files: Any) -> Path:
    write_directory(folder, files)
    write_weights(folder)
    return folder


def copy(folder: Path, path: Path) -> Path:
    """The directory as GGUF, without rounding anything."""
    with open_source(folder) as source:
        tensors = [NewTensor(t.name, t.shape, t.type) for t in source.tensors.values()]
        with GgufWriter(path, source.raw_metadata, tensors) as writer:
            for tensor in source.tensors.values():
                for start in range(0, tensor.row_count, 7):
                    rows = tensor.rows(start, min(7, tensor.row_count - start))
                    writer.write(tensor.name, start, rows.view(np.uint8))
            return writer.publish()


def logits(path: Path) -> np.ndarray[Any, Any]:
    return np.concatenate([each.copy() for each in logits_of(load_model(path).model, TEXT)])


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"num_key_value_heads": 4, "rope_theta": 500000.0},
        {
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
        {"model_type": "mistral"},
    ],
    ids=["plain", "theta", "banded", "linear", "mistral"],
)
def test_the_file_is_the_directorys_model(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = directory(tmp_path / "model", **{"config.json": CONFIG | change})
    written = copy(folder, tmp_path / "copy.gguf")
    # GGUF has divisors of the frequencies, rounded once more; weights of size 1 make much of it.
    off = 5e-3 if "rope_type" in str(change) and "llama3" in str(change) else 1e-5
    np.testing.assert_allclose(logits(written), logits(folder), rtol=1e-5, atol=off)


def test_a_source_of_floats_stays_in_its_file_and_answers_with_the_same_bits(
    tmp_path: Path,
) -> None:
    folder = directory(tmp_path / "model")
    for path in (folder, copy(folder, tmp_path / "copy.gguf")):
        with open_source(path) as source:
            made = [each.copy() for each in logits_of(source.loaded.model, TEXT)]
        assert np.array_equal(np.concatenate(made), logits(path))
    with open_gguf(path) as file:
        plan = plan_gguf(file)
        vectors = [plan.found[name] for name in plan.found if not plan.slots[name].matrix]
        vectors_bytes = sum(piece.n_bytes for pieces in vectors for piece in pieces)
        assert sum(plan.sizes_bytes(in_place=True)) == vectors_bytes
        assert sum(plan.sizes_bytes()) > 10 * vectors_bytes


def test_the_file_has_the_directorys_tokenizer_and_template(tmp_path: Path) -> None:
    folder = directory(tmp_path / "model")
    written = copy(folder, tmp_path / "copy.gguf")
    own, new = read_text_side(folder), read_text_side(written)
    text = "It's 12345 größer <|im_start|>user\n日本 <think>"
    for special in (False, True):
        assert new.tokenizer.encode(text, parse_special=special) == own.tokenizer.encode(
            text, parse_special=special
        )
    assert new.tokenizer.eos_ids == own.tokenizer.eos_ids
    assert new.templates == own.templates


def test_the_file_recommends_what_the_directory_recommends(tmp_path: Path) -> None:
    said = {"do_sample": True, "temperature": 0.7, "top_k": 20, "repetition_penalty": 1.05}
    folder = directory(tmp_path / "model", **{"generation_config.json": said})
    written = copy(folder, tmp_path / "copy.gguf")
    assert read_text_side(written).suggested == read_text_side(folder).suggested != Suggested()


def test_the_model_cards_licence_comes_along(tmp_path: Path) -> None:
    card = "---\nlicense: apache-2.0\ntags:\n- text\n---\n# A model\nlicense: mit\n"
    folder = directory(tmp_path / "model", **{"README.md": card})
    with open_source(folder) as source:
        assert source.metadata["general.license"] == "apache-2.0"


def test_what_gguf_cannot_say_is_refused(tmp_path: Path) -> None:
    windows = {"model_type": "mistral", "sliding_window": 64}
    folder = directory(tmp_path / "windows", **{"config.json": CONFIG | windows})
    with pytest.raises(BadConfig, match="GGUF's words"):
        open_source(folder)


def test_an_unknown_way_of_cutting_words_is_refused(tmp_path: Path) -> None:
    fields = made.byte_level()
    fields["normalizer"] = None  # no table has this pattern without composing
    fields["model"]["ignore_merges"] = True
    folder = directory(tmp_path / "model", **{"tokenizer.json": fields})
    with pytest.raises(UnknownTokenizer, match="no name"):
        open_source(folder)
