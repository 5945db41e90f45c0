"""Makes models smaller: types chosen, errors passed on, and what was lost measured.

Room: quantize. Knows models and files; must not know licences, records or terminals.
"""

from __future__ import annotations

from freehold.quantize.fitting import Fitted, Goal, fit
from freehold.quantize.loss import Loss
from freehold.quantize.opening import open_source
from freehold.quantize.recipes import RECIPES, recipe_named
from freehold.quantize.search import read_size
from freehold.quantize.shrink import (
    METHODS,
    Outcome,
    TextChoice,
    checked_target,
    method_named,
    plan_recipe,
    shrink,
    texts_for,
)
from freehold.quantize.source import Source

__all__ = [
    "METHODS",
    "RECIPES",
    "Fitted",
    "Goal",
    "Loss",
    "Outcome",
    "Source",
    "TextChoice",
    "checked_target",
    "fit",
    "method_named",
    "open_source",
    "plan_recipe",
    "read_size",
    "recipe_named",
    "shrink",
    "texts_for",
]
