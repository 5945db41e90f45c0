"""The long soak, `make soak`: ten minutes at 64 clients, then twenty dead engines."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

from freehold.config import resolve_settings
from freehold.library import resolve
from tests.soak.soak import LONG, soak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a GGUF file; the starter model if not given")
    parser.add_argument("--clients", type=int, default=LONG.clients)
    parser.add_argument("--minutes", type=float, default=(LONG.warm_up_s + LONG.crowd_s) / 60)
    parser.add_argument("--kills", type=int, default=LONG.kills)
    options = parser.parse_args()
    seconds = options.minutes * 60
    plan = dataclasses.replace(
        LONG,
        clients=options.clients,
        warm_up_s=seconds / 5,
        crowd_s=seconds * 4 / 5,
        kills=options.kills,
    )
    model = options.model or resolve("starter", settings=resolve_settings())
    with tempfile.TemporaryDirectory() as home:
        soak(plan, model, Path(home))
    print("the server kept its promises")


if __name__ == "__main__":
    main()
