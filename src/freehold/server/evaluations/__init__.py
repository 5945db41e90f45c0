"""Evaluations that clients define: rows asked, answers graded, runs as jobs.

Room: server. Must not know routes.
"""
