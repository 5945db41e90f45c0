"""How a database gets from each earlier schema to today's, one file per step."""
