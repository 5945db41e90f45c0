"""Rewrites a parsed template so that everything it does passes one of eight gates.

Room: chat. Knows Jinja's syntax tree; must not know values or messages.

Jinja compiles a template to Python that loops, slices, compares and joins directly, out of reach of
a sandbox. After this, these are all calls of the internal filters below; attribute access and
arithmetic already pass through the environment. Their names hold a space, so no template can
write them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jinja2 import Environment, nodes
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser
from jinja2.visitor import NodeTransformer

from freehold.chat.meter import Limits, over_limit
from freehold.errors import TemplateError

__all__ = ["GATES", "BoundedSource", "MarkedAnswer", "string_constants", "through_gates"]

CALL, FILTER, TEST, EACH, OUT, MADE, CONCAT, STEP = GATES = (
    "gate call",
    "gate filter",
    "gate test",
    "gate each",
    "gate out",
    "gate made",
    "gate concat",
    "gate step",
)

_ALLOWED = (
    nodes.Assign,
    nodes.AssignBlock,
    nodes.Break,
    nodes.Continue,
    nodes.FilterBlock,
    nodes.For,
    nodes.If,
    nodes.Macro,
    nodes.Output,
    nodes.Scope,
    nodes.With,
)


def through_gates(tree: nodes.Template, environment: Environment) -> nodes.Template:
    """The template with every operation behind its gate. Mutates: tree.

    Raises: TemplateError for a statement that chat templates have no use for.
    """
    for node in tree.find_all(nodes.Stmt):
        if not isinstance(node, _ALLOWED):
            raise _not_offered(type(node).__name__.lower(), node.lineno)
    rewritten: nodes.Template = _Gates().visit(tree)
    return rewritten.set_environment(environment)  # type: ignore[return-value]


def string_constants(tree: nodes.Template) -> frozenset[str]:
    """Every text that stands in the template's own source as a string."""
    found = (constant.value for constant in tree.find_all(nodes.Const))
    return frozenset(value for value in found if isinstance(value, str))


def _not_offered(what: str, line: int) -> TemplateError:
    return TemplateError(
        f"line {line} of the chat template uses what is not offered: {what}",
        value=what,
        expected="set, if, for, macro, filter, with, break, continue and expressions",
    )


def _gate(node: Any, gate: str, *args: nodes.Expr, line: int) -> nodes.Filter:
    return nodes.Filter(node, gate, list(args), [], None, None, lineno=line)


class _Gates(NodeTransformer):
    """Children first, so that what it adds is never visited."""

    def _arguments(self, node: nodes.Call | nodes.Filter | nodes.Test) -> tuple[nodes.Expr, ...]:
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise _not_offered("a call with * or **", node.lineno)
        pairs = [
            nodes.Pair(nodes.Const(named.key, lineno=node.lineno), named.value, lineno=node.lineno)
            for named in node.kwargs
        ]
        return (
            nodes.List(node.args, lineno=node.lineno),
            nodes.Dict(pairs, lineno=node.lineno),
        )

    def visit_Call(self, node: nodes.Call) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _gate(node.node, CALL, *self._arguments(node), line=node.lineno)

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        name = nodes.Const(node.name, lineno=node.lineno)
        return _gate(node.node, FILTER, name, *self._arguments(node), line=node.lineno)

    def visit_Test(self, node: nodes.Test) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        name = nodes.Const(node.name, lineno=node.lineno)
        return _gate(node.node, TEST, name, *self._arguments(node), line=node.lineno)

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.iter = _gate(node.iter, EACH, line=node.lineno)
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Node:  # noqa: N802
        parts = [
            nodes.Const(part.data, lineno=part.lineno)
            if isinstance(part, nodes.TemplateData)
            else self.visit(part)
            for part in node.nodes
        ]
        node.nodes = [_gate(part, OUT, line=part.lineno) for part in parts]
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _gate(nodes.List(node.nodes, lineno=node.lineno), CONCAT, line=node.lineno)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = _gate(node.expr, STEP, line=node.lineno)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            return _gate(node, MADE, line=node.lineno)
        return node

    def _literal(self, node: nodes.List | nodes.Tuple | nodes.Dict) -> nodes.Node:
        self.generic_visit(node)
        # A tuple that is assigned to is a pattern, not a value.
        if getattr(node, "ctx", "load") != "load":
            return node
        return _gate(node, MADE, line=node.lineno)

    visit_List = visit_Tuple = visit_Dict = _literal  # noqa: N815


class MarkedAnswer(Extension):
    """`{% generation %}`: marks what the assistant said, for those who train; here, plain text."""

    tags = {"generation"}  # noqa: RUF012 - as the base class declares it

    def parse(self, parser: Parser) -> nodes.Node:
        """The block's content, in a scope of its own."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class BoundedSource(Extension):
    """Ends the reading of a source of too many tokens, whose compilation would take seconds."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        """The same tokens. Raises: TemplateError after too many."""
        most = Limits().source_tokens
        for count, token in enumerate(stream):
            if count >= most:
                raise over_limit("the template's length", most, "tokens")
            yield token
