"""An adapter in PEFT and here: equal logits both ways.

Oracle: peft 0.18 over transformers 5 on torch 2.13, float32. Ours keeps A and B in float16 and keys
and values in float16, which moves logits by less than 2e-3 of what they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from freehold.engine.runner import Runner
from freehold.library.progress import silent
from freehold.loading import load_adapter, load_model
from freehold.tune.export.adapters import write_gguf_lora, write_peft
from freehold.tune.export.merged import write_directory
from tests.parity import family as families
from tests.parity import lora as loras
from tests.parity import toys_mistral, toys_qwen

pytestmark = [
    pytest.mark.parity,
    # Of transformers, asked for by peft.
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]

TOYS = {
    toy.name: toy
    for toy in (*toys_mistral.TOYS, *toys_qwen.TOYS)
    if toy.name in ("mistral", "qwen2, tied", "qwen3, wide heads")
}
IDS = list(range(3, 60))


@pytest.fixture(params=list(TOYS.values()), ids=list(TOYS))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A toy of transformers as it saves it, and as GGUF."""
    toy = request.param
    directory = families.write_directory(families.family_oracle(toy), tmp_path / "model")
    families.write_family_gguf(toy, directory, tmp_path / "model.gguf")
    return tmp_path


def oracle(path: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def logits_of(model: Any) -> Any:
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].float().numpy()


def ours(base: Path, adapter: Path | None) -> Any:
    loaded = load_model(base)
    if adapter is not None:
        load_adapter(adapter, loaded, bits=16).attach(0)
    return Runner(loaded.model, tokens=256).logits(IDS, -1 if adapter is None else 0)


def close(found: Any, wanted: Any) -> bool:
    error = np.sqrt(np.mean(np.square(found - wanted)))
    return bool(error <= 2e-3 * np.sqrt(np.mean(np.square(wanted))))


def test_peft_loads_what_is_exported_here(folder: Path) -> None:
    model = oracle(folder / "model")
    plain = logits_of(model)
    lora = loras.Lora(pairs=loras.draw(model, 1), alphas={"v_proj": 5.0})
    own = loras.write_peft(lora, folder / "own")
    file = write_gguf_lora(folder / "model.gguf", own, folder / "own.gguf", {})
    target = folder / "exported"
    target.mkdir()
    write_peft(folder / "model.gguf", file, target, base_name="toy")
    wanted = ours(folder / "model.gguf", own)
    found = logits_of(peft.PeftModel.from_pretrained(model, target))
    assert not close(plain, wanted), "an adapter so weak that its loss would not show"
    assert close(wanted, found)


def test_what_peft_saves_is_carried_here_and_merges_alike(folder: Path) -> None:
    torch.manual_seed(0)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = peft.LoraConfig(
        r=4,
        lora_alpha=16,
        target_modules=targets,
        rank_pattern={"q_proj": 7},
        use_rslora=True,
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    adapted = peft.get_peft_model(oracle(folder / "model"), config)
    for name, values in adapted.named_parameters():
        if "lora_B" in name:
            values.data.mul_(0.2)  # as drawn, it drowns the model
    wanted = logits_of(adapted)
    adapted.save_pretrained(str(folder / "peft"))
    for base in ("model", "model.gguf"):
        assert close(ours(folder / base, folder / "peft"), wanted)
        made = folder / f"merged-{base}"
        made.mkdir()
        write_directory(folder / base, folder / "peft", made, "F32", silent)
        assert close(ours(made, None), wanted)
        error = np.abs(logits_of(oracle(made)) - wanted).max()
        assert error < 1e-3 * np.abs(wanted).max()
        assert json.loads((made / "config.json").read_text())["dtype"] == "float32"
