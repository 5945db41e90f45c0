"""A chat template looked at as a program: what it reaches for, and whom it listens to.

Room: inspection. Parses templates with the sandbox's own grammar and never runs them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import jinja2
from jinja2 import nodes

from freehold.chat.sandbox import Sandbox
from freehold.inspection.safety.finding import Finding
from freehold.inspection.safety.texts import hidden_characters

__all__ = ["scan_template"]

_MAX_CHARS = 1 << 20
_LONG_TEXT = 2000
_ADDRESS = re.compile(r"https?://[\w.-]+|www\.[\w.-]+", re.IGNORECASE)
# Names that only a way out of a sandbox needs.
_DOORS = frozenset({"lipsum", "cycler", "joiner", "self", "request", "config", "import", "eval"})
_DOORS |= {"exec", "open", "os", "subprocess", "getattr", "globals", "builtins", "get_flashed"}
_REACHING_FILTERS = frozenset({"attr", "pprint", "xmlattr"})
_LOADING = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
# What stands in a conversation because a model's format put it there: marks, switches, kinds.
_MARK = re.compile(r"[<\[{/|]|^\W*$|^[\w-]{1,16}$")


def scan_template(source: str, place: str) -> Iterator[Finding]:
    """One template's text. Nothing of it is run."""
    if len(source) > _MAX_CHARS:
        yield _danger("template.length", place, f"it is {len(source):,} characters long")
        return
    if hidden := hidden_characters(source):
        shown = ", ".join(hidden)
        yield _danger("template.hidden", place, f"it has characters that nobody sees: {shown}")
    try:
        tree = Sandbox().parse(source)
    except jinja2.TemplateError as error:
        yield Finding(
            "warning",
            "template.broken",
            place,
            f"it cannot be read: {str(error.message)[:120]}",
            "the model cannot be talked to by its own template",
        )
        return
    except (RecursionError, MemoryError):
        yield _danger("template.depth", place, "it is nested deeper than any reader can follow")
        return
    yield from _reaching(tree, place)
    yield from _listening(tree, place)
    yield from _saying(tree, place)


def _danger(code: str, place: str, why: str) -> Finding:
    return Finding(
        "danger",
        code,
        place,
        why,
        "the sandbox here refuses it; a program with a weaker one would not. Do not use the file",
    )


def _reaching(tree: nodes.Template, place: str) -> Iterator[Finding]:
    """Ways out of the sandbox."""
    for node in tree.find_all(nodes.Node):
        name = _member(node)
        if name is not None and (name.startswith("_") or "\\x5f" in name):
            why = f"line {node.lineno} takes the private attribute {name[:60]!r}"
            yield _danger("template.attribute", place, why)
        elif isinstance(node, nodes.Filter) and node.name in _REACHING_FILTERS:
            why = f"line {node.lineno} reaches attributes by name, through the filter {node.name}"
            yield _danger("template.attribute", place, why)
        elif isinstance(node, _LOADING):
            why = f"line {node.lineno} loads another file"
            yield _danger("template.loads", place, why)
        elif isinstance(node, nodes.Call) and _root(node.node) in _DOORS:
            why = f"line {node.lineno} calls into {_root(node.node)}"
            yield _danger("template.calls", place, why)
        elif isinstance(node, nodes.Const) and "__" in str(node.value) and _dunder(node.value):
            why = f"line {node.lineno} spells the private name {str(node.value)[:60]!r}"
            yield _danger("template.attribute", place, why)


def _member(node: nodes.Node) -> str | None:
    if isinstance(node, nodes.Getattr):
        return node.attr
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        return node.arg.value if isinstance(node.arg.value, str) else None
    return None


def _dunder(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"__\w+__", value) is not None


def _root(node: nodes.Node) -> str:
    while isinstance(node, nodes.Getattr | nodes.Getitem | nodes.Call):
        node = node.node
    return node.name if isinstance(node, nodes.Name) else ""


def _listening(tree: nodes.Template, place: str) -> Iterator[Finding]:
    """Conditions on ordinary words of a conversation: how a template is made to betray someone."""
    for node in tree.find_all(nodes.Compare):
        operand = node.ops[0] if node.ops else None
        if operand is None or operand.op not in ("in", "notin", "eq"):
            continue
        asked = node.expr if operand.op != "eq" else operand.expr
        inside = operand.expr if operand.op != "eq" else node.expr
        if not (isinstance(asked, nodes.Const) and isinstance(asked.value, str)):
            continue
        word = asked.value
        if len(word) >= 4 and not _MARK.search(word) and _is_content(inside):
            yield Finding(
                "warning",
                "template.listens",
                place,
                f"line {node.lineno} behaves differently when a message says {word[:60]!r}",
                "read that line: a template can make a model answer falsely about one subject",
            )


def _is_content(node: nodes.Node) -> bool:
    return any(_member(part) == "content" for part in (node, *node.find_all(nodes.Node)))


def _saying(tree: nodes.Template, place: str) -> Iterator[Finding]:
    """What the template says itself."""
    texts = [node.data for node in tree.find_all(nodes.TemplateData)]
    texts += [node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)]
    hosts = sorted({match[0] for text in texts for match in _ADDRESS.finditer(text)})
    if hosts:
        yield Finding(
            "warning",
            "template.address",
            place,
            f"it puts an address into every prompt: {', '.join(hosts[:3])[:160]}",
            "ask why; a model repeats what its prompt says",
        )
    if any(len(text) > _LONG_TEXT for text in texts):
        yield Finding(
            "note",
            "template.long_text",
            place,
            "it holds a long text of its own, which is put before what people say",
            "read the rendered conversation above",
        )
