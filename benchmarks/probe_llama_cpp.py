"""A process that loads a file with llama.cpp, gives a token, then a longer answer, and says when.

Room: benchmarks. Run by memory.py as `python -m benchmarks.probe_llama_cpp FILE THREADS`.
"""

from __future__ import annotations

import sys

from benchmarks.llama_cpp_driver import LlamaCpp
from benchmarks.probes import GENERATE, PROMPT, SHORT, say


def main() -> None:
    path, threads = sys.argv[1], int(sys.argv[2])
    model = LlamaCpp(path, threads=threads)
    say("ready")
    model.greedy(SHORT, 1)
    say("first")
    model.greedy(PROMPT, GENERATE)
    say("done")


if __name__ == "__main__":
    main()
