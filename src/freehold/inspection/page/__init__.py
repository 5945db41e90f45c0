"""A report as one self-contained page with plots.

Room: inspection. The page opens from a disk and asks no network for anything.
"""

from __future__ import annotations

from freehold.inspection.page.change import comparison_page
from freehold.inspection.page.writing import page_of

__all__ = ["comparison_page", "page_of"]
