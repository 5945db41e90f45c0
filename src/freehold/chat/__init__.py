"""Conversations to prompts: the model's own chat template, rendered where it can do no harm.

Room: chat. Knows messages and templates; must not know engines, servers or weights. The face
loads nothing, so that a program without a conversation does not pay for the template library.
"""

from __future__ import annotations

__all__: list[str] = []
