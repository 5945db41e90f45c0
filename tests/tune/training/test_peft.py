"""Adapters between this trainer, PEFT and the served model (peft 0.18, transformers 5, torch 2.13).

| what, of the largest logit | bound | reason                                                     |
|----------------------------|-------|------------------------------------------------------------|
| PEFT's logits              | 2e-4  | float32 sums in another order                              |
| the served model's         | 1e-2  | float16 keys, values and adapter, and rounded activations  |
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from freehold.engine.pages import Sequence
from freehold.engine.runner import Part, Runner
from freehold.errors import BadTraining
from freehold.loading import load_model
from freehold.loading.adapters import load_adapter
from freehold.tune.training.adapter import LoraShape, add_adapter, load_peft, save_peft
from freehold.tune.training.base import Base, open_base
from freehold.tune.training.packing import Tokens, pack_rows
from tests.tune.training import toys

pytestmark = [
    pytest.mark.parity,
    # peft 0.18 asks transformers 5 by an older name, and looks for a model that was never on a hub.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Could not find a config file:UserWarning"),
]

SHAPE = LoraShape(rank=4, alpha=6.0, targets=("q_proj", "v_proj", "o_proj", "up_proj", "down_proj"))
IDS = [1, 7, 7, 2, 9, 11, 12, 5, 13, 3, 13]


def logits(base: Base) -> np.ndarray[Any, Any]:
    one = Tokens(np.array(IDS, np.int32), np.ones(len(IDS), bool))
    ((row, _),) = pack_rows([[one]], row_tokens=64)
    return np.asarray(base.network.logits(row).detach().numpy())


def close(found: Any, wanted: Any, bound: float) -> bool:
    return bool(np.abs(found - wanted).max() <= bound * np.abs(wanted).max())


@pytest.fixture
def oracle(tmp_path: Path) -> Any:
    return toys.write_tiny(tmp_path / "hub", toys.tiny_qwen())


def trained(path: Path) -> Base:
    """A network with an adapter whose values are as if it had learned."""
    base = open_base(path)
    generator = torch.Generator().manual_seed(5)
    for each in add_adapter(base, SHAPE, seed=1).values():
        each.data.normal_(0, 0.2, generator=generator)
    return base


def test_an_adapter_trained_here_loads_in_peft(oracle: Any, tmp_path: Path) -> None:
    base = trained(tmp_path / "hub")
    (tmp_path / "adapter").mkdir()
    save_peft(base, SHAPE, tmp_path / "adapter", base_name="toy")
    plain = oracle(input_ids=torch.tensor([IDS])).logits[0].detach().numpy()
    model = PeftModel.from_pretrained(oracle, tmp_path / "adapter")
    wanted = model(input_ids=torch.tensor([IDS])).logits[0].detach().numpy()
    assert not close(plain, wanted, 0.05), "the adapter changes something"
    assert close(logits(base), wanted, 2e-4)


def test_an_adapter_of_peft_loads_here(oracle: Any, tmp_path: Path) -> None:
    config = LoraConfig(r=4, lora_alpha=6, target_modules=list(SHAPE.targets))
    model = get_peft_model(oracle, config)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, 0, 0.2)
    model.save_pretrained(tmp_path / "adapter")
    wanted = model.eval()(input_ids=torch.tensor([IDS])).logits[0].detach().numpy()
    base = open_base(tmp_path / "hub")
    add_adapter(base, SHAPE, seed=0)
    load_peft(base, tmp_path / "adapter")
    assert close(logits(base), wanted, 2e-4)


@pytest.mark.parametrize(
    "changes", [{"rank": 8}, {"alpha": 3.0}, {"targets": ("q_proj",)}], ids=str
)
def test_an_adapter_of_another_shape_is_refused(
    oracle: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    base = trained(tmp_path / "hub")
    (tmp_path / "adapter").mkdir()
    save_peft(base, SHAPE, tmp_path / "adapter", base_name="toy")
    other = open_base(tmp_path / "hub")
    usual: dict[str, Any] = {"rank": 4, "alpha": 6.0, "targets": SHAPE.targets}
    shape = LoraShape(**(usual | changes))
    add_adapter(other, shape, seed=0)
    with pytest.raises(BadTraining, match="not of the shape"):
        load_peft(other, tmp_path / "adapter")


def test_the_served_model_answers_as_the_trained_one(oracle: Any, tmp_path: Path) -> None:
    base = trained(tmp_path / "hub")
    (tmp_path / "adapter").mkdir()
    save_peft(base, SHAPE, tmp_path / "adapter", base_name="toy")
    served = load_model(tmp_path / "hub")
    load_adapter(tmp_path / "adapter", served, bits=16).attach(0)
    found = Runner(served.model, tokens=64).run([Part(Sequence(), IDS, len(IDS), 0)])
    assert close(found, logits(base), 1e-2)
