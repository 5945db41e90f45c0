"""Data sets that come in packages, found on disk and asked as the field asks them.

Room: evals. Names, terms, prompts; must not know models.
"""

from __future__ import annotations

from freehold.evals.sets.catalogue import DataSet, known_sets, set_named
from freehold.evals.sets.procedural import procedural_names, procedural_task
from freehold.evals.sets.tasks import task_named

__all__ = [
    "DataSet",
    "known_sets",
    "procedural_names",
    "procedural_task",
    "set_named",
    "task_named",
]
