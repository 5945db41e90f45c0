"""Model families: one file each over shared blocks.

Room: models. Knows the mathematics of families; must not know files, requests or locks.
"""
