"""Rows about copies between two registries. Ours, and that of oras, takes all that refers to the model along.

Each copy finds an empty target.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.files import model
from benchmarks.measure import Side
from benchmarks.rows import OCIMODEL, Bench, Row, _peer, _push, _ratio, _size
from benchmarks.servers import Registry, registry


@contextmanager
def _target(bench: Bench) -> Iterator[Registry]:
    with registry(bench.fresh("target"), _peer("docker-registry")) as found:
        yield found
    bench.without(bench.root / "target")


def _forget(target: Registry) -> None:
    target.forget()
    os.sync()


def _command(peer: str, source: str, target: str) -> list[str | Path]:
    if peer == "oras":
        plain = ("--from-plain-http", "--to-plain-http")
        return [_peer("oras"), "cp", "-r", "--no-tty", *plain, source, target]
    if peer == "crane":
        return [_peer("crane"), "copy", "--insecure", source, target]
    words = ("--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests")
    docker = (f"docker://{source}", f"docker://{target}")
    return [_peer("skopeo"), "--insecure-policy", "copy", "--quiet", *words, *docker]


def _copies(bench: Bench, row: Row, peer: str, directory: Path, host: str = "") -> Row:
    bench.forget()
    bench.call(_push(bench, directory, "model", "--key", bench.key))
    source = bench.reference("model", host)
    with _target(bench) as target:
        empty = partial(_forget, target)
        there = f"{target.host}/bench/model:latest"
        ours = Side([*OCIMODEL, "copy", "--quiet", source, there], empty)
        row.ours, row.theirs = bench.against(ours, Side(_command(peer, source, there), empty))
    row.value = _ratio(row.ours, row.theirs)
    return row


def _one(bench: Bench, peer: str, name: str) -> Row:
    size = bench.setting.unit
    directory = model(bench.fresh("model"), size)
    command = "oras cp -r" if peer == "oras" else f"{peer} copy"
    row = Row(name, f"copy {_size(size)}, one file", command, "times as fast", 1.0, "more")
    row.extra["bytes"] = size
    return _copies(bench, row, peer, directory)


def copy_eight(bench: Bench) -> Row:
    size = bench.setting.unit // 8
    directory = model(bench.fresh("model"), size, count=8, seed=2)
    row = Row("copy-eight", f"copy 8 files of {_size(size)}", "oras cp -r", "times as fast", 1.0, "more")
    row.extra["bytes"] = 8 * size
    return _copies(bench, row, "oras", directory)


def copy_throttled(bench: Bench) -> Row:
    size = bench.setting.unit
    directory = model(bench.fresh("model"), size)
    work = f"copy {_size(size)}, 50 MB/s a connection of the source"
    row = Row("copy-throttled", work, "oras cp -r", "times as fast", 2.0, "more")
    row.extra["bytes"] = size
    return _copies(bench, row, "oras", directory, bench.throttled.host)


COPIES: Mapping[str, Callable[[Bench], Row]] = {
    "copy-one": partial(_one, peer="oras", name="copy-one"),
    "copy-one-crane": partial(_one, peer="crane", name="copy-one-crane"),
    "copy-one-skopeo": partial(_one, peer="skopeo", name="copy-one-skopeo"),
    "copy-eight": copy_eight,
    "copy-throttled": copy_throttled,
}
