"""The texts that a model is fitted to and judged by: token ids in pieces of one length.

Room: quantize. Must not know models.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from freehold.errors import BadRecipe
from freehold.tokenizer import Tokenizer

__all__ = ["LEAST_TOKENS", "Texts", "built_in", "check_texts", "read_texts"]

PIECE_TOKENS = 512
LEAST_TOKENS = 64
_MAX_BYTES = 16 << 20
_CHARACTERS_A_TOKEN = 5  # most texts have fewer
_SPARE_TOKENS = 64
_HELD_OUT_SHARE = 4  # one token of so many judges, where no other text does

Pieces = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Texts:
    """Pieces to fit to, none if that is not wanted, and pieces to judge by.

    With the names of their files, and the sha256 of what these hold.
    """

    calibration: Pieces
    held_out: Pieces
    calibration_name: str
    held_out_name: str
    calibration_sha256: str
    held_out_sha256: str

    @property
    def calibration_tokens(self) -> int:
        """How many tokens the model is fitted to."""
        return sum(map(len, self.calibration))

    @property
    def held_out_tokens(self) -> int:
        """How many tokens it is judged by."""
        return sum(map(len, self.held_out))


def built_in() -> Path:
    """The text that comes with Freehold, for those who give none."""
    return Path(__file__).with_name("text.txt")


def check_texts(paths: Iterable[Path]) -> None:
    """Raises: BadRecipe for a text that cannot be read, before anything takes time."""
    for path in paths:
        _read(path)


def read_texts(
    tokenizer: Tokenizer,
    calibration: Sequence[Path],
    held_out: Path | None,
    *,
    calibration_tokens: int,
    held_out_tokens: int,
) -> Texts:
    """Reads and cuts the texts; the last quarter of the first one judges if no other does.

    Without `calibration` the built-in text is taken; 0 tokens of it fit nothing.
    Raises: BadRecipe for a text that cannot be read or is too short.
    """
    read = [_read(path) for path in calibration or [built_in()]]
    most = calibration_tokens if held_out is not None else sys.maxsize
    ids: list[int] = []
    for text in read:
        ids += _first_ids(tokenizer, text, most - len(ids))
    digest = judge_digest = sha256("".join(read).encode()).hexdigest()
    name = ", ".join(path.name for path in calibration) or "built-in text"
    if held_out is not None:
        judge = _read(held_out)
        judges, judge_name = _first_ids(tokenizer, judge, held_out_tokens), held_out.name
        judge_digest = sha256(judge.encode()).hexdigest()
    else:
        cut = len(ids) - min(held_out_tokens, len(ids) // _HELD_OUT_SHARE)
        ids, judges = ids[:cut], ids[cut:]
        judge_name = f"the end of {name}"
    bos = tokenizer.bos_id if tokenizer.adds_bos else None
    texts = Texts(
        _cut(ids[:calibration_tokens], bos),
        _cut(judges[:held_out_tokens], bos),
        name if calibration_tokens else "",
        judge_name,
        digest if calibration_tokens else "",
        judge_digest,
    )
    for label, count in (
        ("fit to", texts.calibration_tokens if calibration_tokens else LEAST_TOKENS),
        ("judge by", texts.held_out_tokens),
    ):
        if count < LEAST_TOKENS:
            raise BadRecipe(
                f"the text to {label} is too short",
                expected=f"at least {LEAST_TOKENS} tokens",
                found=f"{count} tokens",
                hint="a longer text, a few pages of what the model is for, says more",
            )
    return texts


def _first_ids(tokenizer: Tokenizer, text: str, count: int) -> list[int]:
    """At most `count` ids, of no more of the text than that takes and a little to spare."""
    characters = max(count, 1) * _CHARACTERS_A_TOKEN
    while True:
        part = text[:characters]
        ids = tokenizer.encode(part, add_bos=False, add_eos=False, parse_special=False)
        # What comes after a token's own word does not change it.
        if len(part) == len(text) or len(ids) >= count + _SPARE_TOKENS:
            return ids[:count]
        characters *= 2


def _read(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise BadRecipe(
                "the text is larger than is of use",
                value=str(path),
                expected=f"at most {_MAX_BYTES} bytes",
                found=f"{size} bytes",
                hint="a few hundred kilobytes are plenty",
            )
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRecipe(
            "the text is not UTF-8", value=str(path), found=f"byte {error.start}"
        ) from error
    except OSError as error:
        raise BadRecipe(
            "the text cannot be read", value=str(path), found=error.strerror or "no such file"
        ) from error


def _cut(ids: list[int], bos: int | None) -> Pieces:
    """Pieces of the usual length, each begun as the model's texts begin; short ends fall away."""
    lead = () if bos is None else (bos,)
    step = PIECE_TOKENS - len(lead)
    pieces = [lead + tuple(ids[start : start + step]) for start in range(0, len(ids), step)]
    if len(pieces) > 1 and len(pieces[-1]) < LEAST_TOKENS:
        pieces.pop()
    return tuple(piece for piece in pieces if len(piece) > len(lead))
