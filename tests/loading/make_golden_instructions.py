"""Writes golden_instructions.json: the prompts that mistral-common writes.

    python -m tests.loading.make_golden_instructions tekken_240911.json tokenizer.model.v1 OUT

Oracle: mistral-common 1.13.1. Versions after 3 have no packaged file: they are made, for as long as
this runs, from the packaged one with the version and the control tokens that they name.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.loading.conversations import CONTROL, CONVERSATIONS, EFFORT, TOOLS, VERSIONS


def _asked(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with arguments as texts, as the interface has them."""
    copied: list[dict[str, Any]] = json.loads(json.dumps(messages))
    for message in copied:
        for call in message.get("tool_calls", []):
            function = call["function"]
            function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
    return copied


def _file(version: str, folder: Path) -> Path:
    if version == "v1":
        return Path(sys.argv[2])
    fields = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    fields.pop("image", None)
    fields["config"]["version"] = version
    if version != "v3":
        fields["special_tokens"] = [
            {"rank": rank, "token_str": token, "is_control": True}
            for rank, token in enumerate(CONTROL)
        ]
    if version == "v15":
        fields["model_settings_builder"] = {"reasoning_effort": EFFORT}
    path = folder / f"tekken_{version}.json"
    path.write_text(json.dumps(fields), "utf-8")
    return path


def main() -> None:
    from mistral_common.exceptions import MistralCommonException
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    prompts: dict[str, dict[str, str | None]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for version in VERSIONS:
            tokenizer = MistralTokenizer.from_file(str(_file(version, Path(folder))))
            for name, (messages, offered) in CONVERSATIONS.items():
                tools = [{"type": "function", "function": t} for t in TOOLS] if offered else None
                try:
                    request = ChatCompletionRequest.from_openai(_asked(messages), tools=tools)
                    tokens = tokenizer.encode_chat_completion(request).tokens
                    text = tokenizer.decode(tokens, special_token_policy=SpecialTokenPolicy.KEEP)
                except MistralCommonException:
                    text = None  # refused
                prompts.setdefault(version, {})[name] = text
    golden = {"oracle": "mistral-common 1.13.1", "prompts": prompts}
    Path(sys.argv[3]).write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
