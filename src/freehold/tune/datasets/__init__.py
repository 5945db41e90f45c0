"""Datasets: read line by line, checked, rendered as serving renders, admitted with a basis.

Room: tune. Must not know torch, training or terminals.
"""

from __future__ import annotations

from freehold.tune.datasets.examples import Example, Preference
from freehold.tune.datasets.reading import FORMS, read_examples

__all__ = ["FORMS", "Example", "Preference", "read_examples"]
