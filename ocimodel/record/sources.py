"""``--from KIND:DIR`` and ``--metadata FILE``: several sources, one record.

Guarantees: sources are read in the order they were given, the first that says something wins, and ``model.yaml``
wins over all of them; two that contradict each other about a digest are refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ocimodel.errors import UsageError
from ocimodel.record import ci, croissant, dvc, gguf, huggingface, metadata, mlflow, wandb
from ocimodel.record.record import Record

COLLECTORS: Mapping[str, Callable[[Path], Record]] = {
    "hf": huggingface.collect,
    "gguf": gguf.collect,
    "mlflow": mlflow.collect,
    "dvc": dvc.collect,
    "wandb": wandb.collect,
    "croissant": croissant.collect,
}
ENVIRONMENT = "env"


def gather(
    sources: Sequence[str], given: bytes | None = None, path: str = "", env: Mapping[str, str] = os.environ
) -> Record:
    """The record of all ``sources`` (``KIND:DIR`` or ``env``) under the file ``given``.

    Raises:
        UsageError: a kind that is not known, or a directory that is not there.
        ConfigurationError: a file is malformed, or two contradict each other.
    """
    record = Record()
    for source in reversed(sources):
        record = record.under(_collect(source, env))
    return record.under(metadata.load(given, path)) if given is not None else record


def _collect(source: str, env: Mapping[str, str]) -> Record:
    if source == ENVIRONMENT:
        return ci.collect(env)
    kind, _, place = source.partition(":")
    collector = COLLECTORS.get(kind)
    if collector is None or not place:
        known = ", ".join(f"{name}:DIR" for name in COLLECTORS)
        raise UsageError(f"--from {source[:80]!r} is not known", hint=f"Write {known} or {ENVIRONMENT}.")
    if not Path(place).exists():
        raise UsageError(f"--from {source}: there is no {place}", hint="Check the path.")
    return collector(Path(place))
