"""llama.cpp through its C API: the calls llama-bench makes, with the same meaning.

Room: benchmarks. Knows llama_cpp only; must not use freehold.
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Any

import llama_cpp as api
import numpy as np

MICRO_BATCH_TOKENS = 512
BATCH_TOKENS = 2048


def _drop(_level: int, _text: bytes, _data: ctypes.c_void_p) -> None:
    pass


_silent = api.llama_log_callback(_drop)  # the native side keeps a pointer to it


def quiet() -> None:
    """Silence llama.cpp's log for the rest of the process."""
    api.llama_log_set(_silent, ctypes.c_void_p(0))


_Q8_0 = 8  # ggml's number of the type


class LlamaCpp:
    """One loaded model, and at most one context at a time.

    Timings follow llama-bench: prefill asks for the logits of the last token only, decode asks
    for the logits of every step and feeds fixed tokens, nothing is sampled.
    """

    def __init__(self, path: str | Path, *, threads: int, watch: Any = None) -> None:
        quiet()
        self._watch = watch  # asked about each node of the graph, as llama-imatrix is
        api.llama_backend_init()
        self._threads = threads
        self._model = api.llama_model_load_from_file(
            str(path).encode(), api.llama_model_default_params()
        )
        if not self._model:
            raise RuntimeError(f"llama.cpp did not load {Path(path).name}")
        self._vocab = api.llama_model_get_vocab(self._model)
        self.vocab_size = int(api.llama_vocab_n_tokens(self._vocab))
        self._context: Any = None
        self._context_key: tuple[int, int, bool, int] | None = None
        self._filled = 0

    def close(self) -> None:
        """Give the model's memory back."""
        self._drop_context()
        api.llama_model_free(self._model)

    def tokenize(self, text: str) -> list[int]:
        """Token ids of plain text, with the file's own choice of special tokens."""
        raw = text.encode()
        room = len(raw) + 8
        ids = (api.llama_token * room)()
        count = api.llama_tokenize(self._vocab, raw, len(raw), ids, room, True, False)
        if count < 0:
            raise RuntimeError("llama.cpp needs more room for the tokens than there are bytes")
        return list(ids[:count])

    def prefill_s(self, tokens: int, *, flash: bool, kv_bits: int = 16) -> float:
        """Seconds to process a prompt of `tokens` from an empty context."""
        self._ready(tokens, sequences=1, flash=flash, kv_bits=kv_bits)
        self._clear()
        start_s = time.perf_counter()
        self._prompt([self._filler(index) for index in range(tokens)], sequence=0)
        api.llama_synchronize(self._context)
        return time.perf_counter() - start_s

    def decode_s(
        self, tokens: int, *, batch: int, depth: int, flash: bool, kv_bits: int = 16
    ) -> float:
        """Seconds for `tokens` steps of one token in each of `batch` sequences, after `depth`."""
        self._ready(depth + tokens, sequences=batch, flash=flash, kv_bits=kv_bits)
        memory = api.llama_get_memory(self._context)
        if self._filled != depth:
            self._clear()
            for sequence in range(batch):
                if depth:
                    prompt = [self._filler(index) for index in range(depth)]
                    self._prompt(prompt, sequence=sequence)
            api.llama_synchronize(self._context)
            self._filled = depth
        else:
            for sequence in range(batch):
                api.llama_memory_seq_rm(memory, sequence, depth, -1)
        step = _Batch(batch)
        start_s = time.perf_counter()
        for index in range(tokens):
            for sequence in range(batch):
                token = self._filler(index + sequence)
                step.put(sequence, token, position=depth + index, sequence=sequence, logits=True)
            self._decode(step)
            api.llama_synchronize(self._context)
        return time.perf_counter() - start_s

    def logits(self, ids: np.ndarray[Any, Any], *, flash: bool) -> np.ndarray[Any, Any]:
        """Logits of every position of one prompt.

        Shapes: (T,) -> (T, V) float32.
        """
        count = len(ids)
        self._ready(max(count, MICRO_BATCH_TOKENS), sequences=1, flash=flash, outputs=count)
        self._clear()
        step = _Batch(count)
        for index, token in enumerate(ids):
            step.put(index, int(token), position=index, sequence=0, logits=True)
        self._decode(step)
        pointer = api.llama_get_logits(self._context)
        return np.ctypeslib.as_array(pointer, (count, self.vocab_size)).astype(np.float32)

    def read(self, ids: np.ndarray[Any, Any]) -> None:
        """Process one prompt from an empty context; only the last token's logits are computed."""
        self._ready(len(ids), sequences=1, flash=True)
        self._clear()
        self._prompt([int(each) for each in ids], sequence=0)
        api.llama_synchronize(self._context)

    def greedy(self, ids: list[int], tokens: int) -> list[int]:
        """The prompt's greedy continuation."""
        self._ready(len(ids) + tokens, sequences=1, flash=True)
        self._clear()
        self._prompt(ids, sequence=0)
        out: list[int] = []
        step = _Batch(1)
        for index in range(tokens):
            row = api.llama_get_logits_ith(self._context, -1)
            out.append(int(np.ctypeslib.as_array(row, (self.vocab_size,)).argmax()))
            position = len(ids) + index
            step.put(0, out[-1], position=position, sequence=0, logits=True)
            if index + 1 < tokens:
                self._decode(step)
        return out

    def _ready(
        self, tokens: int, *, sequences: int, flash: bool, outputs: int = 0, kv_bits: int = 16
    ) -> None:
        key = (tokens, sequences, flash, kv_bits)
        if self._context_key == key:
            return
        self._drop_context()
        params = api.llama_context_default_params()
        # One stream a sequence, each rounded up by llama.cpp itself.
        params.n_ctx = -(-tokens // 256) * 256 * sequences
        params.n_batch = max(BATCH_TOKENS, outputs)
        params.n_ubatch = MICRO_BATCH_TOKENS
        params.n_seq_max = sequences
        params.n_outputs_max_per_seq = max(1, outputs)
        params.n_threads = params.n_threads_batch = self._threads
        params.flash_attn_type = (
            api.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        if self._watch is not None:
            params.cb_eval = self._watch
        if kv_bits == 8:
            params.type_k = params.type_v = _Q8_0
        self._context = api.llama_init_from_model(self._model, params)
        if not self._context:
            raise RuntimeError(f"llama.cpp made no context for {tokens} tokens x {sequences}")
        self._context_key = key
        self._filled = -1

    def _drop_context(self) -> None:
        if self._context:
            api.llama_free(self._context)
        self._context = self._context_key = None

    def _clear(self) -> None:
        api.llama_memory_clear(api.llama_get_memory(self._context), False)
        self._filled = -1

    def _filler(self, index: int) -> int:
        return (7 + 31 * index) % min(self.vocab_size, 30_000)

    def _prompt(self, ids: list[int], *, sequence: int) -> None:
        for start in range(0, len(ids), BATCH_TOKENS):
            part = ids[start : start + BATCH_TOKENS]
            batch = _Batch(len(part))
            for index, token in enumerate(part):
                position = start + index
                last = position == len(ids) - 1
                batch.put(index, token, position=position, sequence=sequence, logits=last)
            self._decode(batch)

    def _decode(self, batch: _Batch) -> None:
        status = api.llama_decode(self._context, batch.native)
        if status:
            raise RuntimeError(f"llama_decode ended with status {status}")


class _Batch:
    """A llama_batch and the calls that fill it."""

    def __init__(self, tokens: int) -> None:
        self.native = api.llama_batch_init(tokens, 0, 1)
        self.native.n_tokens = tokens

    def put(self, slot: int, token: int, *, position: int, sequence: int, logits: bool) -> None:
        """Describe the token of one slot."""
        native = self.native
        native.token[slot] = token
        native.pos[slot] = position
        native.n_seq_id[slot] = 1
        native.seq_id[slot][0] = sequence
        native.logits[slot] = logits

    def __del__(self) -> None:
        api.llama_batch_free(self.native)
