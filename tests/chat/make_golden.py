"""Writes golden_templates.json: what transformers renders, template by template.

    python tests/chat/make_golden.py STARTER.gguf tests/chat/golden_templates.json

Oracle: transformers 5.23.0 (the version is written into the file), its own compilation of a chat
template, with the clock set to one moment. The first template is the starter model's own; the
others each use one corner of the language that published templates use.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

NOW = "2026-01-31T12:34:00"

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": 'Say "how" <it> is & why — été',
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "format": "name"},
                    "days": {"type": "array", "items": {"type": "integer"}},
                },
                "required": ["city"],
            },
        },
    }
]
CALL = {"type": "function", "id": "abc", "function": {"name": "get_weather", "arguments": {"n": 1}}}
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "user": [{"role": "user", "content": "Hi é <b> 🙂"}],
    "turns": [
        {"role": "system", "content": "Be short.\n"},
        {"role": "user", "content": "  Hi  "},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello!"},
        {"role": "user", "content": "Again\n\n"},
    ],
    "tools": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "abc", "content": "Sunny"},
    ],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}],
    "none": [],
}

TEMPLATES = {
    "blocks_take_lines": "{% for m in messages %}\n  {% if m.role == 'user' %}\n{{ m.role }}:\n"
    "  {% endif %}\n{% else %}\nnobody\n{% endfor %}\nend\n",
    "dashes": "a {%- for m in messages -%}  {{- m.role -}}  {%- endfor -%} b\n\n",
    "loop_names": "{% for m in messages %}{{ loop.index }}/{{ loop.length }}:{{ loop.index0 }},"
    "{{ loop.revindex }},{{ loop.first }},{{ loop.last }},{{ (loop.previtem or m).role }};"
    "{{ loop.cycle('odd', 'even') }},{{ loop.changed(m.role) }}\n{% endfor %}",
    "break_and_continue": "{% for m in messages %}{% if loop.index == 2 %}{% continue %}{% endif %}"
    "{% if loop.index > 3 %}{% break %}{% endif %}{{ m.role }} {% endfor %}",
    "namespace": "{% set ns = namespace(n=0, seen=[]) %}{% for m in messages %}"
    "{% set ns.n = ns.n + 1 %}{% set ns.seen = ns.seen + [m.role] %}{% endfor %}"
    "{{ ns.n }} {{ ns.seen }} {{ ns.seen | join('+') }}",
    "scopes": "{% set x = 1 %}{% for m in messages %}{% set x = 2 %}{% endfor %}{{ x }}"
    "{% if true %}{% set x = 3 %}{% endif %}{{ x }}{% with x = 4 %}{{ x }}{% endwith %}{{ x }}",
    "macros": "{% macro say(who, what='nothing', loud=false) %}{{ who }} says "
    "{{ what | upper if loud else what }}{% endmacro %}{{ say('I') }}; "
    "{{ say('you', loud=true, what='hey') }}; {{ say(messages | length) }}",
    "recursion": "{% macro kind(t) %}{% if t.type == 'array' %}list of {{ kind(t['items']) }}"
    "{% else %}{{ t.type }}{% endif %}{% endmacro %}"
    "{% for t in tools or [] %}{% for name, p in t.function.parameters.properties.items() %}"
    "{{ name }}: {{ kind(p) }}; {% endfor %}{% endfor %}",
    "recursive_loop": "{% for m in [[1, [2, [3]]]] recursive %}{% if m is iterable %}"
    "({{ loop(m) }}){% else %}{{ m }}@{{ loop.depth }}{% endif %}{% endfor %}",
    "set_blocks": "{% set text %}a {{ messages | length }} b{% endset %}[{{ text | trim }}]"
    "{% set loud | upper %}quiet{% endset %}{{ loud }}{% filter replace('a', 'o') %}banana"
    "{% endfilter %}",
    "generation": "{% for m in messages %}{% generation %}{{ m.role }}{% set y = 1 %}"
    "{% endgeneration %}{{ y is defined }}\n{% endfor %}",
    "json": "{{ tools | tojson }}\n{{ tools | tojson(indent=2) }}\n{{ messages | tojson }}\n"
    "{{ {'b': 1, 'a': [true, none, 1.5]} | tojson(sort_keys=true, separators=(',', ':')) }}"
    "{{ 'é<&>\\'' | tojson }}{{ 'é' | tojson(ensure_ascii=true) }}",
    "text_methods": "{% for m in messages %}{% if m.content is string %}"
    "{% set parts = m.content.split('</think>') %}{{ parts[-1].lstrip('\\n') }}|"
    "{{ parts[0].split('<think>')[-1].strip() }}|{{ m.content.rstrip() }}|"
    "{{ m.content.startswith('  ') }}|{{ 'Hi' in m.content }}|{{ m.content.replace('H', 'J') }}|"
    "{{ m.content | length }}{% endif %}\n{% endfor %}{{ '<{}|{:>3}>'.format('x', 7) }}"
    "{{ ', '.join(['a', 'b']) }}{{ 'a b'.title() }}{{ 'x=y=z'.partition('=') }}",
    "slices": "{{ messages[1:] | length }}{{ messages[::-1] | map(attribute='role') | list }}"
    "{{ (messages[-1:] | first).role }}{{ 'abcdef'[1:-1:2] }}{{ [1, 2, 3][:2] }}",
    "choosing": "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
    "{{ messages | rejectattr('role', 'in', ['user', 'tool']) | map(attribute='role') | join }}"
    "{{ [1, 2, 3, 4] | select('odd') | list }}{{ [0, 1, none] | reject | list }}"
    "{{ ['a', 'b'] | map('upper') | join }}{{ [3, 1, 2] | sort(reverse=true) }}"
    "{{ [1, 1, 2] | unique | list }}{{ [1, 2] | sum }}{{ [2, 1] | min }}{{ [[1, 2], [3]] | last }}"
    "{{ {'b': 1, 'a': 2} | dictsort }}{{ {'k': 'v'} | items | list }}{{ 'cab' | list | sort }}"
    "{{ [1, 2] | reverse | list }}{{ messages | map(attribute='name', default='?') | list }}",
    "plain_filters": "{{ 'x' | default('d') }}{{ nope | d('d') }}{{ '' | default('d', true) }}"
    "{{ '7' | int + 1 }}{{ '1.5' | float }}{{ 2.567 | round(1) }}{{ -3 | abs }}{{ 5 | string }}"
    "{{ 'ab cd' | title }}{{ 'ab' | capitalize }}{{ 'AB' | lower }}{{ ' x ' | trim }}"
    "{{ 'a\\nb' | indent(2) }}{{ 'a\\n\\nb' | indent(2, true) }}{{ '<a>' | e }}{{ '<a>' | safe }}"
    "{{ none | string }}{{ 'aXbX' | replace('X', '-', 1) }}",
    "tests": "{{ nope is defined }}{{ messages is defined }}{{ none is none }}{{ 1 is number }}"
    "{{ {} is mapping }}{{ [] is sequence }}{{ 'x' is string }}{{ true is boolean }}"
    "{{ 3 is divisibleby 3 }}{{ 2 is even }}{{ 1 is not odd }}{{ 'a' is in 'abc' }}"
    "{{ [] is iterable }}{{ 1 is sameas 1 }}{{ tools is none }}{{ false is false }}",
    "arithmetic": "{{ 1 + 2 * 3 - 4 }}{{ 7 // 2 }}{{ 7 / 2 }}{{ 7 % 4 }}{{ 2 ** 10 }}{{ -1 }}"
    "{{ 'a' ~ 1 ~ none }}{{ 'ab' * 3 }}{{ [1] * 2 }}{{ 1 < 2 <= 2 }}{{ 1 == 1.0 }}{{ not 0 }}"
    "{{ 'x' if false }}{{ 1 and 0 or 'z' }}{{ (1, 'two') }}{{ {'a': 1}.a }}{{ {'a': 1}['a'] }}",
    "unpacking": "{% for k, v in {'a': 1, 'b': [2]}.items() %}{{ k }}={{ v }} {% endfor %}"
    "{% set a, b = 1, 2 %}{{ b }}{{ a }}{% for i in range(2, 8, 3) %}{{ i }}{% endfor %}"
    "{% for c in 'ab' %}{{ c }}.{% endfor %}{% for k in {'x': 1} %}{{ k }}{% endfor %}"
    "{{ dict(a=1) }}{{ range(3) | list }}",
    "date": "{{ strftime_now('%d %b %Y') }}{% if strftime_now is defined %}!{% endif %}",
    "tokens": "{{ bos_token }}{% for m in messages %}{{ eos_token }}{% endfor %}{{ pad_token }}"
    "{% if pad_token is defined %}never{% endif %}",
    "named_arguments": "{{ add_generation_prompt }}{{ tools is not none }}{{ documents }}"
    "{{ enable_thinking is defined and enable_thinking is false }}",
    "missing_keys": "{% for m in messages %}{{ m.nope }}{{ m['nope'] }}{{ m.get('nope', 'd') }}"
    "{% if m.tool_calls %}{{ m.tool_calls[0].function.name }}{% endif %}"
    "{{ m.content[0].text if m.content is not string and m.content else '' }}{% endfor %}",
    "comments_and_raw": "a{# no {{ x }} #}b{% raw %}{{ x }}{% endraw %}\n{#- c -#}\n d",
    "refuses": "{% if messages[0].role != 'system' %}"
    "{{ raise_exception('The system comes first.') }}{% endif %}fine",
}


def main() -> None:
    import gguf
    import jinja2
    import transformers
    from transformers.utils.chat_template_utils import _compile_jinja_template

    starter = gguf.GGUFReader(sys.argv[1]).fields["tokenizer.chat_template"].contents()
    now = datetime.fromisoformat(NOW)
    cases = []
    for name, source in {"starter": starter, **TEMPLATES}.items():
        template = _compile_jinja_template(source)
        template.globals["strftime_now"] = now.strftime
        for number, (conversation, messages) in enumerate(CONVERSATIONS.items()):
            given = {
                "messages": messages,
                "tools": TOOLS if conversation == "tools" else None,
                "add_generation_prompt": number % 2 == 0,
            }
            variables = {"enable_thinking": False} if conversation == "user" else {}
            tokens = {"bos_token": "<s>", "eos_token": "</s>"}
            try:
                text = template.render(**given, documents=None, **variables, **tokens)
            except (jinja2.TemplateError, TypeError) as error:
                text = {"error": type(error).__name__}
            case = {"name": name, "conversation": conversation, "source": source}
            cases.append({**case, **given, "variables": variables, "expected": text})
    head = {"oracle": f"transformers {transformers.__version__}", "now": NOW}
    lines = ",\n".join(json.dumps(case) for case in cases)
    body = json.dumps({**head, "cases": []}, indent=1).replace("[]", f"[\n{lines}\n]")
    Path(sys.argv[2]).write_text(body + "\n", encoding="utf-8")
    failed = [c["name"] + ":" + c["conversation"] for c in cases if isinstance(c["expected"], dict)]
    print(f"{len(cases)} cases, refused: {failed}")


if __name__ == "__main__":
    main()
