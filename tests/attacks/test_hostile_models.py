"""Sound GGUF files that are no sound model.

Each is refused with its exact error, naming the tensor or the key, before anything is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

import freehold
from freehold.errors import (
    BadConfig,
    BadTokenizer,
    BadValue,
    FreeholdError,
    LoadError,
    MissingTensor,
    ShapeMismatch,
    Truncated,
    UnexpectedTensor,
    UnknownConfigKey,
    UnknownFamily,
    UnknownTokenizer,
    UnsupportedType,
)
from tests.loading.small import Checkpoint, Dims, Value, small

DIMS = Dims(L=1, D=32, H=4, G=2, A=8, F=48, V=261, context_tokens=128)
Change = Callable[[Checkpoint], object]


def key(name: str, value: Value) -> Change:
    """Sets a key of the file."""
    return lambda c: c.keys.update({name: value})


def no_key(name: str) -> Change:
    return lambda c: c.keys.pop(name)


def no_tensor(name: str) -> Change:
    return lambda c: c.tensors.pop(name)


def shaped(name: str, *shape: int) -> Change:
    """Gives a tensor this shape, or adds it."""
    return lambda c: c.reshape(name, *shape)


def tokens(count: int) -> Change:
    """As many tokens more, or fewer; the file says no size besides."""

    def change(c: Checkpoint) -> None:
        listed = c.keys["tokenizer.ggml.tokens"]
        assert isinstance(listed, list)
        grown = [*listed[: min(count, 0) or None], *(f"[X{i}]" for i in range(count))]
        c.keys["tokenizer.ggml.tokens"] = [str(token) for token in grown]
        c.keys["tokenizer.ggml.token_type"] = [1] * len(grown)
        del c.keys["llama.vocab_size"]

    return change


Expected = tuple[type[FreeholdError], str]
CASES: dict[str, tuple[Change, *Expected]] = {
    "architecture of nobody": (
        key("general.architecture", "mamba"),
        UnknownFamily,
        "'mamba'",
    ),
    "architecture in other letters": (
        key("general.architecture", "Llama"),
        UnknownFamily,
        "'Llama'",
    ),
    "key of a newer variant": (
        key("llama.attention.sliding_window", 4096),
        UnknownConfigKey,
        "llama.attention.sliding_window",
    ),
    "logit scale": (key("llama.logit_scale", 2.0), UnknownConfigKey, "llama.logit_scale"),
    "experts": (key("llama.expert_count", 8), BadConfig, "expert_used_count"),
    "experts used": (key("llama.expert_used_count", 2), BadConfig, "expert_used_count"),
    "parallel residual": (
        key("llama.use_parallel_residual", True),
        BadConfig,
        "llama.use_parallel_residual",
    ),
    "rope scaling unknown": (
        key("llama.rope.scaling.type", "longrope"),
        BadConfig,
        "llama.rope.scaling.type",
    ),
    "rope scaling a number": (
        key("llama.rope.scaling.type", 3),
        BadConfig,
        "llama.rope.scaling.type",
    ),
    "rope factor zero": (
        key("llama.rope.scaling.factor", 0.0),
        BadConfig,
        "llama.rope.scaling.factor",
    ),
    "rope base NaN": (key("llama.rope.freq_base", math.nan), BadConfig, "llama.rope.freq_base"),
    "rope base one": (key("llama.rope.freq_base", 1.0), BadConfig, "llama.rope.freq_base"),
    "half of each head rotates": (
        key("llama.rope.dimension_count", 4),
        BadConfig,
        "llama.rope.dimension_count",
    ),
    "values of another width": (
        key("llama.attention.value_length", 16),
        BadConfig,
        "llama.attention.value_length",
    ),
    "heads that do not share evenly": (
        key("llama.attention.head_count_kv", 3),
        BadConfig,
        "attention.head_count_kv",
    ),
    "more KV heads than heads": (
        key("llama.attention.head_count_kv", 8),
        BadConfig,
        "attention.head_count_kv",
    ),
    "no KV head": (
        key("llama.attention.head_count_kv", 0),
        BadConfig,
        "llama.attention.head_count_kv",
    ),
    "heads per layer": (
        key("llama.attention.head_count", [4, 4]),
        BadConfig,
        "llama.attention.head_count",
    ),
    "negative heads": (
        key("llama.attention.head_count", -4),
        BadConfig,
        "llama.attention.head_count",
    ),
    "heads as text": (
        key("llama.attention.head_count", "4"),
        BadConfig,
        "llama.attention.head_count",
    ),
    "heads as truth": (
        key("llama.attention.head_count", True),
        BadConfig,
        "llama.attention.head_count",
    ),
    "odd head width": (
        lambda c: (
            c.keys.update({"llama.attention.key_length": 7, "llama.attention.value_length": 7}),
            c.keys.pop("llama.rope.dimension_count"),
        ),
        BadConfig,
        "head width",
    ),
    "width that heads do not divide": (
        lambda c: (
            c.keys.update({"llama.attention.head_count": 5, "llama.attention.head_count_kv": 5}),
            c.keys.pop("llama.attention.key_length"),
        ),
        BadConfig,
        "embedding_length",
    ),
    "no layers key": (no_key("llama.block_count"), BadConfig, "llama.block_count"),
    "no layers": (key("llama.block_count", 0), BadConfig, "llama.block_count"),
    "layers beyond reason": (key("llama.block_count", 1 << 31), BadConfig, "llama.block_count"),
    "no width": (no_key("llama.embedding_length"), BadConfig, "llama.embedding_length"),
    "no context": (no_key("llama.context_length"), BadConfig, "llama.context_length"),
    "no epsilon": (
        no_key("llama.attention.layer_norm_rms_epsilon"),
        BadConfig,
        "llama.attention.layer_norm_rms_epsilon",
    ),
    "epsilon infinite": (
        key("llama.attention.layer_norm_rms_epsilon", math.inf),
        BadConfig,
        "llama.attention.layer_norm_rms_epsilon",
    ),
    "epsilon negative": (
        key("llama.attention.layer_norm_rms_epsilon", -1e-5),
        BadConfig,
        "llama.attention.layer_norm_rms_epsilon",
    ),
    "no vocabulary": (no_key("tokenizer.ggml.tokens"), BadConfig, "tokenizer.ggml.tokens"),
    "vocabulary of another size": (key("llama.vocab_size", 300), BadConfig, "llama.vocab_size"),
    "more tokens than embedding rows": (tokens(3), ShapeMismatch, "token_embd.weight"),
    "fewer tokens than embedding rows": (tokens(-3), ShapeMismatch, "token_embd.weight"),
    "tokenizer of an unknown kind": (
        key("tokenizer.ggml.model", "rwkv"),
        UnknownTokenizer,
        "rwkv",
    ),
    "end token outside the vocabulary": (
        key("tokenizer.ggml.eos_token_id", 99_999),
        BadTokenizer,
        "eos",
    ),
    "fewer layers than it says": (
        key("llama.block_count", 2),
        MissingTensor,
        "blk.1.attn_norm.weight",
    ),
    "no embedding": (no_tensor("token_embd.weight"), MissingTensor, "token_embd.weight"),
    "no final norm": (no_tensor("output_norm.weight"), MissingTensor, "output_norm.weight"),
    "no value projection": (
        no_tensor("blk.0.attn_v.weight"),
        MissingTensor,
        "blk.0.attn_v.weight",
    ),
    "a tensor of nobody": (shaped("blk.0.surprise.weight", 4), UnexpectedTensor, "blk.0.surprise"),
    "a layer too many": (
        shaped("blk.1.attn_norm.weight", 32),
        UnexpectedTensor,
        "blk.1.attn_norm.weight",
    ),
    "experts' tensors": (
        shaped("blk.0.ffn_gate_inp.weight", 8, 32),
        UnexpectedTensor,
        "blk.0.ffn_gate_inp.weight",
    ),
    "a bias without a place": (
        shaped("blk.0.ffn_up.bias", 48),
        UnexpectedTensor,
        "blk.0.ffn_up.bias",
    ),
    "query transposed": (
        shaped("blk.0.attn_k.weight", 32, 16),
        ShapeMismatch,
        "blk.0.attn_k.weight",
    ),
    "a row short": (shaped("blk.0.ffn_up.weight", 47, 32), ShapeMismatch, "blk.0.ffn_up.weight"),
    "a norm as a matrix": (
        shaped("output_norm.weight", 2, 16),
        ShapeMismatch,
        "output_norm.weight",
    ),
    "a matrix as a row": (
        shaped("blk.0.attn_output.weight", 1024),
        ShapeMismatch,
        "blk.0.attn_output.weight",
    ),
    "head of other rows": (shaped("output.weight", 260, 32), ShapeMismatch, "output.weight"),
    "bias of other width": (
        shaped("blk.0.attn_q.bias", 33),
        ShapeMismatch,
        "blk.0.attn_q.bias",
    ),
    "divisors of other width": (
        shaped("rope_freqs.weight", 5),
        ShapeMismatch,
        "rope_freqs.weight",
    ),
}


def written(folder: Path, change: Change | None = None) -> Path:
    checkpoint = small(DIMS)
    if change is not None:
        change(checkpoint)
    return checkpoint.write(folder / "model.gguf")


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_is_no_model_gets_its_error(tmp_path: Path, name: str) -> None:
    change, kind, named = CASES[name]
    path = written(tmp_path, change)
    with pytest.raises(LoadError) as caught:
        freehold.load(path)
    error = caught.value
    assert type(error) is kind
    assert named in str(error)
    if isinstance(error, MissingTensor | UnexpectedTensor | ShapeMismatch):
        assert error.family == "llama"
        assert named in str(error.tensor)
        assert error.expected
    if isinstance(error, ShapeMismatch):
        assert error.expected != error.found
    assert len(str(error)) < 400


def test_the_same_file_unchanged_is_a_model(tmp_path: Path) -> None:
    """Otherwise every case above would pass for the wrong reason."""
    model = freehold.load(written(tmp_path))
    assert model.logits([0, 1, 2]).shape == (3, DIMS.V)


@pytest.mark.parametrize(
    "change",
    [
        key("llama.rope.scaling.finetuned", True),
        key("llama.expert_count", 0),
        no_key("llama.vocab_size"),
        no_key("llama.rope.dimension_count"),
        no_key("llama.attention.key_length"),
        shaped("output.weight", 261, 32),
        shaped("blk.0.attn_q.bias", 32),
        shaped("blk.0.attn_output.bias", 32),
    ],
)
def test_what_changes_nothing_or_has_a_place_is_taken(tmp_path: Path, change: Change) -> None:
    freehold.load(written(tmp_path, change))


def test_blocks_that_do_not_divide_the_row_are_a_fault_of_the_file(tmp_path: Path) -> None:
    def change(c: Checkpoint) -> None:
        c.tensors["blk.0.ffn_down.weight"] = ("Q4_0", (32, 48), bytes(32 * 48 // 32 * 18))

    with pytest.raises(BadValue, match=r"blk\.0\.ffn_down\.weight|Q4_0"):
        freehold.load(written(tmp_path, change))


def test_a_truncated_model_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    content = written(tmp_path).read_bytes()
    for share in (0.01, 0.2, 0.5, 0.9, 0.999):
        path = tmp_path / "short.gguf"
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(Truncated) as caught:
            freehold.load(path)
        assert caught.value.path == path


def test_a_block_type_without_kernels_is_refused_by_name(tmp_path: Path) -> None:
    """Type 29, IQ1_M, in place of the last tensor's F32."""
    path = written(tmp_path)
    content = bytearray(path.read_bytes())
    name = b"output_norm.weight"
    at = content.index(name) + len(name) + 4 + 8
    assert content[at : at + 4] == bytes(4)
    content[at] = 29
    path.write_bytes(content)
    with pytest.raises(UnsupportedType, match=r"output_norm\.weight|29"):
        freehold.load(path)
