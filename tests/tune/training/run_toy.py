"""`python -m tests.tune.training.run_toy BASE DIRECTORY`: a toy's training, to be killed."""

from __future__ import annotations

import sys
from pathlib import Path

from freehold.tune.training.train import train_on
from tests.tune.training import toys

if __name__ == "__main__":
    base, directory = (Path(argument) for argument in sys.argv[1:])
    spec = toys.spec(base, epochs=40, dropout=0.1, checkpoint_every_steps=7)
    train_on(toys.lessons(), spec, directory=directory)
