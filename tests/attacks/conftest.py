"""What tests of hostile requests share."""

from __future__ import annotations

from tests.attacks.surfaces import client, no_prompt_in_the_log

__all__ = ["client", "no_prompt_in_the_log"]
