"""Whether a model is what it says, and holds nothing that it should not.

Room: inspection. Nothing that is found is run, fetched or unpickled.
"""

from __future__ import annotations

from freehold.inspection.safety.finding import SEVERITIES, Finding, Severity
from freehold.inspection.safety.scan import ranked, refusal, scan_model, scan_weights

__all__ = [
    "SEVERITIES",
    "Finding",
    "Severity",
    "ranked",
    "refusal",
    "scan_model",
    "scan_weights",
]
