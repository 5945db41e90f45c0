"""The database: keys, usage, stored responses; SQLite by default, PostgreSQL by URL.

Room: store. Knows rows; must not know HTTP, models or terminals.
"""
