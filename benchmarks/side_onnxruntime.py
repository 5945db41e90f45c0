"""The onnxruntime side of the embedding comparison.

Room: benchmarks. Tokenizes, runs, pools and normalises as sentence-transformers would; must not use
freehold.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnxruntime
import tokenizers

from benchmarks.workers import serve


class Side:
    """One model at a time, in batches of texts of like length."""

    def __init__(self) -> None:
        self._session: Any = None
        self._tokenizer: Any = None

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Replace the model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = request["threads"]
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            request["path"], options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = tokenizers.Tokenizer.from_file(request["tokenizer"])
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        return {"name": "onnxruntime", "version": onnxruntime.__version__}

    def embed(self, request: dict[str, Any]) -> dict[str, Any]:
        """Seconds from texts to vectors, which go to a file when one is named."""
        start_s = time.perf_counter()
        vectors = self._vectors(request["texts"], request["batch"])
        seconds = time.perf_counter() - start_s
        if request.get("out"):
            np.save(request["out"], vectors)
        return {"seconds": seconds}

    def _vectors(self, texts: list[str], batch: int) -> Any:
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        out = np.empty((len(ids), self._session.get_outputs()[0].shape[2]), np.float32)
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            longest = max(len(ids[i]) for i in part)
            tokens = np.zeros((len(part), longest), np.int64)
            mask = np.zeros_like(tokens)
            for row, i in enumerate(part):
                tokens[row, : len(ids[i])] = ids[i]
                mask[row, : len(ids[i])] = 1
            feed = {"input_ids": tokens, "attention_mask": mask}
            feed["token_type_ids"] = np.zeros_like(tokens)
            hidden = self._session.run(None, feed)[0]
            sums = (hidden * mask[:, :, None]).sum(axis=1)
            rows = sums / mask.sum(axis=1, keepdims=True)
            out[part] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return out


if __name__ == "__main__":
    side = Side()
    serve({"load": side.load, "embed": side.embed})
