"""The network that is trained against transformers' own classes, values and gradients.

Oracle: the family's class of transformers 5 on torch 2.13, float32, over each example alone. Both
sides compute in float32 and differ in the order of sums only.

| what, of the oracle's largest | bound | reason                                              |
|-------------------------------|-------|-----------------------------------------------------|
| logits                        | 2e-4  | float32 sums in another order through every layer   |
| gradients                     | 5e-4  | the same, there and back                            |
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from freehold.errors import BadTraining
from freehold.models.registry import DECODERS, PLAIN_LAYERS, WRAPPERS
from freehold.tune.training.adapter import TARGETS, LoraShape, add_adapter, peft_tensors
from freehold.tune.training.base import Base, open_base
from freehold.tune.training.packing import Tokens, pack_rows
from tests.parity import toys_experts, toys_layers, toys_mistral, toys_norms, toys_qwen
from tests.parity.family import (
    FamilyToy,
    family_oracle,
    oracle_logits,
    write_directory,
    write_family_gguf,
)

pytestmark = pytest.mark.parity

LOGITS, GRADIENTS = 2e-4, 5e-4
ALL = (*toys_layers.TOYS, *toys_mistral.TOYS, *toys_norms.TOYS, *toys_qwen.TOYS, *toys_experts.TOYS)


def plain(toy: FamilyToy) -> bool:
    config = toy.config.get_text_config()
    sparse = any(hasattr(config, key) for key in ("num_experts", "num_local_experts"))
    return DECODERS.get(config.model_type) in PLAIN_LAYERS and not sparse


PLAIN = [toy for toy in ALL if plain(toy)]


def named(toy: FamilyToy) -> str:
    return toy.name.replace(" ", "-")


def sparing(toys: list[FamilyToy]) -> list[Any]:
    """The first toy of each model_type in the quick run, the others in the whole one."""
    seen: set[str] = set()
    params = []
    for toy in toys:
        kind = toy.config.get_text_config().model_type
        params.append(
            pytest.param(toy, id=named(toy), marks=[pytest.mark.slow] if kind in seen else [])
        )
        seen.add(kind)
    return params


OTHERS = [toy for toy in ALL if not plain(toy)]


def texts(vocabulary: int) -> list[Tokens]:
    """Examples that share a beginning, one inside another, one twice, and one of its own."""
    rng = np.random.default_rng(7)

    def some(count: int) -> list[int]:
        return [int(i) for i in rng.integers(0, vocabulary, count)]

    system, document = some(12), some(30)
    lists = [
        system + some(9),
        system + document + some(5),
        system + document + some(11),
        system + document,
        some(47),
    ]
    lists.append(list(lists[0]))
    made = []
    for ids in lists:
        learned = np.zeros(len(ids), bool)
        learned[-4:] = True
        learned[5] = True
        made.append(Tokens(np.array(ids, np.int32), learned))
    return made


@pytest.mark.parametrize("toy", sparing(PLAIN))
def test_packed_logits_are_those_of_examples_alone(toy: FamilyToy, tmp_path: Path) -> None:
    oracle = family_oracle(toy)
    base = open_base(write_directory(oracle, tmp_path / "hub"))
    examples = texts(toy.vocabulary)
    alone = [oracle_logits(oracle, one.ids.tolist()) for one in examples]
    for share in (True, False):
        for row, members in pack_rows([[one] for one in examples], row_tokens=100, share=share):
            logits = base.network.logits(row).detach().numpy()
            for place, token, example in row.targets:
                ids = examples[members[example][0]].ids.tolist()
                at = next(
                    i
                    for i in range(1, len(ids))
                    if ids[i] == token and ids[:i] == ids_at(row, place, i)
                )
                wanted = alone[members[example][0]][at - 1]
                assert np.abs(logits[place] - wanted).max() <= LOGITS * np.abs(wanted).max()


def ids_at(row: Any, place: int, count: int) -> list[int]:
    """The tokens up to a place of a row, along its path."""
    for group in row.groups:
        for keys, (own, seen) in zip(group.keys, group.lengths, strict=True):
            path = [int(k) for k in keys[:seen]]
            if place in path[seen - own :]:
                path = path[: path.index(place) + 1]
                return [int(row.ids[p]) for p in path] if len(path) == count else []
    raise AssertionError("every token has a query")


@pytest.mark.parametrize("toy", sparing([toy for toy in PLAIN if toy.arch]))
def test_a_file_gives_the_network_of_its_directory(toy: FamilyToy, tmp_path: Path) -> None:
    oracle = family_oracle(toy)
    directory = write_directory(oracle, tmp_path / "hub")
    file = write_family_gguf(toy, directory, tmp_path / "toy.gguf")
    one, other = open_base(directory), open_base(file)
    ((row, _),) = pack_rows([texts(toy.vocabulary)], row_tokens=1000)
    wanted = one.network.logits(row)
    found = other.network.logits(row)
    assert (found - wanted).abs().max() <= LOGITS * wanted.abs().max()
    assert one.hub_names == other.hub_names


@pytest.mark.parametrize("keep", ["frozen", pytest.param("blocks", marks=pytest.mark.slow)])
@pytest.mark.parametrize("toy", sparing(PLAIN))
def test_gradients_of_an_adapter_match_plain_torch(
    toy: FamilyToy, keep: Any, tmp_path: Path
) -> None:
    oracle = family_oracle(toy)
    base = open_base(write_directory(oracle, tmp_path / "hub"), keep=keep)
    shape = LoraShape(rank=3, alpha=5.0, targets=tuple(TARGETS))
    parameters = add_adapter(base, shape, seed=1)
    rng = torch.Generator().manual_seed(2)
    for parameter in parameters.values():
        parameter.data.normal_(0, 0.05, generator=rng)
    examples = texts(toy.vocabulary)
    loss = torch.zeros(())
    for row, _ in pack_rows([[one] for one in examples], row_tokens=100):
        loss = loss + base.network.surprises(row).sum()
    loss.backward()
    wanted_loss, wanted = plain_gradients(oracle, base, shape, examples)
    assert abs(float(loss.detach()) - wanted_loss) <= 1e-4 * abs(wanted_loss)
    found = gradients(base)
    largest = max(float(values.abs().max()) for values in wanted.values())
    for name, values in wanted.items():
        assert float((found[name] - values).abs().max()) <= GRADIENTS * largest, name


def gradients(base: Base) -> dict[str, torch.Tensor]:
    """The adapter's gradients under PEFT's names."""
    for projection in base.network.projections.values():
        if projection.low is not None:
            for values in (projection.low.lower, projection.low.upper):
                assert values.grad is not None
                values.data.copy_(values.grad)
    return {name: torch.from_numpy(values) for name, values in peft_tensors(base).items()}


def plain_gradients(
    oracle: Any, base: Base, shape: LoraShape, examples: list[Tokens]
) -> tuple[float, dict[str, torch.Tensor]]:
    """By hand: weights plus scale B A as torch sees them, each example alone, no padding."""
    pairs = {
        name: torch.from_numpy(values).requires_grad_()
        for name, values in peft_tensors(base).items()
    }
    changed = {}
    for name, lower in pairs.items():
        if ".lora_A." in name:
            module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            upper = pairs[name.replace("lora_A", "lora_B")]
            weight = dict(oracle.named_parameters())[in_oracle(oracle, module) + ".weight"]
            changed[in_oracle(oracle, module) + ".weight"] = (
                weight.detach() + shape.scale * upper @ lower
            )
    total = torch.zeros(())
    for one in examples:
        ids = torch.tensor(one.ids.tolist())[None]
        out = torch.func.functional_call(
            oracle, changed, kwargs={"input_ids": ids, "use_cache": False}
        )
        logs = torch.log_softmax(out.logits[0].float(), -1)
        for at in np.flatnonzero(one.learned):
            total = total - logs[at - 1, int(one.ids[at])]
    total.backward()
    found = {name: value.grad for name, value in pairs.items() if value.grad is not None}
    return float(total.detach()), found


def in_oracle(oracle: Any, module: str) -> str:
    """A module's name inside a model for several media."""
    names = dict(oracle.named_modules())
    if module in names:
        return module
    return "model.language_model." + module.removeprefix("model.")


@pytest.mark.parametrize("toy", sparing(OTHERS))
def test_other_families_are_refused_before_weights_are_read(toy: FamilyToy, tmp_path: Path) -> None:
    directory = write_directory(family_oracle(toy), tmp_path / "hub")
    with pytest.raises(BadTraining, match="not trained here yet"):
        open_base(directory)


def test_toys_cover_every_plain_family() -> None:
    covered = {DECODERS.get(toy.config.get_text_config().model_type) for toy in PLAIN}
    assert set(PLAIN_LAYERS) - covered == set()
    assert WRAPPERS, "wrapped decoders are among the toys"
