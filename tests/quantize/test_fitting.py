"""Claims about files within a size or a loss, on a toy."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from freehold.errors import BadRecipe, OutOfReach
from freehold.quantize import Fitted, Goal, TextChoice, fit, open_source, texts_for
from freehold.quantize.picture import curve_page


def fitted(source: Path, goal: Goal, target: Path, story: Path) -> Fitted:
    wanted = TextChoice(calibration=(story,), calibration_tokens=300, held_out_tokens=128)
    with open_source(source) as opened:
        texts = texts_for(opened, wanted, method="feedback")
        return fit(opened, goal, texts, target, progress=lambda *_: None)


def test_a_file_fits_its_size_and_uses_it(toy: Path, story: Path, tmp_path: Path) -> None:
    losses = []
    for size in (72_000, 80_000, 90_000):
        made = fitted(toy, Goal(size_bytes=size), tmp_path / f"{size}.gguf", story)
        assert made.outcome.size_bytes <= size
        assert made.outcome.path.stat().st_size == made.outcome.size_bytes
        assert made.outcome.size_bytes > 0.85 * size
        losses.append(made.outcome.loss.mean_kl)
    assert losses == sorted(losses, reverse=True)


def test_a_loss_is_kept_as_measured(toy: Path, story: Path, tmp_path: Path) -> None:
    small = fitted(toy, Goal(size_bytes=72_000), tmp_path / "small.gguf", story)
    most = small.outcome.loss.mean_kl / 1.2
    made = fitted(toy, Goal(most_kl=most), tmp_path / "good.gguf", story)
    assert made.outcome.loss.mean_kl <= most
    assert small.outcome.size_bytes < made.outcome.size_bytes


def test_what_is_out_of_reach_leaves_nothing(toy: Path, story: Path, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    with pytest.raises(OutOfReach, match="so small"):
        fitted(toy, Goal(size_bytes=10_000), tmp_path / "out.gguf", story)
    with pytest.raises(OutOfReach, match="so little"):
        fitted(toy, Goal(most_kl=1e-9), tmp_path / "out.gguf", story)
    assert set(tmp_path.iterdir()) == before


def test_the_picture_is_sound_and_needs_nothing_else(
    toy: Path, story: Path, tmp_path: Path
) -> None:
    page = curve_page(fitted(toy, Goal(size_bytes=80_000), tmp_path / "a.gguf", story))
    svg = page[page.index("<svg") : page.index("</svg>") + 6]
    root = ElementTree.fromstring(svg)
    assert len(root.findall("polyline")) == 1
    assert "this file, measured" in svg
    assert "http" not in page


@pytest.mark.parametrize("goal", [(None, None), (1, 0.1), (None, 0.0), (None, float("nan"))])
def test_a_goal_is_one_of_both(goal: tuple[int | None, float | None]) -> None:
    with pytest.raises(BadRecipe):
        Goal(*goal)
