"""`freehold version`: what is installed.

Room: cli.
"""

from __future__ import annotations

from freehold.cli.options import AsJson

__all__ = ["version"]


def version(*, as_json: AsJson = False) -> None:
    """Print the version."""
    import platform
    import sys

    import freehold
    from freehold.cli.printing import print_json

    if as_json:
        print_json({"freehold": freehold.__version__, "python": platform.python_version()})
    else:
        sys.stdout.write(f"freehold {freehold.__version__}\n")
