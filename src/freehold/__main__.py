"""`python -m freehold` is the `freehold` command. Knows nothing but where the command line is."""

from __future__ import annotations

from freehold.cli import main

if __name__ == "__main__":
    main()
