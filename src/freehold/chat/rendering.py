"""A conversation given to a template in the form that it can read, and nothing left out.

Room: chat. Knows what templates differ in; must not know tokens or requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from freehold.chat.history import CALL_FORMS, CallForm, Message, in_form
from freehold.chat.tools import Tool
from freehold.chat.variables import reads
from freehold.errors import TemplateError

if TYPE_CHECKING:
    from freehold.chat.dialects import Dialect
    from freehold.chat.templates import ChatTemplate

__all__ = ["Rendering"]

# A switch in a system message, which templates take out when they obey it.
_SWITCHES = ("/no_think", "/think", "/system_override")

_FORMS: WeakKeyDictionary[ChatTemplate, dict[bool, CallForm | None]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Rendering:
    """What a template is given, besides the messages."""

    template: ChatTemplate
    dialect: Dialect
    tools: Sequence[Tool]
    variables: Mapping[str, Any]

    def text(self, messages: Sequence[Message]) -> str:
        """The prompt for an answer to the last message.

        Raises: TemplateError when the template refuses the messages or leaves part of them out.
        """
        return self._first_of(messages, add_generation_prompt=True)

    def whole(self, messages: Sequence[Message]) -> str:
        """The conversation with the last message ended, and nothing begun after it.

        Raises: TemplateError as `text`.
        """
        return self._first_of(messages, add_generation_prompt=False)

    def text_before(self, messages: Sequence[Message], mark: str) -> str:
        """The prompt that ends where the last message's content does. `mark` stands nowhere else.

        Raises: TemplateError, also when the template changes the last message.
        """
        final = messages[-1]
        marked = [*messages[:-1], {**final, "content": f"{final['content']}{mark}"}]
        before, *after = self._first_of(marked, add_generation_prompt=False).split(mark)
        if len(after) != 1:
            raise TemplateError(
                "the chat template does not render the final message as it is, so that it cannot "
                "be continued",
                hint="end with a message of the user's",
            )
        return before

    def _first_of(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        """The first way of giving the conversation that the template takes."""
        first: TemplateError | None = None
        told = self._with_forms(messages)
        for way, tools in self._ways(told):
            try:
                text = self.template.render(
                    way,
                    tools=tools,
                    add_generation_prompt=add_generation_prompt,
                    variables=self.variables,
                )
            except TemplateError as error:
                first = first or error
                continue
            _check_whole(way, text)
            return text
        assert first is not None, "there is at least one way"
        raise first

    def _ways(
        self, told: list[Message]
    ) -> Iterator[tuple[Sequence[Message], list[dict[str, Any]] | None]]:
        """The messages, and the tools for the template."""
        if not self.tools:
            yield told, None
            # Some templates go through the tools without a look whether there are any.
            yield told, []
            return
        knows = not self.dialect.tells_tools and reads(self.template.source, "tools")
        if knows:
            yield told, [tool.for_template() for tool in self.tools]
            return
        injected = self.dialect.inject(told, self.tools)
        yield injected, None
        system, *rest = injected
        if len(rest) == len(told) and rest and rest[0]["role"] == "user":
            # Some templates know no system message.
            content = f"{system['content']}\n\n{rest[0]['content']}"
            yield [{**rest[0], "content": content}, *rest[1:]], None

    def _with_forms(self, messages: Sequence[Message]) -> list[Message]:
        """Earlier calls in the form that this template renders."""
        done: list[Message] = []
        for message in messages:
            if not message.get("tool_calls"):
                done.append(message)
                continue
            form = self._form(has_content=bool(message["content"]))
            if form is None:
                raise TemplateError(
                    "the chat template leaves out the tool calls of earlier messages",
                    hint="the model was not taught tool calls of this form",
                )
            done += in_form(message, form)
        return done

    def _form(self, *, has_content: bool) -> CallForm | None:
        """The form of calls for this template, found by trying, once."""
        known = _FORMS.setdefault(self.template, {})
        if has_content not in known:
            known[has_content] = next(
                (form for form in CALL_FORMS if self._reads_calls(form, has_content)), None
            )
        return known[has_content]

    def _reads_calls(self, form: CallForm, has_content: bool) -> bool:
        probe: list[dict[str, Any]] = [{"role": "user", "content": "a"}]
        function = {"name": "probe-name", "arguments": {"probe-key": "probe-value"}}
        call = {"id": "probecall", "type": "function", "function": function}
        message = {"role": "assistant", "content": "b" * has_content, "tool_calls": [call]}
        result = {"role": "tool", "tool_call_id": "probecall", "name": "probe-name", "content": "c"}
        probe = [*self.dialect.history([*probe, message, result])]  # type: ignore[list-item]
        probe = [part for m in probe for part in (in_form(m, form) if "tool_calls" in m else [m])]
        tool = Tool(name="other").for_template()
        try:
            text = self.template.render(probe, tools=[tool], add_generation_prompt=False)
        except TemplateError:
            return False
        # A mapping written as Python writes it was meant to be a text.
        wrong = str(function["arguments"]) in text
        return "probe-name" in text and "probe-value" in text and not wrong


def _check_whole(messages: Sequence[Message], text: str) -> None:
    """Raises: TemplateError when the template left out a system message."""
    for place, message in enumerate(messages):
        if message["role"] == "system" and not _is_told(str(message["content"]), text):
            raise TemplateError(
                f"the chat template leaves out the system message at messages.{place}",
                value=place,
                hint="send one system message, first",
            )


def _is_told(content: str, text: str) -> bool:
    for switch in _SWITCHES:
        content = content.replace(switch, "\n")
    return all(line.strip() in text for line in content.split("\n"))
