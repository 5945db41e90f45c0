"""Which control tokens end an answer by their spelling, for files that name one end only.

Room: tokenizer. A table of facts; must not know files.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ending_ids"]

_ENDS = frozenset(
    {
        "<|im_end|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end_of_text|>",
        "<|end|>",
        "<|return|>",
        "<|tool_response>",
        "<|call|>",
        "<end_of_turn>",
        "<turn|>",
        "<end_of_utterance>",
        "<|EOT|>",
        "<EOT>",
        "[EOT]",
        "<｜end▁of▁sentence｜>",
    }
)
# Where these two exist, `<|end|>` ends a message inside an answer.
_MESSAGE_FORMAT = frozenset({"<|return|>", "<|call|>"})


def ending_ids(control: Mapping[str, int]) -> frozenset[int]:
    """The ids of the control tokens, given by spelling, that end an answer wherever they exist."""
    ends = _ENDS & control.keys()
    if control.keys() >= _MESSAGE_FORMAT:
        ends -= {"<|end|>"}
    return frozenset(control[end] for end in ends)
