"""What commands over many artifacts have in common: lists in files, and one share of the work for each process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ocimodel.cli import options
from ocimodel.cli.run import Run
from ocimodel.errors import UsageError

if TYPE_CHECKING:
    from ocimodel.verbs.sharding import Shard

MAX_LIST = 16 * 1024 * 1024
INDEX = "JOB_COMPLETION_INDEX"
"""How Kubernetes tells a pod of an Indexed Job which one it is."""

ShardOption = Annotated[
    str | None,
    options.option("--shard", metavar="I/N", help="Do one share of the work, counted from 0: 0/4 to 3/4."),
]
Shards = Annotated[
    int | None,
    options.option("--shards", metavar="N", help=f"Do the share of N that {INDEX} says (Kubernetes Indexed Job)."),
]


def share(run: Run, shard: str | None, shards: int | None) -> Shard:
    """The share that this process does; all of it where nobody says otherwise."""
    from ocimodel.verbs.sharding import WHOLE, Shard

    index = os.environ.get(INDEX)
    if shard is not None and shards is not None:
        raise UsageError("--shard and --shards both say how the work is shared", hint="Give one of them.")
    if shard is not None:
        this, slash, count = shard.partition("/")
        if not slash or not (this.isascii() and this.isdigit() and count.isascii() and count.isdigit()):
            raise UsageError(f"--shard {shard[:40]!r} is not I/N", hint="Write 0/4 for the first of four.")
        return Shard(int(this[:9]), int(count[:9]))
    if shards is not None:
        if index is None or not (index.isascii() and index.isdigit()):
            raise UsageError(
                f"--shards {shards}: {INDEX} does not say which of them this is",
                hint="Run it as an Indexed Job, or write --shard I/N.",
            )
        return Shard(int(index[:9]), shards)
    if index is not None:
        run.note(f"note: {INDEX} is {index}, and --shards does not say of how many: all the work is done here")
    return WHOLE


def lines(path: str, *, most: int, wanted: str) -> list[list[str]]:
    """The words of each line that says something, at most ``most`` of them; ``#`` begins a remark; - is stdin."""
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_LIST + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(MAX_LIST + 1)
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"cannot read --from-file {path}: {why}", hint="Check the path of the file.") from None
    if len(data) > MAX_LIST:
        raise UsageError(f"--from-file {path} has more than 16 MiB", hint="Split it.")
    found: list[list[str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) > most:
            raise UsageError(f"--from-file {path}, line {number}: more than {wanted}", hint=f"Write {wanted}.")
        found.append(words)
    return found
