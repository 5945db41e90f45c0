"""A model's chat template: messages in, the text that the model was taught to read out.

Room: chat. Knows GGUF's names for templates and what they expect to find; must not know how the
text is tokenized or answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2 import Template

from freehold.chat.meter import METER, Limits, Meter, over_limit
from freehold.chat.rewrite import string_constants, through_gates
from freehold.chat.sandbox import Refused, Sandbox
from freehold.errors import TemplateError

if TYPE_CHECKING:
    from freehold.tokenizer import Tokenizer

__all__ = ["ChatTemplate"]

_FILE = "<chat template>"
_KEY = "tokenizer.chat_template"
_MAX_WORDS = 200
_MAX_NESTING = 64

# What a template's code, or the library under it, raises when a template is wrong.
_BROKEN = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


class ChatTemplate:
    """One chat template, compiled once, safe to use from several threads.

    Templates come from strangers. They run in a sandbox that offers what chat templates use and
    nothing else, and within limits of steps, processor time, sizes and depth.
    """

    def __init__(
        self,
        source: str,
        bos_token: str | None = None,
        eos_token: str | None = None,
        *,
        limits: Limits | None = None,
    ) -> None:
        """Compile it. Raises: TemplateError naming the line that cannot be read."""
        self.source = source
        self._limits = limits or Limits()
        tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._tokens = {name: token for name, token in tokens.items() if token is not None}
        if len(source) > self._limits.source_chars:
            raise over_limit("the template's length", self._limits.source_chars, "characters")
        self._own_words: frozenset[str] = frozenset()
        self._template = self._compiled(Sandbox())

    @classmethod
    def from_metadata(
        cls, metadata: Mapping[str, object], tokenizer: Tokenizer, *, name: str | None = None
    ) -> ChatTemplate:
        """The template of a GGUF file: its only one, or the one of this name.

        Raises: TemplateError when the file has no such template.
        """
        key = _KEY if name is None or name == "default" else f"{_KEY}.{name}"
        source = metadata.get(key)
        if not isinstance(source, str):
            named = sorted(k.removeprefix(_KEY + ".") for k in metadata if k.startswith(_KEY + "."))
            raise TemplateError(
                "the model's file has no chat template" + (f" named {name!r}" if name else ""),
                value=name,
                expected=f"a text at {key}",
                found=f"others: {', '.join(named)}" if named else "none",
                hint="send the prompt raw, as text to continue; base models know no conversation",
            )
        bos, eos = tokenizer.bos_id, tokenizer.eos_id
        return cls(
            source,
            None if bos is None else tokenizer.token(bos),
            None if eos is None else tokenizer.token(eos),
        )

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt for a conversation. Encode it with `parse_special=True, add_bos=False`.

        `variables` are extra names for the template, such as `enable_thinking`. One of them is
        ours: `strftime_now`, an ISO date or time, is the moment that templates which write the
        date shall write.

        Raises: TemplateError when the template refuses the messages, breaks, goes over a limit or
        asks for what is not offered. No error holds text of a message.
        """
        variables = dict(variables or {})
        meter = Meter(self._limits, self.source, now=_moment(variables.pop("strftime_now", None)))
        given = {
            **self._tokens,
            "messages": list(messages),
            "tools": None if tools is None else list(tools),
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        _refuse_overlap(given, variables)
        before = METER.set(meter)
        try:
            values = _plain({**given, **variables}, _MAX_NESTING)
            meter.weigh(values)
            return self._rendered(values)
        finally:
            METER.reset(before)

    def _compiled(self, sandbox: Sandbox) -> Template:
        try:
            tree = sandbox.parse(self.source)
            self._own_words = string_constants(tree)
            code = sandbox.compile(through_gates(tree, sandbox), filename=_FILE)
            return sandbox.template_class.from_code(sandbox, code, sandbox.make_globals(None))
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(
                f"line {error.lineno} of the chat template cannot be read",
                value=error.lineno,
                found=str(error.message)[:_MAX_WORDS],
            ) from None
        except (RecursionError, MemoryError, SyntaxError):
            raise TemplateError(
                "the chat template is nested too deeply to compile", hint="use another template"
            ) from None

    def _rendered(self, values: dict[str, Any]) -> str:
        pieces = []
        length = 0
        try:
            context = self._template.new_context(values)
            for piece in self._template.root_render_func(context):
                pieces.append(piece)
                length += len(piece)
                if length > self._limits.output_chars:
                    raise over_limit("output", self._limits.output_chars, "characters")
        except Refused as refusal:
            raise TemplateError(
                f"the chat template refuses these messages: {self._its_words(str(refusal))}",
                hint="the model was not taught conversations of this form",
            ) from None
        except RecursionError:
            raise over_limit("nested calls", self._limits.depth) from None
        except _BROKEN as error:
            raise self._broken(error) from None
        return "".join(pieces)

    def _its_words(self, said: str) -> str:
        """What the template said, as far as the words are its own and not a message's."""
        if said in self._own_words:
            return said[:_MAX_WORDS]
        own = max((w for w in self._own_words if said.startswith(w)), key=len, default="")
        return own[:_MAX_WORDS] + "…"

    def _broken(self, error: BaseException) -> TemplateError:
        """The error for a template that broke. The library's own words may quote a message."""
        lines = [
            self._template.get_corresponding_lineno(line)
            for frame, line in walk_tb(error.__traceback__)
            if frame.f_code.co_filename == _FILE
        ]
        undefined = isinstance(error, jinja2.UndefinedError)
        what = "uses a value that is not there" if undefined else "breaks"
        return TemplateError(
            f"line {lines[-1] if lines else 1} of the chat template {what}",
            value=lines[-1] if lines else None,
            found=type(error).__name__,
            hint="check that messages have a role, a content of a form that the model knows, and "
            "tool calls whose arguments are a mapping",
        )


def _refuse_overlap(given: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
    taken = sorted(given.keys() & variables.keys() - {"documents"})
    if taken:
        raise TemplateError(
            f"the variables may not set {', '.join(taken)}",
            value=taken[0],
            hint="these come from the conversation and the model",
        )


def _moment(value: object) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        raise TemplateError(
            "strftime_now is not a time", expected="an ISO date such as 2026-01-31"
        ) from None


def _plain(value: Any, levels: int) -> Any:
    """A copy made of plain values only, so that a template can reach nothing else."""
    if levels < 0:
        raise over_limit("nesting in messages", _MAX_NESTING)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {_key(key): _plain(inner, levels - 1) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(inner, levels - 1) for inner in value]
    raise TemplateError(
        "the messages hold a value that is not JSON",
        expected="texts, numbers, lists and mappings",
        found=type(value).__name__,
    )


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    raise TemplateError(
        "the messages hold a mapping whose key is no text", found=type(key).__name__
    )
