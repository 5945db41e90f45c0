"""An encoder's directory is read whole, or refused with what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import freehold
from freehold.errors import (
    BadConfig,
    BadPrompt,
    BadTokenizer,
    BadValue,
    DuplicateName,
    FormatError,
    LimitExceeded,
    MissingTensor,
    ShapeMismatch,
    UnexpectedTensor,
    UnknownConfigKey,
    UnknownFamily,
    UnsupportedType,
)
from freehold.loading import load_encoder_tokenizer
from freehold.loading.encoder import load_encoder, read_encoder
from freehold.loading.names import bert
from freehold.local import EmbeddingModel
from freehold.models.bert import Bert
from tests.loading.small_encoder import SmallEncoder, tokenizer_json


@pytest.fixture
def small() -> SmallEncoder:
    return SmallEncoder()


def vectors(folder: Path, **settings: Any) -> Any:
    model = freehold.load(folder, **settings)
    assert isinstance(model, EmbeddingModel)
    return model.embed(["w1 w2 w3", "w4"])


def test_a_directory_becomes_a_model(small: SmallEncoder, tmp_path: Path) -> None:
    plan = read_encoder(small.write(tmp_path / "model"))
    assert (plan.width, plan.vocabulary, plan.context_tokens) == (32, 25, 16)
    assert (plan.sentence.pooling, plan.sentence.normalise) == ("mean", True)
    loaded = load_encoder(tmp_path / "model")
    assert loaded.precision == "int16"
    assert loaded.parameters == sum(values.size for values in small.tensors.values())
    assert np.isfinite(vectors(tmp_path / "model")).all()


def test_precisions_agree(small: SmallEncoder, tmp_path: Path) -> None:
    folder = small.write(tmp_path / "model")
    exact = vectors(folder, precision="float32")
    assert np.abs(vectors(folder) - exact).max() < 2e-3


@pytest.mark.parametrize("kind", ["<f2", "<u2"], ids=["float16", "bfloat16"])
def test_half_width_floats_keep_their_values(
    small: SmallEncoder, tmp_path: Path, kind: str
) -> None:
    exact = SmallEncoder()
    for name, values in small.tensors.items():
        if kind == "<f2":
            halves = values.astype(np.float16)
            exact.tensors[name] = halves.astype(np.float32)
        else:
            halves = (values.view(np.uint32) >> 16).astype(np.uint16)
            exact.tensors[name] = (halves.astype(np.uint32) << 16).view(np.float32)
        small.tensors[name] = halves
    ours = vectors(small.write(tmp_path / "half"), precision="float32")
    theirs = vectors(exact.write(tmp_path / "whole"), precision="float32")
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("prefix", ["bert.", "roberta."])
def test_a_prefix_and_unused_tensors_are_known(
    small: SmallEncoder, tmp_path: Path, prefix: str
) -> None:
    small.tensors = {prefix + name: values for name, values in small.tensors.items()}
    small.tensors[prefix + "embeddings.position_ids"] = np.arange(16, dtype="<i8").reshape(1, 16)
    small.tensors[prefix + "pooler.dense.weight"] = np.zeros((32, 32), np.float32)
    small.tensors[prefix + "pooler.dense.bias"] = np.zeros(32, np.float32)
    plain = vectors(SmallEncoder().write(tmp_path / "plain"))
    assert np.array_equal(vectors(small.write(tmp_path / "model")), plain)


def test_names_are_one_to_one() -> None:
    slots = Bert.slots(bert.read_config(SmallEncoder().config, "bert"))
    names = [bert.file_name(canonical) for canonical in slots]
    assert len(set(names)) == len(names) == len(SmallEncoder().tensors)
    assert set(names) == set(SmallEncoder().tensors)


def changed(name: str, value: object) -> dict[str, Any]:
    return {"config": {**SmallEncoder().config, name: value}}


def without(name: str) -> dict[str, Any]:
    return {"config": {k: v for k, v in SmallEncoder().config.items() if k != name}}


def pooling(**fields: object) -> dict[str, Any]:
    return {"pooling": {"word_embedding_dimension": 32, **fields}}


def tensor(name: str, values: object) -> dict[str, Any]:
    return {"tensors": {**SmallEncoder().tensors, name: values}}


def file(name: str, value: object) -> dict[str, Any]:
    return {"files": {name: value}}


QUERY = "encoder.layer.0.attention.self.query.weight"
CASES: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "another family": (changed("model_type", "t5"), UnknownFamily, "t5"),
    "no family": (without("model_type"), UnknownFamily, "None"),
    "a family that is no text": (changed("model_type", ["bert"]), UnknownFamily, "bert"),
    "an unknown key": (changed("rotary", True), UnknownConfigKey, "rotary"),
    "relative positions": (
        changed("position_embedding_type", "relative_key"),
        BadConfig,
        "position_embedding_type",
    ),
    "a decoder": (changed("is_decoder", True), BadConfig, "is_decoder"),
    "an unknown activation": (changed("hidden_act", "swish"), BadConfig, "hidden_act"),
    "no width": (without("hidden_size"), BadConfig, "hidden_size"),
    "heads that do not divide": (changed("num_attention_heads", 5), BadConfig, "multiple"),
    "a width of text": (changed("hidden_size", "32"), BadConfig, "hidden_size"),
    "a negative depth": (changed("num_hidden_layers", -1), BadConfig, "num_hidden_layers"),
    "an endless depth": (changed("num_hidden_layers", 1 << 40), BadConfig, "num_hidden_layers"),
    "more layers than tensors": (changed("num_hidden_layers", 2), MissingTensor, "layer.1"),
    "a zero epsilon": (changed("layer_norm_eps", 0), BadConfig, "layer_norm_eps"),
    "no positions for the family": (
        {"config": {**SmallEncoder().config, "model_type": "roberta", "pad_token_id": 15}},
        BadConfig,
        "position",
    ),
    "a configuration that is a list": (file("config.json", "[]"), FormatError, "object"),
    "a key twice": (file("config.json", '{"a": 1, "a": 2}'), DuplicateName, "twice"),
    "no JSON": (file("config.json", "{"), BadValue, "JSON"),
    "endless JSON": (file("config.json", "[" * 5_000_000), LimitExceeded, "larger"),
    "no modules": (file("modules.json", None), BadConfig, "modules.json"),
    "modules that are an object": (file("modules.json", {}), BadValue, "list"),
    "modules that leave the list": (file("modules.json", '[], "x": [1]'), BadValue, "list"),
    "a module elsewhere": (
        file("modules.json", [{"type": "Transformer", "path": "../.."}]),
        BadConfig,
        "modules.json",
    ),
    "a dense layer": (
        {"modules": [*SmallEncoder().modules, {"type": "a.Dense", "path": "3_Dense"}]},
        BadConfig,
        "Dense",
    ),
    "no pooling": ({"modules": SmallEncoder().modules[:1]}, BadConfig, "Pooling"),
    "no pooling file": (file("1_Pooling/config.json", None), BadConfig, "missing"),
    "two ways of pooling": (
        pooling(pooling_mode_mean_tokens=True, pooling_mode_max_tokens=True),
        BadConfig,
        "mean and max",
    ),
    "no way of pooling": (pooling(pooling_mode_mean_tokens=False), BadConfig, "none"),
    "weighted pooling": (pooling(pooling_mode_weightedmean_tokens=True), BadConfig, "weightedmean"),
    "pooling of another width": (
        {"pooling": {"word_embedding_dimension": 31, "pooling_mode_mean_tokens": True}},
        BadConfig,
        "word_embedding_dimension",
    ),
    "an unknown pooling key": (
        pooling(pooling_mode_mean_tokens=True, temperature=2),
        UnknownConfigKey,
        "temperature",
    ),
    "a prompt before every text": (
        file("config_sentence_transformers.json", {"default_prompt_name": "query"}),
        BadConfig,
        "default_prompt_name",
    ),
    "a limit of no tokens": (
        file("sentence_bert_config.json", {"max_seq_length": 0}),
        BadConfig,
        "max_seq_length",
    ),
    "a tensor too many": (tensor("extra", np.zeros(2, np.float32)), UnexpectedTensor, "extra"),
    "a classifier": (
        tensor("classifier.weight", np.zeros((2, 32), np.float32)),
        UnexpectedTensor,
        "classifier",
    ),
    "a tensor of another shape": (
        tensor(QUERY, np.zeros((32, 31), np.float32)),
        ShapeMismatch,
        "query",
    ),
    "a matrix of integers": (tensor(QUERY, np.zeros((32, 32), "<i8")), UnsupportedType, "query"),
    "a matrix that is not finite": (
        tensor(QUERY, np.full((32, 32), np.inf, np.float32)),
        BadValue,
        "finite",
    ),
    "no tokenizer": (file("tokenizer.json", None), BadTokenizer, "tokenizer"),
    "a broken tokenizer": (file("tokenizer.json", "{}"), BadTokenizer, "refused"),
}


@pytest.mark.parametrize(("parts", "kind", "words"), CASES.values(), ids=CASES.keys())
def test_what_is_wrong_is_named(
    tmp_path: Path, parts: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as caught:
        freehold.load(SmallEncoder(**parts).write(tmp_path / "model"))
    assert words in str(caught.value)


def test_a_missing_tensor_is_named(small: SmallEncoder, tmp_path: Path) -> None:
    del small.tensors[QUERY]
    with pytest.raises(MissingTensor, match="query"):
        load_encoder(small.write(tmp_path / "model"))


def test_a_directory_without_safe_weights_is_refused(small: SmallEncoder, tmp_path: Path) -> None:
    folder = small.write(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BadConfig, match="unpickled"):
        load_encoder(folder)


def test_a_tokenizer_of_another_model_is_refused(small: SmallEncoder, tmp_path: Path) -> None:
    other = tokenizer_json()
    other["model"]["vocab"]["more"] = 25
    small.files["tokenizer.json"] = other
    with pytest.raises(BadTokenizer, match="does not belong"):
        load_encoder_tokenizer(read_encoder(small.write(tmp_path / "model")))


def test_texts_are_neither_cut_nor_padded(small: SmallEncoder, tmp_path: Path) -> None:
    tokenizer = load_encoder_tokenizer(read_encoder(small.write(tmp_path / "model")))
    assert tokenizer.encode("w1 w2 w3 w4 w5") == [2, 6, 7, 8, 9, 10, 3]
    assert tokenizer.encode("") == [2, 3]
    assert tokenizer.encode_batch(["w1", "w2 w3"]) == [[2, 6, 3], [2, 7, 8, 3]]
    assert tokenizer.count("w1") == 3
    assert tokenizer.cut([2, 6, 7, 8, 9, 10, 3], 4) == [2, 6, 7, 3]
    with pytest.raises(BadPrompt, match="Unicode"):
        tokenizer.encode("w1 \ud800")


def test_a_written_control_token_is_only_text(small: SmallEncoder, tmp_path: Path) -> None:
    tokenizer = load_encoder_tokenizer(read_encoder(small.write(tmp_path / "model")))
    ids = tokenizer.encode("w1 [SEP] w2")
    assert (ids[0], ids[-1], ids.count(3)) == (2, 3, 1)


def test_lower_case_and_limits_come_from_the_files(small: SmallEncoder, tmp_path: Path) -> None:
    small.files["sentence_bert_config.json"] = {"max_seq_length": 9, "do_lower_case": True}
    plan = read_encoder(small.write(tmp_path / "model"))
    assert plan.context_tokens == 9
    assert load_encoder_tokenizer(plan).encode("W1") == [2, 6, 3]


@pytest.mark.parametrize(
    ("limit", "context"), [(None, 16), (12, 12), (10**30, 16)], ids=["none", "12", "huge"]
)
def test_without_a_limit_the_tokenizer_s_own_counts(
    small: SmallEncoder, tmp_path: Path, limit: int | None, context: int
) -> None:
    small.files["sentence_bert_config.json"] = {"max_seq_length": None}
    small.files["tokenizer_config.json"] = {"model_max_length": limit}
    assert read_encoder(small.write(tmp_path / "model")).context_tokens == context


def test_the_newer_form_of_pooling_is_read(small: SmallEncoder, tmp_path: Path) -> None:
    small.pooling = {"embedding_dimension": 32, "pooling_mode": "cls", "include_prompt": True}
    assert read_encoder(small.write(tmp_path / "model")).sentence.pooling == "cls"


def test_prompts_are_kept_and_not_used(small: SmallEncoder, tmp_path: Path) -> None:
    prompts = {"query": "query: ", "document": ""}
    small.files["config_sentence_transformers.json"] = {
        "__version__": {"transformers": "5"},
        "prompts": prompts,
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    }
    model = freehold.load(small.write(tmp_path / "model"))
    assert isinstance(model, EmbeddingModel)
    assert model.prompts == prompts


def test_matrices_that_are_no_whole_blocks_need_floats(tmp_path: Path) -> None:
    small = SmallEncoder(config={**SmallEncoder().config, "intermediate_size": 40})
    for name in ("intermediate.dense.weight", "intermediate.dense.bias", "output.dense.weight"):
        full = small.tensors[f"encoder.layer.0.{name}"]
        small.tensors[f"encoder.layer.0.{name}"] = np.ascontiguousarray(
            full[:, :40] if name == "output.dense.weight" else full[:40]
        )
    folder = small.write(tmp_path / "model")
    with pytest.raises(BadConfig, match="float32"):
        load_encoder(folder)
    assert np.isfinite(vectors(folder, precision="float32")).all()
