"""A process that loads a file with Freehold, gives a token, then a longer answer, and says when.

Room: benchmarks. Run by memory.py as `python -m benchmarks.probe_freehold FILE THREADS`.
"""

from __future__ import annotations

import sys

import freehold
from benchmarks.probes import CONTEXT, GENERATE, PROMPT, SHORT, say


def main() -> None:
    path, threads = sys.argv[1], int(sys.argv[2])
    model = freehold.load(path, threads=threads, context_tokens=CONTEXT)
    say("ready")
    greedy = freehold.Sampling(temperature=0.0)
    model.generate(SHORT, sampling=greedy, max_tokens=1)
    say("first")
    model.generate(PROMPT, sampling=greedy, max_tokens=GENERATE)
    say("done")


if __name__ == "__main__":
    main()
