"""Handing on what was taught: merged models, adapters in other forms, and the check before it.

Room: tune. Needs no torch; must not know terminals.
"""
