"""Make the model files that the benchmarks run: `python -m benchmarks.forms --dir DIR STARTER`.

Room: benchmarks. Decides which forms exist and what they are called; must not measure anything.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

STARTER_FORMS = {"q4_0": 2, "q4_1": 3, "q8_0": 7, "q4_k_m": 15}  # llama.cpp's file types
LARGE = ("llama-3.2-1b-shape", "qwen3-4b-shape")
MIXTURES = ("qwen3-30b-a3b-shape", "deepseek-v2-lite-shape")
_Q4_K_M = 15


def starter_form(folder: Path, form: str) -> Path:
    """Where a form of the starter model lies; `bf16` is the one the others are made from."""
    return folder / f"smollm2-135m-{form}.gguf"


def large_form(folder: Path, shape: str) -> Path:
    """Where a random model of a real shape lies, in Q4_K_M."""
    return folder / f"{shape}-q4_k_m.gguf"


def make_starter_forms(starter: Path, folder: Path, *, threads: int) -> None:
    """BF16 from the dequantised starter; the rest from BF16 through llama.cpp's quantizer."""
    from benchmarks.gguf_copy import quantize, write_bf16

    bf16 = starter_form(folder, "bf16")
    _publish(bf16, lambda part: write_bf16(starter, part))
    for form, file_type in STARTER_FORMS.items():
        _publish(
            starter_form(folder, form),
            lambda part, file_type=file_type: quantize(bf16, part, file_type, threads=threads),
        )


def make_large_forms(folder: Path, names: list[str], *, threads: int) -> None:
    """Random weights as BF16, quantized to Q4_K_M, the BF16 file removed again."""
    from benchmarks.gguf_copy import quantize
    from benchmarks.random_shapes import LLAMA_1B, QWEN_4B, write_random_bf16

    for shape in (LLAMA_1B, QWEN_4B):
        target = large_form(folder, shape.name)
        if shape.name not in names or target.exists():
            continue
        wide = folder / f"{shape.name}-bf16.gguf"
        try:
            _publish(wide, lambda part, shape=shape: write_random_bf16(shape, part))
            _publish(target, lambda part, wide=wide: quantize(wide, part, _Q4_K_M, threads=threads))
        finally:
            wide.unlink(missing_ok=True)


def make_mixtures(folder: Path, names: list[str]) -> None:
    """Random blocks in the shapes of mixtures of experts."""
    from benchmarks.random_blocks import DEEPSEEK_V2_LITE, QWEN3_30B_A3B, write_random_blocks

    for shape in (QWEN3_30B_A3B, DEEPSEEK_V2_LITE):
        if shape.name in names:
            _publish(
                large_form(folder, shape.name),
                lambda part, shape=shape: write_random_blocks(shape, part),
            )


def _publish(target: Path, make: Callable[[Path], None]) -> None:
    """Make the file under another name first, so that a half-written one is never used."""
    if target.exists():
        print(f"{target.name}: present")
        return
    part = target.with_suffix(".part")
    start_s = time.monotonic()
    try:
        make(part)
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)
    size_mb = target.stat().st_size / 1e6
    print(f"{target.name}: {size_mb:,.0f} MB in {time.monotonic() - start_s:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("starter", type=Path, help="the starter model's GGUF file")
    parser.add_argument("--dir", type=Path, required=True, help="where the forms are kept")
    parser.add_argument(
        "--large",
        nargs="*",
        choices=LARGE,
        default=None,
        metavar="SHAPE",
        help=f"also random models in real shapes: {', '.join(LARGE)} (both if none named)",
    )
    parser.add_argument(
        "--mixture", nargs="+", choices=MIXTURES, default=[], help="also these, 10 and 19 GB"
    )
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)
    make_starter_forms(options.starter, options.dir, threads=options.threads)
    if options.large is not None:
        make_large_forms(options.dir, options.large or list(LARGE), threads=options.threads)
    make_mixtures(options.dir, options.mixture)


if __name__ == "__main__":
    main()
