"""A short chat template per dialect: what marks it, and what trips careless callers."""

from __future__ import annotations

_CHATML = """{%- for m in messages -%}
{{- '<|im_start|>' + m.role + '\\n' + (m.content or '') -}}
CALLS
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""

_TOLD = "{%- if tools -%}{{- '<|im_start|>system\\n' + (tools | tojson) -}}FORM{%- endif -%}"


def _chatml(calls: str, form: str = "") -> str:
    told = _TOLD.replace("FORM", form)
    return told + _CHATML.replace("CALLS", calls)


_EACH = "{%- for c in m.tool_calls or [] -%}"

CHATML = _chatml("").removeprefix(_TOLD.replace("FORM", ""))

HERMES = _chatml(
    _EACH + '{{- \'<tool_call>\\n{"name": "\' + c.function.name + \'", "arguments": \' -}}'
    "{{- c.function.arguments | tojson + '}\\n</tool_call>' -}}{%- endfor -%}"
)

# As Qwen 3.5 has it: the prompt ends inside reasoning, or after an empty block of it.
QWEN_XML = _chatml(
    _EACH + "{{- '<tool_call>\\n<function=' + c.function.name + '>\\n' -}}"
    "{%- for k, v in c.function.arguments | items -%}"
    "{{- '<parameter=' + k + '>\\n' + (v | string) + '\\n</parameter>\\n' -}}{%- endfor -%}"
    "{{- '</function>\\n</tool_call>' -}}{%- endfor -%}"
).replace(
    "{{- '<|im_start|>assistant\\n' -}}",
    "{{- '<|im_start|>assistant\\n<think>\\n' -}}"
    "{%- if enable_thinking is false -%}{{- '\\n</think>\\n\\n' -}}{%- endif -%}",
)

# As Nemo has it: ids of nine characters, turns that alternate, tools before the last question.
MISTRAL_V3 = """{{- bos_token -}}{%- set ns = namespace(turn=0) -%}
{%- set asked = messages | selectattr('role', 'equalto', 'user') | list -%}
{%- for m in messages -%}
{%- if m.role in ['user', 'assistant'] and not m.tool_calls -%}
{%- if (m.role == 'user') != (ns.turn % 2 == 0) -%}
{{- raise_exception('roles must alternate') -}}{%- endif -%}
{%- set ns.turn = ns.turn + 1 -%}{%- endif -%}
{%- if m.role == 'user' -%}
{%- if tools and m == asked[-1] -%}
{{- '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' -}}{%- endif -%}
{{- '[INST]' + m.content + '[/INST]' -}}
{%- elif m.tool_calls -%}{{- '[TOOL_CALLS][' -}}
{%- for c in m.tool_calls -%}
{%- if c.id | length != 9 -%}{{- raise_exception('ids have nine characters') -}}{%- endif -%}
{{- (c.function | tojson)[:-1] + ', "id": "' + c.id + '"}' -}}{{- '' if loop.last else ', ' -}}
{%- endfor -%}{{- ']' + eos_token -}}
{%- elif m.role == 'assistant' -%}{{- m.content + eos_token -}}
{%- elif m.role == 'tool' -%}
{%- if m.tool_call_id | length != 9 -%}{{- raise_exception('ids have nine characters') -}}
{%- endif -%}{{- '[TOOL_RESULTS]' + m.content + m.tool_call_id + '[/TOOL_RESULTS]' -}}
{%- else -%}{{- raise_exception('no such role') -}}{%- endif -%}{%- endfor -%}"""

MISTRAL_V13 = _chatml(
    _EACH + "{{- '[TOOL_CALLS]' + c.function.name + '[ARGS]' -}}"
    "{{- c.function.arguments | tojson -}}{%- endfor -%}"
)
MISTRAL_V11 = MISTRAL_V13.replace("'[ARGS]'", "'[CALL_ID]' + c.id + '[ARGS]'")

# As Llama 3 has it: one call to a message.
LLAMA_JSON = """{{- bos_token -}}{%- if tools -%}{{- tools | tojson -}}{%- endif -%}
{%- for m in messages -%}{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' -}}
{%- if 'tool_calls' in m -%}
{%- if m.tool_calls | length != 1 -%}{{- raise_exception('one call at once') -}}{%- endif -%}
{{- '{"name": "' + m.tool_calls[0].function.name + '", ' -}}
{{- '"parameters": ' -}}{{- m.tool_calls[0].function.arguments | tojson + '}' -}}
{%- else -%}{{- m.content -}}{%- endif -%}{{- '<|eot_id|>' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}"""

LLAMA_PYTHONIC = _chatml(
    _EACH
    + "{{- '[' + c.function.name + '(' -}}"
    + """
{%- for k, v in c.function.arguments | items -%}{{- k + '=' + (v | tojson) -}}{%- endfor -%}
{{- ')]' -}}{%- endfor -%}""",
    "{{- 'answer as [func_name1(name=value)]' -}}",
)

# As R1 has it: arguments as text, calls only where there is no content, and no word about tools.
DEEPSEEK_V3 = """{{- bos_token -}}{%- for m in messages -%}
{%- if m.role == 'system' -%}{{- m.content -}}
{%- elif m.role == 'user' -%}{{- '<｜User｜>' + m.content -}}
{%- elif m.role == 'assistant' and m.content is none -%}
{{- '<｜Assistant｜><｜tool▁calls▁begin｜>' -}}{%- for c in m.tool_calls -%}
{{- '<｜tool▁call▁begin｜>function<｜tool▁sep｜>' + c.function.name + '\\n```json\\n' -}}
{{- c.function.arguments + '\\n```<｜tool▁call▁end｜>' -}}{%- endfor -%}
{{- '<｜tool▁calls▁end｜><｜end▁of▁sentence｜>' -}}
{%- elif m.role == 'assistant' -%}{{- '<｜Assistant｜>' + m.content + '<｜end▁of▁sentence｜>' -}}
{%- elif m.role == 'tool' -%}{{- '<｜tool▁outputs▁begin｜>' + m.content -}}{%- endif -%}
{%- endfor -%}{%- if add_generation_prompt -%}{{- '<｜Assistant｜><think>\\n' -}}{%- endif -%}
{#- </think> -#}"""

DEEPSEEK_V31 = _chatml(
    _EACH + "{{- '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + c.function.name -}}"
    "{{- '<｜tool▁sep｜>' + (c.function.arguments | tojson) + '<｜tool▁call▁end｜>' -}}"
    "{{- '<｜tool▁calls▁end｜>' -}}{%- endfor -%}"
)

DEEPSEEK_DSML = _chatml(
    "{%- set mark = '｜DSML｜' -%}"
    "{%- if m.tool_calls -%}{{- '<' + mark + 'function_calls>\\n' -}}"
    + _EACH
    + "{{- '<' + mark + 'invoke name=\"' + c.function.name + '\">\\n' -}}"
    "{%- for k, v in c.function.arguments | items -%}"
    "{{- '<' + mark + 'parameter name=\"' + k + '\" string=\"true\">' + v | string -}}"
    "{{- '</' + mark + 'parameter>\\n' -}}{%- endfor -%}"
    "{{- '</' + mark + 'invoke>\\n' -}}{%- endfor -%}"
    "{{- '</' + mark + 'function_calls>' -}}{%- endif -%}"
)
DEEPSEEK_DSML_V4 = DEEPSEEK_DSML.replace("function_calls>", "tool_calls>")

GLM = _chatml(
    _EACH + "{{- '<tool_call>' + c.function.name + '\\n' -}}"
    "{%- for k, v in c.function.arguments | items -%}"
    "{{- '<arg_key>' + k + '</arg_key>\\n<arg_value>' + (v | string) + '</arg_value>\\n' -}}"
    "{%- endfor -%}{{- '</tool_call>' -}}{%- endfor -%}"
)

KIMI = _chatml(
    "{%- if m.tool_calls -%}{{- '<|tool_calls_section_begin|>' -}}"
    + _EACH
    + "{{- '<|tool_call_begin|>' + c.id + '<|tool_call_argument_begin|>' -}}"
    "{{- (c.function.arguments | tojson) + '<|tool_call_end|>' -}}{%- endfor -%}"
    "{{- '<|tool_calls_section_end|>' -}}{%- endif -%}"
    "{%- if m.tool_call_id -%}{{- m.tool_call_id -}}{%- endif -%}"
)

GEMMA = _chatml(
    _EACH + "{{- '<|tool_call>call:' + c.function.name + '{' -}}"
    "{%- for k, v in c.function.arguments | items -%}"
    "{{- k + ':<|\"|>' + (v | string) + '<|\"|>' + ('' if loop.last else ',') -}}{%- endfor -%}"
    "{{- '}<tool_call|>' -}}{%- endfor -%}"
).replace(
    "{{- '<|im_start|>assistant\\n' -}}",
    "{{- '<|im_start|>assistant\\n' -}}{%- if enable_thinking is false -%}"
    "{{- '<|channel>thought\\n<channel|>' -}}{%- endif -%}",
)

# As gpt-oss has it: one call to a message, reasoning by another name.
HARMONY = """{%- if tools -%}{{- '<|start|>developer<|message|>' + (tools | tojson) + '<|end|>' -}}
{%- endif -%}{%- for m in messages -%}
{%- if m.role == 'assistant' and 'tool_calls' in m -%}
{%- if m.tool_calls | length != 1 -%}{{- raise_exception('one call at once') -}}{%- endif -%}
{%- if m.content -%}
{{- '<|start|>assistant<|channel|>commentary<|message|>' + m.content + '<|end|>' -}}{%- endif -%}
{%- if m.thinking -%}
{{- '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' -}}{%- endif -%}
{{- '<|start|>assistant to=functions.' + m.tool_calls[0].function.name -}}
{{- '<|channel|>commentary json<|message|>' -}}
{{- m.tool_calls[0].function.arguments | tojson + '<|call|>' -}}
{%- elif m.role == 'assistant' -%}
{{- '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|end|>' -}}
{%- elif m.role == 'tool' -%}{{- '<|start|>functions.' + m.name + ' to=assistant' -}}
{{- '<|channel|>commentary<|message|>' + m.content + '<|end|>' -}}
{%- else -%}{{- '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' -}}{%- endif -%}
{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|start|>assistant' -}}{%- endif -%}"""

# As Gemma 2 has it: no system message, turns that alternate.
NO_SYSTEM = """{{- bos_token -}}{%- if messages[0].role == 'system' -%}
{{- raise_exception('System role not supported') -}}{%- endif -%}
{%- for m in messages -%}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}
{{- raise_exception('roles must alternate') -}}{%- endif -%}
{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""

# Renders the first system message only, without a word about others.
FIRST_SYSTEM_ONLY = """{%- for m in messages -%}
{%- if m.role != 'system' or loop.first -%}
{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' -}}{%- endif -%}
{%- endfor -%}"""

BY_DIALECT = {
    "deepseek_dsml": DEEPSEEK_DSML,
    "deepseek_dsml_v4": DEEPSEEK_DSML_V4,
    "deepseek_v3": DEEPSEEK_V3,
    "deepseek_v31": DEEPSEEK_V31,
    "gemma": GEMMA,
    "glm": GLM,
    "harmony": HARMONY,
    "hermes": HERMES,
    "kimi": KIMI,
    "llama_json": LLAMA_JSON,
    "llama_pythonic": LLAMA_PYTHONIC,
    "mistral_v11": MISTRAL_V11,
    "mistral_v13": MISTRAL_V13,
    "mistral_v3": MISTRAL_V3,
    "plain": CHATML,
    "qwen_xml": QWEN_XML,
}
