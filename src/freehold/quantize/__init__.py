"""Makes models smaller: types chosen, errors passed on, and what was lost measured.

Room: quantize. Knows models and files; must not know licences, records or terminals.
"""

from __future__ import annotations

from freehold.quantize.loss import Loss
from freehold.quantize.opening import open_source
from freehold.quantize.recipes import RECIPES, recipe_named
from freehold.quantize.source import Source

__all__ = ["RECIPES", "Loss", "Source", "open_source", "recipe_named"]
