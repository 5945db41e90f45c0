"""Which cases are measured, on which files of ours and of the peer.

Room: benchmarks. Plain data; must not measure anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.forms import large_form, starter_form


@dataclass(frozen=True, kw_only=True)
class Case:
    """One measurement, named as llama-bench would.

    Prefill processes `tokens` prompt tokens and asks for the last one's logits. Decode runs
    `tokens` steps of one token in each of `batch` sequences with `depth` tokens in each cache,
    and asks for logits every step. Nothing is sampled on either side.
    """

    kind: str  # "prefill" or "decode"
    tokens: int
    batch: int = 1
    depth: int = 0

    @property
    def name(self) -> str:
        """pp512, tg128, tg128 x8, tg64 @4096."""
        name = f"{'pp' if self.kind == 'prefill' else 'tg'}{self.tokens}"
        name += f" x{self.batch}" if self.batch > 1 else ""
        return name + (f" @{self.depth}" if self.depth else "")

    @property
    def request(self) -> dict[str, int]:
        """What a side's worker is asked for."""
        if self.kind == "prefill":
            return {"tokens": self.tokens}
        return {"tokens": self.tokens, "batch": self.batch, "depth": self.depth}

    @property
    def context_tokens(self) -> int:
        """The longest sequence."""
        return self.tokens + self.depth


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Cases, our files and the peer's; a case takes each side's best file."""

    name: str
    cases: tuple[Case, ...]
    ours: tuple[Path, ...]
    peers: tuple[Path, ...]


SMALL = (
    Case(kind="prefill", tokens=512),
    Case(kind="decode", tokens=128),
    Case(kind="decode", tokens=128, batch=8),
    Case(kind="decode", tokens=128, batch=32),
    Case(kind="prefill", tokens=4096),
    Case(kind="decode", tokens=64, depth=4096),
)
LARGE = (
    Case(kind="prefill", tokens=256),
    Case(kind="decode", tokens=32),
)
DEEP = Case(kind="decode", tokens=32, depth=4096)
NAMES = ("starter", "best", "1b", "4b")  # by default
FILE_NAME = "file"  # whose files are given


def suite(name: str, *, starter: Path, folder: Path, files: tuple[Path, ...] = ()) -> Suite:
    """The suite of that name.

    `starter`: both sides run the starter file. `best`: ours runs the starter file, the peer
    whichever of its Q4_0, Q4_1, Q8_0 and BF16 forms is fastest in the case. `1b`, `4b`: both run
    the same random Q4_K_M file. `file`: ours runs the first of `files`, the peer the fastest of
    them all.
    """
    if name == FILE_NAME:
        return Suite(name=name, cases=SMALL, ours=files[:1], peers=files)
    if name == "starter":
        return Suite(name=name, cases=SMALL, ours=(starter,), peers=(starter,))
    if name == "best":
        forms = ("q4_0", "q4_1", "q8_0", "bf16")
        peers = tuple(starter_form(folder, form) for form in forms)
        return Suite(name=name, cases=SMALL, ours=(starter,), peers=peers)
    shape = {"1b": "llama-3.2-1b-shape", "4b": "qwen3-4b-shape"}[name]
    model = (large_form(folder, shape),)
    cases = (*LARGE, DEEP) if name == "1b" else LARGE
    return Suite(name=name, cases=cases, ours=model, peers=model)
