"""Where a prompt comes from: the argument, stdin, or a person at the keyboard.

Room: cli. Knows text and terminals; must not know models.
"""

from __future__ import annotations

import sys

from freehold.errors import BadPrompt

__all__ = ["prompt_from"]


def prompt_from(argument: str | None, *, as_json: bool) -> str | None:
    """The one prompt to answer, or None when a conversation is wanted.

    The line end that `echo` and editors put at the end of what comes on stdin is not part of it: a
    small model takes a question with one for another question.

    Raises: BadPrompt when there is nothing to answer or the bytes are not UTF-8.
    """
    if argument is not None and argument != "-":
        return _checked(argument)
    if argument == "-" or not sys.stdin.isatty():
        try:
            text = sys.stdin.buffer.read().decode("utf-8")
            return _checked(text.removesuffix("\n").removesuffix("\r"))
        except UnicodeDecodeError as error:
            raise BadPrompt(
                "the prompt on stdin is not text",
                expected="UTF-8",
                found=f"an invalid byte at offset {error.start}",
                hint="convert it first, for example with iconv",
            ) from error
    if as_json or not sys.stdout.isatty():
        raise BadPrompt(
            "a conversation needs a terminal, and stdout is not one",
            expected="PROMPT as an argument, or on stdin",
            found="no prompt",
            hint='freehold run starter "What is the capital of France?"',
        )
    return None


def _checked(text: str) -> str:
    if not text.strip():
        raise BadPrompt(
            "the prompt is empty",
            expected="some text",
            found=f"{len(text)} blank characters",
            hint='freehold run starter "What is the capital of France?"',
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadPrompt(
            "the prompt is not text",
            expected="UTF-8",
            found=f"an invalid byte near character {error.start}",
            hint="convert it first, for example with iconv",
        ) from error
    return text
