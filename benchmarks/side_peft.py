"""transformers' Trainer with PEFT: one training of given tokens.

Room: benchmarks. Reads a request, prints one line of JSON; `--write FILE DIR` keeps a GGUF file's
float32 values as a checkpoint, so that it loads the way transformers loads best. Must not use
freehold.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def collate(batch: list[Any]) -> dict[str, torch.Tensor]:
    """Padded to the longest of the batch, as the library's own collator does."""
    longest = max(len(ids) for ids, _ in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    labels = torch.full((len(batch), longest), -100)
    mask = torch.zeros(len(batch), longest, dtype=torch.long)
    for row, (text, learned) in enumerate(batch):
        values = torch.tensor(text)
        ids[row, : len(text)] = values
        mask[row, : len(text)] = 1
        labels[row, : len(text)] = torch.where(torch.tensor(learned), values, -100)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def heldout_loss(model: Any, texts: list[Any]) -> float:
    """The mean over all learned tokens, each text alone."""
    total, count = 0.0, 0
    with torch.no_grad():
        for ids, learned in texts:
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
            at = torch.tensor(learned).nonzero()[:, 0]
            logs = torch.log_softmax(logits[at - 1].float(), -1)
            total += float(-logs.gather(1, torch.tensor(ids)[at, None]).sum())
            count += len(at)
    return total / count


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(request["threads"])
    said = json.loads(Path(request["tokens"]).read_text())
    torch.manual_seed(request["seed"])
    base = AutoModelForCausalLM.from_pretrained(request["model"], dtype=torch.float32)
    lora = LoraConfig(
        r=request["rank"],
        lora_alpha=request["alpha"],
        target_modules=_TARGETS,
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(base, lora)
    steps = -(-len(said["train"]) // request["batch"]) * request["epochs"]
    arguments = TrainingArguments(
        output_dir=request["folder"],
        per_device_train_batch_size=request["batch"],
        num_train_epochs=request["epochs"],
        learning_rate=request["lr"],
        lr_scheduler_type="cosine",
        warmup_steps=-(-int(request["warmup"] * steps * 1000) // 1000),
        max_grad_norm=1.0,
        weight_decay=0.0,
        seed=request["seed"],
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=model, args=arguments, train_dataset=said["train"], data_collator=collate
    )
    done = trainer.train()
    answer = {
        "seconds": done.metrics["train_runtime"],
        "tokens": sum(len(ids) for ids, _ in said["train"]) * request["epochs"],
        "heldout_loss": heldout_loss(model.eval(), said["heldout"]),
    }
    print(json.dumps(answer))


def write(path: Path, folder: Path) -> None:
    """The file's values in float32 as transformers saves them."""
    from benchmarks.oracle import load_oracle

    load_oracle(path).save_pretrained(folder)


if __name__ == "__main__":
    if sys.argv[1] == "--write":
        write(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
