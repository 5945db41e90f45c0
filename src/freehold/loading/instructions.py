"""Chat templates for directories whose maker ships a program in place of one.

Room: loading. Must not know how templates are run.
Source: instruct.py of mistral-common 1.13; one class there is one version here. Not carried: media,
tool results of version 2 (refused), and lists of parts as a message's content.
"""

from __future__ import annotations

from freehold.errors import UnknownTokenizer
from freehold.tokenizer import Tokenizer

__all__ = ["chat_template"]

_VERSIONS = (1, 2, 3, 7, 11, 13, 15)
_FIRST_WITH_TOOLS, _FIRST_WITH_SYSTEM, _FIRST_WITH_NAMES, _FIRST_AT_START = 3, 7, 11, 13

_HEAD = """\
{%- set turns = messages %}
{%- set system = '' %}
{%- if messages and messages[0]['role'] == 'system' %}
  {%- set system = messages[0]['content'] %}
  {%- set turns = messages[1:] %}
{%- endif %}
{%- set at = namespace(first=-1, last=-1, before='') %}
{%- for message in turns %}
  {%- if message['role'] == 'user' %}
    {%- set at.last = loop.index0 %}
    {%- if at.first < 0 %}{% set at.first = loop.index0 %}{% endif %}
  {%- endif %}
{%- endfor %}
{{- bos_token }}"""

_LOOP = """\
{%- for message in turns %}
  {%- if message['role'] == 'user' %}
    {%- if at.before == 'user' %}
      {{- raise_exception('A user message may not follow another one') }}
    {%- endif %}"""

_ASSISTANT = """\
  {%- elif message['role'] == 'assistant' %}"""

_CONTENT = """\
    {{- message['content'].rstrip(' ') if message['content'] else '' }}"""

_TOOL = """\
  {%- elif message['role'] == 'tool' %}"""

_END = """\
  {%- else %}
    {{- raise_exception('Only user, assistant and tool messages may follow the first one') }}
  {%- endif %}
  {%- set at.before = message['role'] %}
{%- endfor %}"""


def chat_template(version: str, tokenizer: Tokenizer, effort: str | None = None) -> str:
    """The template of a version, "v1" to "v15"; `effort` is the reasoning effort unless said.

    Raises: UnknownTokenizer for a version that is not carried.
    """
    number = int(version.removeprefix("v")) if version[1:].isdigit() else 0
    if number not in _VERSIONS:
        raise UnknownTokenizer(
            "conversations of this version are not carried",
            value=version,
            expected=", ".join(f"v{known}" for known in _VERSIONS),
            found=version,
            hint="a chat_template.jinja in the directory is used in place of a version",
        )
    pieces = [_HEAD]
    if number >= _FIRST_WITH_SYSTEM:
        pieces.append(
            "{%- if system %}{{ '[SYSTEM_PROMPT]' + system + '[/SYSTEM_PROMPT]' }}{% endif %}"
        )
    pieces += [_LOOP, *_user(number, effort), _ASSISTANT]
    if number >= _FIRST_AT_START and _has(tokenizer, "[THINK]"):
        pieces.append(
            "    {%- if message['reasoning_content'] %}"
            "{{ '[THINK]' + message['reasoning_content'] + '[/THINK]' }}{% endif %}"
        )
    # The first version knows its marks as text, which a space parts from an answer.
    pieces += ["    {{- ' ' }}"] if number == 1 else []
    pieces.append(_CONTENT if number > 1 else _CONTENT.replace(".rstrip(' ')", ""))
    if number >= _FIRST_WITH_TOOLS:
        pieces += [_calls(number), "    {{- eos_token }}", _TOOL, _result(number)]
    else:
        refusal = "{{- raise_exception('This version knows no tools') }}"
        pieces += [f"    {{%- if message['tool_calls'] %}}{refusal}{{% endif %}}"]
        pieces += ["    {{- eos_token }}"]
    return "\n".join([*pieces, _END])


def _user(number: int, effort: str | None) -> list[str]:
    pieces = []
    place = "at.first" if number >= _FIRST_AT_START else "at.last"
    if number >= _FIRST_WITH_TOOLS:
        pieces.append(
            f"    {{%- if tools and loop.index0 == {place} %}}"
            "{{ '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{% endif %}"
        )
    if effort is not None:
        pieces.append(
            "    {%- if loop.index0 == at.first %}{{ '[MODEL_SETTINGS]{\"reasoning_effort\": ' + "
            f"((reasoning_effort if reasoning_effort is defined else '{effort}') | tojson) + "
            "'}[/MODEL_SETTINGS]' }}{% endif %}"
        )
    joined = "{{ '[INST]' }}"
    if number < _FIRST_WITH_SYSTEM:
        place = "at.first" if number == 1 else "at.last"
        joined += f"{{{{ system + '\\n\\n' if system and loop.index0 == {place} }}}}"
    joined += "{{ message['content'] }}{{ '[/INST]' }}"
    if number == 1:
        joined = joined.replace("'[INST]'", "'[INST] '").replace("'[/INST]'", "' [/INST]'")
    return [*pieces, "    {#- -#}\n" + joined]


def _calls(number: int) -> str:
    name, arguments = "call['function']['name']", "call['function']['arguments'] | tojson"
    if number < _FIRST_WITH_NAMES:
        written = (
            "{{ '[TOOL_CALLS][' if loop.first else ', ' }}"
            f"{{{{ '{{\"name\": ' + ({name} | tojson) + ', \"arguments\": ' + ({arguments}) }}}}"
            "{{ (', \"id\": ' + (call['id'] | tojson) if call['id'] else '') + '}' }}"
            "{{ ']' if loop.last }}"
        )
    else:
        identity = "{{ '[CALL_ID]' + call['id'] if call['id'] }}"
        written = (
            f"{{{{ '[TOOL_CALLS]' + {name} }}}}"
            + (identity if number < _FIRST_AT_START else "")
            + f"{{{{ '[ARGS]' + ({arguments}) }}}}"
        )
    return f"    {{%- for call in message['tool_calls'] or [] %}}{written}{{% endfor %}}"


def _result(number: int) -> str:
    if number >= _FIRST_AT_START:
        inner = "message['content']"
    elif number >= _FIRST_WITH_SYSTEM:
        inner = "message['tool_call_id'] + '[TOOL_CONTENT]' + message['content']"
    else:
        # What is an object or a list of JSON is written as such, anything else as a text.
        content = (
            "(message['content'] if message['content'][:1] in ['{', '['] "
            "else message['content'] | tojson)"
        )
        call = "(message['tool_call_id'] | tojson)"
        inner = f"'{{\"content\": ' + {content} + ', \"call_id\": ' + {call} + '}}'"
    return f"    {{{{- '[TOOL_RESULTS]' + {inner} + '[/TOOL_RESULTS]' }}}}"


def _has(tokenizer: Tokenizer, spelling: str) -> bool:
    ids = tokenizer.encode(spelling, add_bos=False, parse_special=True)
    return len(ids) == 1 and tokenizer.is_special(ids[0])
