"""Fine-tuning as jobs: a worker trains, its words are told, what came of it is served.

Room: server. Knows the worker's folder and its lines; must not know torch or HTTP.
"""

from __future__ import annotations

__all__: list[str] = []
