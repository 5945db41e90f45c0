"""llama.cpp's own answers to conversations: `python -m benchmarks.side_llama_answers FILE LINES`.

Room: benchmarks. Knows llama_cpp only; must not use freehold. Its tokenizer and its reading of the
file's template, greedy; prints a JSON list of texts, one for each line's last user message.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from llama_cpp import Llama


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("lines", type=Path)
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lora", type=Path, help="an adapter's GGUF file beside the model")
    parser.add_argument("--first", type=int, help="only so many lines")
    options = parser.parse_args()
    model = Llama(
        str(options.model),
        n_ctx=2048,
        n_threads=options.threads,
        n_threads_batch=options.threads,
        lora_path=None if options.lora is None else str(options.lora),
        verbose=False,
    )
    found = []
    for line in options.lines.read_text("utf-8").splitlines()[: options.first]:
        messages = json.loads(line)["messages"][:-1]
        said = model.create_chat_completion(messages, temperature=0.0, max_tokens=options.tokens)
        found.append(said["choices"][0]["message"]["content"])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
