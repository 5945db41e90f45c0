"""Batches: files of requests, answered with what the server has left over.

Room: server. `lines` reads and judges a file, `answering` answers one line, `running` the whole.
"""

from __future__ import annotations

__all__: list[str] = []
