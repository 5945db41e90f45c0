"""Log probabilities in the older form of completions: four lists, a place per token.

Room: server. Knows tokens and their texts; must not know requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from freehold.server.ask import TokenText
from freehold.server.routes.openai.replies import FLOOR
from freehold.tokenizer import Tokenizer

__all__ = ["TokenTable"]


class TokenTable:
    """Writes the tokens of one choice, in order; counts where in its text each one begins.

    Units: offsets in characters of the choice's own `text`, which with `echo` has the prompt.
    """

    def __init__(self, tokenizer: Tokenizer, alternatives: int, *, after_prompt: bool) -> None:
        self._tokenizer = tokenizer
        self._alternatives = alternatives
        self._decoder = tokenizer.stream(skip_special=True, continuing=after_prompt)
        self._offset = 0

    def rows(self, tokens: Sequence[TokenText | None], first: int | None = None) -> dict[str, Any]:
        """The next tokens. None is the prompt's first token, whose id is `first`."""
        table: dict[str, list[Any]] = {
            "tokens": [],
            "token_logprobs": [],
            "top_logprobs": [],
            "text_offset": [],
        }
        for token in tokens:
            number = first if token is None else token.token
            assert number is not None, "only the first token has no log probability"
            table["tokens"].append(_spelling(self._tokenizer.token_bytes(number)))
            table["token_logprobs"].append(None if token is None else max(token.logprob, FLOOR))
            table["top_logprobs"].append(None if token is None else self._likeliest(token))
            table["text_offset"].append(self._offset)
            self._offset += len(self._decoder.push(number))
        return table

    def _likeliest(self, token: TokenText) -> dict[str, float]:
        """The likeliest tokens and the chosen one, which may make one more."""
        shown = (*token.top[: self._alternatives], token)
        return {_spelling(other.bytes): max(other.logprob, FLOOR) for other in shown}


def _spelling(data: bytes) -> str:
    """The token's text; for a part of a character its bytes, as OpenAI writes them."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
