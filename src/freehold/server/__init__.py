"""One private endpoint: every surface over the same models.

Room: server. Must not know terminals.
"""
