#!/usr/bin/env python3
"""Make the data of the sample: customers, and which of them left. The same files each time.

data.py DIR    writes DIR/train.csv and DIR/heldout.csv
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

FEATURES = 8


def write(directory: Path) -> None:
    """Noisy samples of a rule that a linear model can learn."""
    directory.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(20_261_101)
    rule = np.round(random.normal(size=FEATURES), 3)
    for name, count in (("train", 2000), ("heldout", 500)):
        features = np.round(random.normal(size=(count, FEATURES)), 3)
        left = (features @ rule + random.normal(scale=0.4, size=count) > 0).astype(int)
        np.savetxt(directory / f"{name}.csv", np.column_stack([features, left]), fmt="%.3f", delimiter=",")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
