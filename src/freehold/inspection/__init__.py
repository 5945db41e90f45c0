"""What is inside a model: parts, statistics, text side, differences, a safety scan, a report.

Room: inspection. Looks at files and at what runs on them; must not know terminals or HTTP.
"""

from __future__ import annotations

from freehold.inspection.comparing import Comparison, compare_models
from freehold.inspection.lens import Lens, lens_of
from freehold.inspection.page import comparison_page, page_of
from freehold.inspection.report import Report, TensorReport, inspect_model, plain
from freehold.inspection.safety import Finding

__all__ = [
    "Comparison",
    "Finding",
    "Lens",
    "Report",
    "TensorReport",
    "compare_models",
    "comparison_page",
    "inspect_model",
    "lens_of",
    "page_of",
    "plain",
]
