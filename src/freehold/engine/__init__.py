"""Steps: which tokens run, where their keys and values live, which token comes next.

Room: engine. Is given a Model and knows only `models/base.py`; must not know files, templates or
HTTP.
"""
