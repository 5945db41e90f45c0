"""Models of a few hundred kilobytes that open, for what is done with files and not with weights."""

from __future__ import annotations

import json

from tests.formats import gguf_build as gguf
from tests.formats import safetensors_build as tensors

F32_TYPE = 0
CONFIG = json.dumps({"model_type": "toy", "max_position_embeddings": 64}).encode()


def gguf_bytes(seed: int = 1, *, floats: int = 65_536) -> bytes:
    """A GGUF file with one float tensor, whose bytes depend on the seed."""
    row = bytes((index * seed) % 251 for index in range(1024))
    model = gguf.Gguf(
        tensors=[gguf.tensor("token_embd.weight", [floats], F32_TYPE, 0)],
        data=row * (floats * 4 // len(row)),
    )
    return model.content()


def split_gguf(count: int = 2) -> list[bytes]:
    """The files of one model that is split."""
    files = []
    for number in range(count):
        pairs = [gguf.ARCHITECTURE] if number == 0 else []
        pairs += [
            gguf.pair("split.no", gguf.U16, number),
            gguf.pair("split.count", gguf.U16, count),
            gguf.pair("split.tensors.count", gguf.I32, count),
        ]
        model = gguf.Gguf(
            pairs=pairs,
            tensors=[gguf.tensor(f"part{number}", [1024], F32_TYPE, 0)],
            data=bytes([number]) * 4096,
        )
        files.append(model.content())
    return files


def safetensors_bytes(name: str = "a", values: int = 2048) -> bytes:
    table = {name: tensors.entry("U8", [values], 0, values)}
    return tensors.content(table, bytes(range(256)) * (values // 256))


def directory_files() -> dict[str, bytes]:
    """A sharded directory with everything it needs, and much that must not come with it."""
    shards = {f"model-0000{n}-of-00002.safetensors": safetensors_bytes("ab"[n - 1]) for n in (1, 2)}
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = json.dumps({"metadata": {}, "weight_map": weight_map}).encode()
    return shards | {
        "model.safetensors.index.json": index,
        "config.json": CONFIG,
        "generation_config.json": b"{}",
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b"{}",
        "chat_template.jinja": b"{{ messages }}",
        "LICENSE": b"terms",
        "README.md": b"card",
        ".gitattributes": b"",
        "pytorch_model.bin": b"\x80pickle",
        "modeling_toy.py": b"import os",
        "LICENSE.py": b"import os",
        "onnx/model.onnx": b"graph",
        "consolidated.safetensors": safetensors_bytes(),
        "original/params.json": b"{}",
    }
