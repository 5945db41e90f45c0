"""A model behind an OpenAI-style server as a target.

Room: evals. Knows the interface over HTTP; must not know tasks.

Answers come from `/v1/chat/completions` and `/v1/completions`. Log probabilities come from a
completion that echoes its prompt (`echo` with `logprobs`), which Freehold, vLLM and others give; to
weigh an answer to messages the server must also render them (`/tokenize`), as Freehold and vLLM do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED as FIRST
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from freehold.errors import PromptTooLong, TargetFailed
from freehold.evals.items import Generation, Pair, Prompt
from freehold.evals.target import Answer, Identity, Scored

__all__ = ["KEY_VARIABLE", "HttpTarget"]

KEY_VARIABLE = "FREEHOLD_API_KEY"
_ASKED_AT_ONCE = 8
_TIMEOUT_S = 600.0
_TRIES = 5
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_TOO_LONG = frozenset({"context_length_exceeded", "request.prompt_too_long"})

Asked = TypeVar("Asked")
Given = TypeVar("Given")


@dataclass
class HttpTarget:
    """`model` at `base_url`, which ends in /v1. The key is taken from FREEHOLD_API_KEY.

    `digest` is the weights', where the asker knows it.
    """

    base_url: str
    model: str
    digest: str | None = None
    at_once: int = _ASKED_AT_ONCE
    transport: httpx.BaseTransport | None = None

    def __post_init__(self) -> None:
        secret = os.environ.get(KEY_VARIABLE, "")
        self._client = httpx.Client(
            base_url=self.base_url.rstrip("/"),
            headers={"authorization": f"Bearer {secret}"} if secret else {},
            timeout=_TIMEOUT_S,
            transport=self.transport,
        )

    @property
    def identity(self) -> Identity:
        """The name and where it runs; the digest only where the asker gave it."""
        return Identity(name=self.model, digest=self.digest, via=self.base_url)

    def generate(self, prompts: Iterable[Prompt], how: Generation) -> Iterator[tuple[int, Answer]]:
        """Answers as they come, several asked for at once."""
        return self._each(prompts, lambda prompt: self._answer(prompt, how))

    def score(self, pairs: Iterable[tuple[Pair, ...]]) -> Iterator[tuple[int, list[Scored]]]:
        """Each group's continuations, one request for each."""
        return self._each(pairs, lambda group: [self._weighed(pair) for pair in group])

    def read(self, texts: Iterable[str]) -> Iterator[tuple[int, Scored]]:
        """Whole texts, one request each: the server must have room for a text."""
        return self._each(texts, self._read)

    def _each(
        self, asked: Iterable[Asked], ask: Callable[[Asked], Given]
    ) -> Iterator[tuple[int, Given]]:
        """Asks for several at once, and gives them as they come."""
        waiting = enumerate(asked)
        open_: dict[Future[Given], int] = {}
        with ThreadPoolExecutor(self.at_once, thread_name_prefix="asking") as pool:
            try:
                while True:
                    while len(open_) < self.at_once and (more := next(waiting, None)) is not None:
                        open_[pool.submit(ask, more[1])] = more[0]
                    if not open_:
                        return
                    for ended in wait(open_, return_when=FIRST).done:
                        yield open_.pop(ended), ended.result()
            finally:
                for one in open_:
                    one.cancel()

    def _answer(self, prompt: Prompt, how: Generation) -> Answer:
        body: dict[str, Any] = {
            "model": self.model,
            "temperature": how.temperature,
            "max_tokens": how.max_tokens,
        }
        body |= {"top_p": how.top_p} if how.top_p != 1.0 else {}
        body |= {"seed": how.seed} if how.seed is not None else {}
        body |= {"stop": list(how.stop)} if how.stop else {}
        try:
            if isinstance(prompt, str):
                given = self._post("/completions", body | {"prompt": prompt})
                text = _at(given, "choices", 0, "text")
            else:
                given = self._post("/chat/completions", body | {"messages": list(prompt)})
                text = _at(given, "choices", 0, "message", "content")
        except PromptTooLong as refused:
            return Answer(refused=refused)
        usage = given.get("usage") or {}
        return Answer(
            text=text or "",
            finish_reason=str(_at(given, "choices", 0, "finish_reason")),
            prompt_tokens=int(usage.get("prompt_tokens", 0)),
            generated_tokens=int(usage.get("completion_tokens", 0)),
        )

    def _weighed(self, pair: Pair) -> Scored:
        try:
            if isinstance(pair.prompt, str):
                return self._echoed(pair.prompt + pair.continuation, len(pair.prompt.rstrip()))
            return self._after_messages(pair.prompt, pair.continuation)
        except PromptTooLong as refused:
            return Scored(refused=refused)

    def _read(self, text: str) -> Scored:
        try:
            return self._echoed(text, 0)
        except PromptTooLong as refused:
            return Scored(refused=refused)

    def _echoed(self, text: str, start: int) -> Scored:
        """The tokens of a text that begin at a character or after it."""
        told = self._logprobs(text)
        offsets: Sequence[int] = told.get("text_offset") or []
        first = next((i for i, at in enumerate(offsets) if at >= start), len(offsets))
        return _summed(told, max(first, 1))

    def _after_messages(self, messages: Sequence[Mapping[str, Any]], continuation: str) -> Scored:
        root = self.base_url.rstrip("/").removesuffix("/v1")
        body = {"model": self.model, "messages": list(messages)}
        before = self._post(f"{root}/tokenize", body).get("tokens")
        plain = {"model": self.model, "prompt": continuation, "add_special_tokens": False}
        after = self._post(f"{root}/tokenize", plain).get("tokens")
        if not isinstance(before, list) or not isinstance(after, list):
            raise TargetFailed("the server does not tell tokens", value=self.base_url)
        return _summed(self._logprobs([*before, *after]), len(before))

    def _logprobs(self, prompt: str | list[int]) -> Mapping[str, Any]:
        body = {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": 0,
            "echo": True,
            "logprobs": 1,
            "temperature": 0.0,
        }
        told = _at(self._post("/completions", body), "choices", 0, "logprobs")
        if not isinstance(told, dict) or not told.get("token_logprobs"):
            raise TargetFailed(
                "the server does not give the log probabilities of a prompt",
                value=self.base_url,
                expected="echo with logprobs on /v1/completions",
                hint="this task needs them; one with written answers does not",
            )
        return told

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer's JSON; what may pass is tried again. Raises: PromptTooLong, TargetFailed."""
        last = ""
        for number in range(_TRIES):
            if number:
                time.sleep(min(2.0**number, 30.0))
            try:
                answer = self._client.post(path, json=body)
            except httpx.HTTPError as error:
                last = type(error).__name__
                continue
            if answer.is_success:
                return _object(answer)
            if _error_code(answer) in _TOO_LONG:
                raise PromptTooLong("the item does not fit the model's context", found="refused")
            last = f"status {answer.status_code}, {_error_code(answer)}"
            if answer.status_code not in _AGAIN:
                break
        raise TargetFailed(
            f"{self.base_url} does not answer as an OpenAI server does",
            value=path,
            found=last,
            hint=f"{KEY_VARIABLE} holds the key to show" if "401" in last else "",
        )


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError as error:
        raise TargetFailed("the server's answer is not JSON") from error
    if not isinstance(found, dict):
        raise TargetFailed("the server's answer is no JSON object", found=type(found).__name__)
    return found


def _error_code(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return "no code"


def _at(value: Any, *path: str | int) -> Any:
    """What lies at a place of an answer. Raises: TargetFailed where nothing does."""
    try:
        for step in path:
            value = value[step]
    except (KeyError, IndexError, TypeError) as error:
        raise TargetFailed(
            "the server's answer lacks a part", expected="/".join(map(str, path))
        ) from error
    return value


def _summed(told: Mapping[str, Any], first: int) -> Scored:
    """The sum over tokens from `first` on; whether each was the likeliest at its place."""
    logprobs = list(told["token_logprobs"])[first:]
    tops = list(told.get("top_logprobs") or [None] * (first + len(logprobs)))[first:]
    if any(value is None for value in logprobs):
        raise TargetFailed("the server leaves out the log probability of a token")
    greedy = bool(logprobs) and all(
        top and value >= max(top.values()) - 1e-9 for value, top in zip(logprobs, tops, strict=True)
    )
    return Scored(logprob=float(sum(logprobs)), tokens=len(logprobs), greedy=greedy)
