"""What a model's name claims, against the architecture that its file holds.

Room: loading. Data about names of families, which stand nowhere outside this room and models/.
Names are claims, never evidence: nothing here decides how a file is read.
"""

from __future__ import annotations

import re

__all__ = ["claimed_architectures", "is_derived", "names_a_base"]

# Words of a name -> the architectures that models of that name have, in GGUF's words and in
# transformers'. A model whose name says that it was taught by another is checked for that instead.
_CLAIMS = (
    (r"deepseek[-_ .]?(r1|v3|v2)", {"deepseek2", "deepseek_v2", "deepseek_v3", "deepseek_v32"}),
    (r"gpt[-_ ]?oss", {"gpt-oss", "gpt_oss"}),
    (r"llama[-_ ]?4", {"llama4", "llama4_text"}),
    (r"llama[-_ ]?[23]|tinyllama|codellama", {"llama", "mllama"}),
    (r"mixtral", {"llama", "mixtral"}),
    (r"mistral|ministral|devstral|magistral", {"llama", "mistral", "mistral3", "mistral4"}),
    (r"qwen[-_ ]?3[-_ ]?next", {"qwen3next", "qwen3_next"}),
    (r"qwen[-_ ]?3\.5", {"qwen35", "qwen35moe", "qwen3_5", "qwen3_5_moe"}),
    (r"qwen[-_ ]?3", {"qwen3", "qwen3moe", "qwen3_moe", "qwen3vl", "qwen3vlmoe"}),
    (r"qwen[-_ ]?2|qwq", {"qwen2", "qwen2moe", "qwen2_moe", "qwen2vl"}),
    (r"gemma[-_ ]?4", {"gemma4"}),
    (r"gemma[-_ ]?3n", {"gemma3n"}),
    (r"gemma[-_ ]?3", {"gemma3", "gemma3_text"}),
    (r"gemma[-_ ]?2", {"gemma2"}),
    (r"olmo[-_ ]?[23]", {"olmo2", "olmo3"}),
    (r"smollm3", {"smollm3"}),
    (r"smollm", {"llama"}),
    (r"glm[-_ ]?4\.[56]", {"glm4moe", "glm4_moe"}),
    (r"phi[-_ ]?[34]", {"phi3", "phimoe", "phi4"}),
    (r"kimi[-_ ]?k2", {"deepseek2", "kimi_k2"}),
)
_DERIVED = re.compile(r"distil|student|reap|-based|merge|fine.?tun", re.IGNORECASE)


def claimed_architectures(name: str) -> tuple[str, frozenset[str]] | None:
    """The first family that a name claims, as it spells it, and what such models are made of."""
    for pattern, architectures in _CLAIMS:
        match = re.search(r"(?<![a-z])" + pattern, name, re.IGNORECASE)
        if match is not None:
            both = architectures | {f"{one}_text" for one in architectures}
            both |= {"mistral3", "mistral"} if "mistral" in pattern else set()
            return match[0], frozenset(both)
    return None


def is_derived(name: str) -> bool:
    """Whether a name says itself that the model was made from, or taught by, another."""
    return _DERIVED.search(name) is not None


def names_a_base(name: str, architecture: str) -> bool:
    """Whether a name also names the family that its file holds."""
    words = {word for word in re.split(r"[^a-z]+", architecture.lower()) if len(word) > 3}
    return any(word in name.lower() for word in words)
