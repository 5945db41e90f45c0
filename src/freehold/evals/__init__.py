"""Measuring models: tasks, scorers, intervals, and comparisons over the same items.

Room: evals. Joins tasks with the room local and with servers; must not know terminals or routes.
"""

from __future__ import annotations

from freehold.evals.items import Data, Generation, Item, Metric, Pair, Task
from freehold.evals.local_target import LocalTarget
from freehold.evals.recorded import (
    Evaluation,
    compare_recorded,
    evaluations_of,
    record_result,
)
from freehold.evals.results import Comparison, ItemResult, Result, compare
from freehold.evals.running import run_task
from freehold.evals.scoring import Score, Scorer
from freehold.evals.statistics import Difference, Estimate
from freehold.evals.target import Answer, Identity, Scored, Target

__all__ = [
    "Answer",
    "Comparison",
    "Data",
    "Difference",
    "Estimate",
    "Evaluation",
    "Generation",
    "Identity",
    "Item",
    "ItemResult",
    "LocalTarget",
    "Metric",
    "Pair",
    "Result",
    "Score",
    "Scored",
    "Scorer",
    "Target",
    "Task",
    "compare",
    "compare_recorded",
    "evaluations_of",
    "record_result",
    "run_task",
]
