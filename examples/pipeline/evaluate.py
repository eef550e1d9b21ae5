#!/usr/bin/env python3
"""Measure a model on data that it was not trained on: the evaluator of the sample.

evaluate.py MODEL heldout.csv metrics.json

It only measures. Whether that is good enough is said by thresholds.yaml, which the training job cannot change.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file


def measure(model: Path, data: Path) -> dict[str, float]:
    """Accuracy, and how far the predicted chances are off (the Brier score)."""
    table = np.loadtxt(data, delimiter=",")
    features, left = table[:, :-1], table[:, -1]
    chance = 1 / (1 + np.exp(-features @ load_file(model / "model.safetensors")["weights"].astype(float)))
    accuracy = np.mean((chance > 0.5) == (left == 1))
    return {"accuracy": round(float(accuracy), 4), "brier": round(float(np.mean((chance - left) ** 2)), 4)}


if __name__ == "__main__":
    model, data, out = map(Path, sys.argv[1:])
    out.write_text(json.dumps(measure(model, data), indent=2) + "\n")
