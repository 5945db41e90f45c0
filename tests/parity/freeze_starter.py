"""Make frozen/starter_oracle.npz: what the float32 oracle says about the starter model.

`python -m tests.parity.freeze_starter STARTER.gguf TEXT tests/parity/frozen/starter_oracle.npz`
in the environment of benchmarks/requirements.txt. TEXT is reasoning_gym's in_the_year_2889.txt
(public domain). Oracle: transformers 5.23 in float32 on weights dequantised by gguf 0.19; peer:
llama.cpp of llama-cpp-python 0.3.36, flash attention on and off, 512 tokens at once.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from tests.parity.coarse_kl import coarse_kl, log_softmax

FIRST_TOKEN = 4096
TOKENS = 512
POSITIONS = np.arange(1, TOKENS, 2)  # 256 of them
TOP = 64


def freeze(model_path: Path, text: Path, out: Path) -> None:
    from benchmarks.llama_cpp_driver import LlamaCpp
    from benchmarks.oracle import load_oracle, oracle_logits

    peer = LlamaCpp(model_path, threads=2)
    ids = np.array(peer.tokenize(text.read_text("utf-8"))[FIRST_TOKEN : FIRST_TOKEN + TOKENS])
    oracle = log_softmax(oracle_logits(load_oracle(model_path), ids)[POSITIONS])
    top = np.argsort(-oracle, axis=-1)[:, :TOP]
    top_log_p = np.take_along_axis(oracle, top, axis=-1).astype(np.float32)
    found = {}
    for name, flash in (("flash", True), ("plain", False)):
        logits = peer.logits(ids, flash=flash)[POSITIONS]
        found[f"llama_cpp_{name}_kl"] = coarse_kl(top, top_log_p, logits).mean()
        agrees = logits.argmax(axis=-1) == top[:, 0]
        found[f"llama_cpp_{name}_agreement"] = agrees.mean()
        print(name, found[f"llama_cpp_{name}_kl"], found[f"llama_cpp_{name}_agreement"])
    np.savez_compressed(
        out,
        ids=ids.astype(np.uint16),
        positions=POSITIONS.astype(np.uint16),
        top=top.astype(np.uint16),
        top_log_p=top_log_p,
        **found,
    )


if __name__ == "__main__":
    freeze(*(Path(argument) for argument in sys.argv[1:4]))
