"""Chat templates that loop, grow, nest or reach out, each with the error it must get.

A template comes in a file from a stranger and runs in the process that holds the conversations.
"""

from __future__ import annotations

import gc
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.chat.meter import Limits
from freehold.chat.templates import ChatTemplate
from freehold.errors import TemplateError

MESSAGES = [{"role": "user", "content": "PRIVATE"}]
# A fifth of the real limit, so that the tests take a fifth of the time; one takes the real one.
LIMITS = Limits(cpu_s=0.2)
# The limit, and one operation that was under way.
MOST_SECONDS = 1.0
MOST_BYTES = 200_000_000


@pytest.fixture(scope="module", autouse=True)
def nothing_of_earlier_tests_to_collect() -> None:
    """A pass over what thousands of tests left would be charged to the template it falls into."""
    gc.collect()
    gc.freeze()


def attack(source: str, limits: Limits = LIMITS) -> str:
    """What the template is told. Fails if it renders, or takes longer than its limit allows."""
    start_s = time.thread_time()
    with pytest.raises(TemplateError) as caught:
        ChatTemplate(source, limits=limits).render(MESSAGES)
    assert time.thread_time() - start_s < limits.cpu_s + MOST_SECONDS
    assert "PRIVATE" not in str(caught.value)
    return str(caught.value)


def growing(step: str, start: str = "'x'", rounds: int = 60) -> str:
    """A template that applies a step to `ns.v` again and again."""
    return (
        "{% set ns = namespace(v=" + start + ") %}"
        "{% for i in range(" + str(rounds) + ") %}{% set ns.v = " + step + " %}{% endfor %}"
    )


def nested_loops(body: str, depth: int = 3) -> str:
    return "{% for i in range(100000) %}" * depth + body + "{% endfor %}" * depth


LOOPS = {
    "loops": nested_loops(""),
    "loops_in_a_macro": "{% macro m() %}" + nested_loops("") + "{% endmacro %}{{ m() }}",
    "loop_with_a_condition": "{% for i in range(100000) if i < 0 %}{% endfor %}" * 20,
    "calls_that_branch": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}"
    "{% endmacro %}{{ f(45) }}",
    "loops_that_branch": "{% for i in [1, 1] recursive %}{% if loop.depth < 40 %}"
    "{{ loop([1, 1]) }}{% endif %}{% endfor %}",
    "filters_over_and_over": "{{ range(100000)"
    + " | map('string') | map('upper')" * 9
    + " | list }}",
    "sorting": nested_loops("{{ range(100000) | sort | length }}", 1),
    "searching": "{% set t = 'ab' * 4000000 %}" + nested_loops("{% if 'ac' in t %}{% endif %}", 1),
    "comparing": "{% set a = 'a' * 4000000 %}{% set b = 'a' * 4000000 %}"
    + nested_loops("{% if a == b %}{% endif %}", 1),
    "comparing_deep_values": growing("[ns.v, ns.v]", "[1]", 12)
    + growing("[ns.v, ns.v]", "[1]", 12).replace("ns", "ms")
    + nested_loops("{% if ns.v == ms.v %}{% endif %}", 1),
    "nesting_one_level_more": growing("[ns.v]", "[]", 100_000),
    "title_case": "{{ ('a b ' * 2000000) | title }}",
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_template_that_does_not_end_is_ended(name: str) -> None:
    told = attack(LOOPS[name])
    assert "limit of steps" in told or "limit of processor time" in told or "size of one" in told


def test_the_real_limit_is_about_a_second() -> None:
    assert Limits().cpu_s == 1.0
    assert "processor time; expected at most 1.0 s" in attack(LOOPS["searching"], Limits())


SIZES = {
    "text_times_number": "{{ 'a' * 10000000000 }}",
    "number_times_text": "{{ 10000000000 * 'a' }}",
    "list_times_number": "{{ [0] * 10000000000 }}",
    "constants_at_compilation": "{% if false %}{% endif %}{{ ('a' * 1000000000) | length }}",
    "doubling_by_tilde": growing("ns.v ~ ns.v"),
    "doubling_by_plus": growing("ns.v + ns.v"),
    "doubling_a_list": growing("ns.v + ns.v", "[1]"),
    "a_list_of_itself_twice": growing("[ns.v, ns.v]"),
    "a_mapping_of_itself_twice": growing("{'a': ns.v, 'b': ns.v}") + "{{ ns.v | tojson }}",
    "a_tuple_of_itself_twice": growing("(ns.v, ns.v)"),
    "dict_of_itself_twice": growing("dict(a=ns.v, b=ns.v)"),
    "replace_filter": growing("ns.v | replace('x', 'xx')"),
    "replace_method": growing("ns.v.replace('', 'xx')"),
    "join_filter": growing("range(1000) | join(ns.v)"),
    "join_method": "{{ ('x' * 1000000).join('y' * 1000000) }}",
    "output_of_a_loop": nested_loops("x" * 5000, 2),
    "output_into_a_variable": "{% set v %}" + nested_loops("x" * 50_000, 1) + "{% endset %}",
    "output_of_a_macro": "{% macro m() %}" + nested_loops("x" * 50_000, 1) + "{% endmacro %}"
    "{% set v = m() %}",
    "output_into_a_filter": "{% filter upper %}" + nested_loops("x" * 5000, 2) + "{% endfilter %}",
    "copies_by_slicing": "{% set t = 'ab' * 2000000 %}"
    + "".join(f"{{% set v{i} = t[1:] %}}" for i in range(500)),
    "copies_by_upper": "{% set t = 'ab' * 2000000 %}{{ t | upper }}"
    + "".join(f"{{% set v{i} = t | upper %}}" for i in range(500)),
    "letters_of_a_text": "{{ ('a' * 8000000) | list | length }}",
    "splitting": "{{ ('a' * 8000000).split('a') | length }}",
    "splitting_at_spaces": "{{ ('a ' * 4000000).split() | length }}",
    "splitting_at_rare_spaces": "{{ ('a\u3000' * 4000000).split() | length }}",
    "splitting_lines": "{{ ('\n' * 8000000).splitlines() | length }}",
    "power": "{{ 10 ** 100000 }}",
    "power_of_a_power": "{{ 9 ** (9 ** 9) }}",
    "squaring": growing("ns.v * ns.v", "2"),
    "a_number_of_many_digits": "{{ ('f' * 100000) | int(base=16) }}",
    "range": "{{ range(1000000000) | list }}",
    "range_by_a_loop": "{% for i in range(10000000) %}{% endfor %}",
    "indent": "{{ 'x' | indent(10000000000, true) }}",
    "indent_by_text": "{{ 'x' | indent(' ' * 1000000, true) }}",
    "indent_of_json": "{{ [1] | tojson(indent=1000000000) }}",
    "separators_of_json": "{{ [1, 2] | tojson(separators=('x' * 1000000, '')) }}",
    "precision": "{{ 1.5 | round(1000000000) }}",
    "pattern_to_strip": "{{ 'ab'.strip('x' * 1000000) }}",
    "pattern_from_the_right": "{{ ('a' * 4000000).rfind('b' + 'a' * 1000000) }}",
    "format_of_a_date": "{{ strftime_now('%999999999d' * 1000) }}",
    "calls_without_end": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "loops_without_end": "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "source": "x" * 1_000_000,
    "source_of_many_tokens": "{{ a }}" * 15_000,
}


@pytest.mark.parametrize("name", SIZES)
def test_a_template_that_grows_is_stopped(name: str) -> None:
    assert "went over its limit of" in attack(SIZES[name])


@pytest.mark.parametrize(
    "name",
    ["doubling_by_tilde", "a_list_of_itself_twice", "output_of_a_macro", "copies_by_slicing"],
)
@pytest.mark.parametrize("letter", ["x", "🙂"])
def test_a_template_that_grows_takes_little_memory(name: str, letter: str) -> None:
    source = SIZES[name].replace("xx", letter * 2).replace("'x'", f"'{letter}'")
    tracemalloc.start()
    try:
        attack(source.replace("'ab'", f"'{letter}'"), Limits(cpu_s=5.0))
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


NOT_OFFERED = {
    "class": "{{ ''.__class__.__mro__ }}",
    "class_by_item": "{{ ''['__class__'] }}",
    "class_by_made_up_name": "{{ ''['__cla' ~ 'ss__'] }}",
    "class_by_attr": "{{ '' | attr('__class__') }}",
    "class_by_map": "{{ [1] | map(attribute='__class__') | list }}",
    "class_by_select": "{{ [1] | selectattr('__class__') | list }}",
    "class_by_sort": "{{ [1, 2] | sort(attribute='__class__') }}",
    "class_by_join": "{{ [1] | join(attribute='__class__') }}",
    "class_by_sum": "{{ [1] | sum(attribute='__class__') }}",
    "class_by_unique": "{{ [1] | unique(attribute='__class__') }}",
    "class_by_format": "{{ '{0.__class__}'.format(1) }}",
    "class_by_percent": "{{ '%(x)s' % {'x': 1} }}",
    "globals_of_range": "{{ range.__globals__ }}",
    "function_of_range": "{{ range.function }}",
    "init_of_namespace": "{{ namespace.__init__.__globals__ }}",
    "attributes_of_a_namespace": "{{ namespace(a=1).__init__ }}",
    "mangled_attributes_of_a_namespace": "{{ namespace(a=1)._Namespace__attrs }}",
    "inside_of_a_loop": "{% for i in [1] %}{{ loop._iterable }}{% endfor %}",
    "class_of_a_loop": "{% for i in [1] %}{{ loop.__class__ }}{% endfor %}",
    "inside_of_a_macro": "{% macro m() %}{% endmacro %}{{ m._func }}",
    "code_of_a_macro": "{% macro m() %}{% endmacro %}{{ m.__call__ }}",
    "self": "{{ self._TemplateReference__context }}",
    "self_init": "{{ self.__init__.__globals__ }}",
    "owner_of_a_method": "{{ ''.upper.__self__ }}",
    "method_of_a_class": "{{ {}.fromkeys }}",
    "append": "{% set x = messages.append(1) %}",
    "append_while_looping": "{% for m in messages %}{% set x = messages.append(m) %}{% endfor %}",
    "update": "{{ messages[0].update({'role': 'system'}) }}",
    "pop": "{{ messages[0].pop('role') }}",
    "encode": "{{ 'x'.encode() }}",
    "translate": "{{ 'x'.translate({}) }}",
    "center": "{{ 'x'.center(10000000000) }}",
    "center_filter": "{{ 'x' | center(10000000000) }}",
    "center_by_map": "{{ ['x'] | map('center', 10000000000) | list }}",
    "ljust": "{{ 'x'.ljust(10000000000) }}",
    "zfill": "{{ 'x'.zfill(10000000000) }}",
    "expandtabs": "{{ '\t'.expandtabs(10000000000) }}",
    "percent_width": "{{ '%10000000000d' % 1 }}",
    "format_width": "{{ '{:10000000000}'.format(1) }}",
    "format_filter": "{{ '%10000000000d' | format(1) }}",
    "batch": "{{ [1] | batch(10000000000, 0) | list }}",
    "slice": "{{ [1] | slice(10000000000) | list }}",
    "random": "{{ [1, 2] | random }}",
    "test_of_tests": "{{ 'x' is filter }}",
    "unknown_filter": "{{ 'x' | nofilter }}",
    "unknown_test": "{{ 'x' is notest }}",
    "a_gate": "{{ [1] | map('gate call') | list }}",
    "call_of_a_text": "{{ 'x'() }}",
    "call_of_a_mapping": "{{ messages[0]() }}",
    "call_with_stars": "{{ range(*[1, 2]) }}",
    "call_with_two_stars": "{{ dict(**{'a': 1}) }}",
    "filter_with_stars": "{{ 'x' | replace(*['x', 'y']) }}",
    "include": "{% include 'x' %}",
    "import": "{% import 'x' as y %}",
    "from_import": "{% from 'x' import y %}",
    "extends": "{% extends 'x' %}",
    "block": "{% block x %}{% endblock %}",
    "call_block": "{% macro m() %}{% endmacro %}{% call m() %}{% endcall %}",
    "autoescape": "{% autoescape true %}{{ '<' }}{% endautoescape %}",
}


@pytest.mark.parametrize("name", NOT_OFFERED)
def test_a_template_that_reaches_out_is_refused(name: str) -> None:
    assert "not offered" in attack(NOT_OFFERED[name])


NOT_THERE = {
    "lipsum": "{{ lipsum(100000000) }}",
    "cycler": "{{ cycler.__init__.__globals__ }}",
    "joiner": "{{ joiner('x') }}",
    "open": "{{ open('x') }}",
    "class_of_nothing": "{{ nope.__class__ }}",
    "call_of_nothing": "{{ nope() }}",
    "environment": "{{ environment.globals }}",
    "context": "{{ context.parent }}",
}


@pytest.mark.parametrize("name", NOT_THERE)
def test_what_jinja_offers_elsewhere_is_not_there(name: str) -> None:
    assert "a value that is not there" in attack(NOT_THERE[name])


DEEP = {
    "parentheses": "{{ " + "(" * 500 + "1" + ")" * 500 + " }}",
    "lists": "{{ " + "[" * 500 + "]" * 500 + " }}",
    "ifs": "{% if 1 %}" * 150 + "{% endif %}" * 150,
    "fors": "{% for i in [1] %}" * 30 + "{% endfor %}" * 30,
    "sums": "{{ 1" + " + 1" * 2000 + " }}",
    "filters": "{{ 'x'" + " | upper" * 2000 + " }}",
    "dots": "{{ a" + ".b" * 5000 + " }}",
    "nots": "{{ " + "not " * 3000 + "1 }}",
}


@pytest.mark.parametrize("name", DEEP)
def test_a_source_too_deep_to_compile_is_refused(name: str) -> None:
    assert "nested too deeply" in attack(DEEP[name])


@pytest.mark.parametrize(
    "source", ["{{", "{% if %}", "{% endfor %}", "{{ 'x }}", "{% unknown %}", "{{ 1 | }}"]
)
def test_a_source_that_is_no_template_is_refused(source: str) -> None:
    assert "line 1 of the chat template cannot be read" in attack(source)


def test_messages_too_large_or_too_deep_are_refused() -> None:
    template = ChatTemplate("{{ messages }}")
    with pytest.raises(TemplateError, match="size of one value"):
        template.render([{"role": "user", "content": "x" * 10_000_000}])
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(TemplateError, match="nesting in messages"):
        template.render([{"role": "user", "content": deep}])


def test_printing_a_value_that_holds_itself_ends() -> None:
    source = "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns.x }}{{ ns }}{{ ns.x == ns.x }}"
    assert ChatTemplate(source).render(MESSAGES) == "[<Namespace>]<Namespace>True"


# Scraps of templates, to be put together in any order.
SCRAPS = """
{{ }} {% %} {%- -%} {# #} ( ) [ ] { } , : . | ~ + - * / // ** % == != < not and or in is if else
elif endif for endfor recursive set endset macro endmacro m x loop ns namespace() messages content
role 'text' 'a b' 0 1 -1 9999 1.5 none true defined string upper join list map selectattr tojson
trim length split replace items raise_exception range generation endgeneration with endwith filter
endfilter break continue raw endraw
"""


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(SCRAPS.split()), max_size=30).map(" ".join),
    st.sampled_from(["{0}", "{{{{ {0} }}}}"]),
)
def test_any_source_renders_or_is_refused(scraps: str, frame: str) -> None:
    told = ""
    try:
        ChatTemplate(frame.format(scraps), limits=LIMITS).render(MESSAGES)
    except TemplateError as error:
        told = str(error)
    assert "PRIVATE" not in told


def test_the_limits_do_not_stand_in_the_way_of_plain_templates() -> None:
    assert ChatTemplate("{{ messages[0].content }}", limits=LIMITS).render(MESSAGES) == "PRIVATE"
