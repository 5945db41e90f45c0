"""Tool dialects: how models write calls, and which of them a chat template was made for.

Room: chat. Knows what stands in templates; must not know tokenizers, requests or weights.
"""

from __future__ import annotations

from freehold.chat.dialects.base import Dialect
from freehold.chat.dialects.deepseek import Deepseek
from freehold.chat.dialects.deepseek_dsml import DeepseekDsml
from freehold.chat.dialects.gemma import Gemma
from freehold.chat.dialects.glm import Glm
from freehold.chat.dialects.harmony import Harmony
from freehold.chat.dialects.hermes import Hermes
from freehold.chat.dialects.kimi import Kimi
from freehold.chat.dialects.llama_json import LlamaJson
from freehold.chat.dialects.llama_pythonic import LlamaPythonic
from freehold.chat.dialects.mistral import Mistral
from freehold.chat.dialects.plain import Plain
from freehold.chat.dialects.qwen_xml import QwenXml
from freehold.chat.variables import reads

__all__ = ["DIALECTS", "Dialect", "dialect_of"]

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Deepseek("deepseek_v3", fenced=True),
        Deepseek("deepseek_v31", fenced=False),
        DeepseekDsml("deepseek_dsml", "function_calls"),
        DeepseekDsml("deepseek_dsml_v4", "tool_calls"),
        Gemma(),
        Glm(),
        Harmony(),
        Hermes(),
        Kimi(),
        LlamaJson(),
        LlamaPythonic(),
        Mistral("mistral_v3", as_list=True, with_id=False),
        Mistral("mistral_v11", as_list=False, with_id=True),
        Mistral("mistral_v13", as_list=False, with_id=False),
        Plain(),
        QwenXml(),
    )
}

# The first whose texts all stand in the template; what more particular forms have, they have alone.
_SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("deepseek_dsml", ("｜DSML｜", "function_calls>")),
    ("deepseek_dsml_v4", ("｜DSML｜", "tool_calls>")),
    ("deepseek_v3", ("<｜tool▁calls▁begin｜>", "```json")),
    ("deepseek_v31", ("<｜tool▁calls▁begin｜>",)),
    ("gemma", ("<|tool_call>", "call:", "<tool_call|>")),
    ("harmony", ("<|channel|>", "<|message|>", "to=functions.")),
    ("kimi", ("<|tool_calls_section_begin|>", "<|tool_call_argument_begin|>")),
    ("mistral_v11", ("[TOOL_CALLS]", "[CALL_ID]")),
    ("mistral_v13", ("[TOOL_CALLS]", "[ARGS]")),
    ("mistral_v3", ("[TOOL_CALLS]", "[AVAILABLE_TOOLS]")),
    ("glm", ("<tool_call>", "<arg_key>", "<arg_value>")),
    ("qwen_xml", ("<tool_call>", "<function=", "<parameter=")),
    ("hermes", ("<tool_call>", "</tool_call>", "arguments", "tool_calls")),
    ("llama_pythonic", ("tools", "[func_name1(")),
    ("llama_json", ("<|start_header_id|>", "tool_calls", '"parameters": ')),
    ("llama_json", ("<|header_start|>", "tool_calls", '"parameters": ')),
)


def dialect_of(template_source: str | None) -> Dialect:
    """The dialect that a chat template teaches; `plain` where it teaches none that is known."""
    source = template_source or ""
    for name, signs in _SIGNS:
        if all(sign in source for sign in signs):
            found = DIALECTS[name]
            return found if found.form or reads(source, "tools") else DIALECTS["plain"]
    return DIALECTS["plain"]
