"""A query and a document to the tokens after which a judge says yes or no.

Room: chat. Knows templates and a tokenizer's face; must not know models, scores or requests.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from freehold.chat.control import ControlStrings
from freehold.chat.guarding import Given, encode, free_marks
from freehold.chat.templates import ChatTemplate
from freehold.errors import BadRequest, TemplateError

if TYPE_CHECKING:
    from freehold.tokenizer import Tokenizer

__all__ = ["JudgePrompt"]

_PLACE = re.compile(r"\{(query|document|instruction)\}")
_THINKING = ("<think>", "</think>")  # tokens that any text may hold, and that only a template uses


class JudgePrompt:
    """A judge's prompt: a text with {query} and {document}, or a template of these two roles.

    Raises: TemplateError for a template that cannot be read or leaves one of the two out.
    """

    def __init__(self, source: str, tokenizer: Tokenizer, instruction: str | None = None) -> None:
        self._source, self._tokenizer, self._instruction = source, tokenizer, instruction
        places = set(_PLACE.findall(source))
        self._has_places = {"query", "document"} <= places
        self.takes_instruction = "instruction" in places or not self._has_places
        bos, eos = tokenizer.bos_id, tokenizer.eos_id
        self._template = ChatTemplate(
            "" if self._has_places else source,
            None if bos is None else tokenizer.token(bos),
            None if eos is None else tokenizer.token(eos),
        )
        text = self._text({"query": "which one?", "document": "this one."})
        if "which one?" not in text or "this one." not in text:
            raise TemplateError("the template for a query and a document leaves one of them out")

    def tokens(self, query: str, document: str, instruction: str | None = None) -> list[int]:
        """The prompt's tokens; control tokens are the template's alone, whatever the texts spell.

        Raises: BadRequest for an instruction where the template has no place for one.
        """
        if instruction is not None and not self.takes_instruction:
            raise BadRequest(
                "this model's prompt has no place for an instruction",
                param="instruction",
                hint="leave it out",
            )
        instruction = self._instruction if instruction is None else instruction
        texts = {"query": query, "document": document}
        if instruction is not None:
            texts["instruction"] = instruction
        control = ControlStrings.of(self._tokenizer)
        own = ControlStrings.written(self._tokenizer, _THINKING)
        marks = free_marks([self._source, *texts.values()])
        given = Given([{"content": text} for text in texts.values()], [], {})
        safe = given.guarded(control, marks.inside).guarded(own, marks.apart)
        guarded = {name: m["content"] for name, m in zip(texts, safe.messages, strict=True)}
        return encode(self._text(guarded), self._tokenizer, control, marks)

    def _text(self, texts: dict[str, str]) -> str:
        if self._has_places:
            # At once, so that no text's own braces are taken for a place.
            return _PLACE.sub(lambda place: texts.get(place[1], ""), self._source)
        roles = {"instruction": "system", "query": "query", "document": "document"}
        messages = [
            {"role": role, "content": texts[name]} for name, role in roles.items() if name in texts
        ]
        return self._template.render(messages)
