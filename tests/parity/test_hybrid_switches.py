"""Each part of the hybrid decoders, left out or put in another's place, leaves the oracle's bounds.

Oracle and bounds: those of `test_families`. Their configurations cannot switch these parts off, so
the ops are replaced under the model; the twin in NumPy, put there unchanged, stays within bounds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from freehold import ops
from freehold.engine.pages import Sequence
from freehold.engine.runner import Part, Runner
from freehold.loading import load_model
from freehold.loading.names import qwen3_next
from freehold.loading.sources import Source
from freehold.ops import Tensor, recurrent_reference
from tests.ops.grid import tensor
from tests.parity import toys_hybrid
from tests.parity.family import (
    FamilyToy,
    family_oracle,
    oracle_logits,
    write_directory,
    write_family_gguf,
)
from tests.parity.test_families import FLIP_BOUND, RMS_BOUND, rms
from tests.parity.toy import Array

pytestmark = pytest.mark.parity

TOY = toys_hybrid.TOYS[0]
TOKENS = 100
Patch = pytest.MonkeyPatch
Switch = Callable[[Patch], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int], Array]:
    """A saved toy, a prompt, and the oracle's logits."""
    model = family_oracle(TOY)
    ids = np.random.default_rng(2).integers(0, TOY.vocabulary, TOKENS).tolist()
    path = write_directory(model, tmp_path_factory.mktemp("hybrid") / "model")
    return path, ids, oracle_logits(model, ids, half_kv=True)


def distance(made: tuple[Path, list[int], Array]) -> float:
    """How far our logits are from the oracle's, of the size of those. One step, one sequence."""
    path, ids, expected = made
    runner = Runner(load_model(path).model, tokens=256, step_tokens=TOKENS)
    ours = runner.run([Part(Sequence(), ids, len(ids))])
    return rms(ours - expected) / rms(expected)


def like(values: Tensor, value: float) -> Tensor:
    """A tensor of the same shape, filled."""
    return tensor(np.full((values.rows, values.cols), value))


def gates(change: Callable[..., dict[str, Tensor]]) -> Switch:
    """A delta rule with other gates."""
    kept = ops.delta_rule

    def patched(qkv: Tensor, a: Tensor, b: Tensor, decay: Tensor, dt: Tensor, *rest: Any) -> None:
        new = {"a": a, "b": b, "decay": decay, "dt": dt}
        new |= change(**new)
        kept(qkv, new["a"], new["b"], new["decay"], new["dt"], *rest)

    return lambda patch: patch.setattr(ops, "delta_rule", patched)


def twin_rule(
    qkv: Tensor, a: Tensor, b: Tensor, decay: Tensor, dt: Tensor, heads: int, *rest: Any
) -> None:
    """The delta rule in NumPy, for a text in one step."""
    tiled, _step, _kv, _cell, out = rest
    values = out.cols // a.cols
    keys = (qkv.cols - out.cols) // (2 * heads)
    arrays = [each.numpy()[:TOKENS] for each in (qkv, a, b)]
    given = (arrays[1], arrays[2], decay.numpy()[0], dt.numpy()[0])
    state = np.zeros((a.cols, keys, values))
    found, _ = recurrent_reference.delta_rule(arrays[0], given, heads, tiled, state)
    out.numpy()[:TOKENS] = found


def twin_convolve(x: Tensor, taps: Tensor, *_rest: Any) -> None:
    """The convolution in NumPy, for a text in one step."""
    rows, weight = x.numpy()[:TOKENS], taps.numpy()
    rows[:], _ = recurrent_reference.convolve(rows, weight, np.zeros((len(weight) - 1, x.cols)))


def twins(patch: Patch) -> None:
    patch.setattr(ops, "delta_rule", twin_rule)
    patch.setattr(ops, "convolve", twin_convolve)


def no_lengths(patch: Patch) -> None:
    twins(patch)
    patch.setattr(recurrent_reference, "_unit", lambda x: x.astype(np.float64) / 4)


def no_silu(patch: Patch) -> None:
    def plain(x: Tensor, taps: Tensor, *_rest: Any) -> None:
        rows, weight = x.numpy()[:TOKENS], taps.numpy()
        inputs = np.concatenate([np.zeros((len(weight) - 1, x.cols)), rows])
        rows[:] = sum(inputs[j : j + TOKENS] * weight[j] for j in range(len(weight)))

    patch.setattr(ops, "convolve", plain)


def left_out(name: str) -> Switch:
    return lambda patch: patch.setattr(ops, name, lambda *_: None)


def norms(which: str, add: float) -> Switch:
    """Other values are added to norms of this name."""

    def source(canonical: str, config: Any) -> Source | None:
        found = table.source(canonical, config)
        changes = found is not None and canonical.endswith(which)
        return dataclasses.replace(found, add=add) if found is not None and changes else found

    table = qwen3_next.HUB
    return lambda patch: patch.setattr(qwen3_next, "HUB", dataclasses.replace(table, source=source))


def ungated(a: Tensor, norm: Tensor, eps: float, _gate: Tensor, count: int) -> None:
    ops.norm_heads((a,), (norm,), eps, count)


SWITCHES: dict[str, Switch] = {
    "nothing fades": gates(lambda decay, **_: {"decay": like(decay, -1e-9)}),
    "all fade alike": gates(lambda decay, **_: {"decay": like(decay, -1.0)}),
    "fading without its bias": gates(lambda dt, **_: {"dt": like(dt, 0.0)}),
    "fading whatever the token": gates(lambda a, **_: {"a": like(a, 0.0)}),
    "beta is one": gates(lambda b, **_: {"b": like(b, 50.0)}),
    "beta and fading swapped": gates(lambda a, b, **_: {"a": b, "b": a}),
    "queries and keys keep their lengths": no_lengths,
    "no convolution": left_out("convolve"),
    "a convolution without silu": no_silu,
    "no gated norm": left_out("norm_gate"),
    "a norm without its gate": lambda patch: patch.setattr(ops, "norm_gate", ungated),
    "attention without its gate": left_out("open_values"),
    "a shared expert without its gate": left_out("open_rows"),
    "norms of layers as they are": norms("attn_norm", 0.0),
    "norms of experts as they are": norms("mlp_norm", 0.0),
    "norms of queries as they are": norms("q_norm", 0.0),
    "norms of keys as they are": norms("k_norm", 0.0),
    "the last norm as it is": norms("final_norm", 0.0),
    "one added to the norm of states": norms("delta.norm", 1.0),
}


def test_the_model_matches_with_nothing_changed(
    made: tuple[Path, list[int], Array], monkeypatch: Patch
) -> None:
    assert distance(made) <= RMS_BOUND
    twins(monkeypatch)
    assert distance(made) <= RMS_BOUND


@pytest.mark.parametrize("name", SWITCHES)
def test_a_part_changed_shows(
    made: tuple[Path, list[int], Array], monkeypatch: Patch, name: str
) -> None:
    SWITCHES[name](monkeypatch)
    assert distance(made) >= FLIP_BOUND


def test_stacked_experts_load_as_those_saved_one_by_one(tmp_path: Path) -> None:
    """As the mixtures of this family are published: gate and up in one tensor of all experts."""
    toy = next(toy for toy in toys_hybrid.TOYS if toy.arch == "qwen35moe")
    path = write_directory(family_oracle(toy), tmp_path / "model")
    ids = list(range(40))
    expected = Runner(load_model(path).model, tokens=64).logits(ids)
    tensors = load_file(path / "model.safetensors")
    for layer in range(toy.config.num_hidden_layers):
        at = f"model.layers.{layer}.mlp.experts."
        parts = {
            kind: np.stack([tensors.pop(f"{at}{i}.{kind}.weight") for i in range(8)])
            for kind in ("gate_proj", "up_proj", "down_proj")
        }
        pair = np.concatenate([parts["gate_proj"], parts["up_proj"]], axis=1)
        tensors |= {at + "gate_up_proj": pair, at + "down_proj": parts["down_proj"]}
    tensors["mtp.norm.weight"] = np.zeros(64, np.float32)  # of a layer that is not run
    save_file(tensors, path / "model.safetensors")
    assert np.array_equal(Runner(load_model(path).model, tokens=64).logits(ids), expected)


def test_a_layer_that_guesses_further_tokens_is_left_alone(tmp_path: Path) -> None:
    """GGUF counts it among the blocks."""
    toy = next(toy for toy in toys_hybrid.TOYS if toy.arch == "qwen35")
    directory = write_directory(family_oracle(toy), tmp_path / "model")
    plain = write_family_gguf(toy, directory, tmp_path / "plain.gguf")
    more = {**toy.keys, "block_count": 5, "nextn_predict_layers": 1}
    longer = dataclasses.replace(toy, keys=more, change=_with_another_block(toy))
    guessing = write_family_gguf(longer, directory, tmp_path / "guessing.gguf")
    ids = list(range(40))
    logits = [Runner(load_model(p).model, tokens=64).logits(ids) for p in (plain, guessing)]
    assert np.array_equal(logits[0], logits[1])


def _with_another_block(toy: FamilyToy) -> Callable[[str, Array], dict[str, Array]]:
    def change(name: str, values: Array) -> dict[str, Array]:
        made = toy.change(name, values)
        fifth = {n.replace("layers.3", "layers.4"): v for n, v in made.items() if "layers.3." in n}
        return made | fifth

    return change
