#!/usr/bin/env python3
"""Train a tiny classifier, and write down how: the training job of the sample.

train.py --data train.csv --out DIR [--steps N] [--base DIR --base-ref REF@DIGEST]

Writes DIR (the model) and DIR.yaml (what `ocimodel push --metadata` records of it). With --base it goes on from a
model that was pulled, and names it, by its digest, as the base model.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

RATE = 0.5


def fit(features: np.ndarray, left: np.ndarray, weights: np.ndarray, steps: int) -> np.ndarray:
    """Logistic regression by gradient descent."""
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-features @ weights))
        weights = weights - RATE * features.T @ (chance - left) / len(left)
    return np.round(weights, 4)  # what the last digits are depends on the machine


def record(options: argparse.Namespace) -> dict[str, object]:
    """The record, as docs/reference/model-yaml.md describes it (JSON is YAML)."""
    said: dict[str, object] = {
        "model": {"name": "churn", "task": "tabular-classification", "library": "numpy"},
        "source": {"entryPoint": "train.py"},
        "hyperparameters": {"steps": str(options.steps), "rate": str(RATE)},
        "datasets": [
            {
                "name": options.data.name,
                "digest": {"sha256": hashlib.sha256(options.data.read_bytes()).hexdigest()},
            }
        ],
    }
    if options.base:
        place, _, digest = options.base_ref.rpartition("@sha256:")
        base: dict[str, object] = {"name": "churn", "digest": {"sha256": digest}}
        if not place.startswith("oci:"):  # a layout is a path on this machine: its digest says it all
            base["uri"] = f"oci://{options.base_ref}"
        said["baseModels"] = [{**base, "annotations": {"relation": "finetune"}}]
    return said


def main() -> None:
    """Train, and write the model and its record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--base-ref", default="")
    options = parser.parse_args()
    table = np.loadtxt(options.data, delimiter=",")
    features, left = table[:, :-1], table[:, -1]
    weights = np.zeros(features.shape[1])
    if options.base:
        weights = load_file(options.base / "model.safetensors")["weights"].astype(float)
    weights = fit(features, left, weights, options.steps)
    options.out.mkdir(parents=True)
    (options.out / "model.safetensors").write_bytes(save({"weights": weights.astype(np.float32)}))
    (options.out / "config.json").write_text(json.dumps({"model_type": "logistic-regression"}) + "\n")
    Path(f"{options.out}.yaml").write_text(json.dumps(record(options), indent=2) + "\n")


if __name__ == "__main__":
    main()
