"""One function a row of the table: what is done, by whom, and how much better it has to be.

Every row makes its own files and removes them. Each push finds an empty registry and an empty cache, unless the
row is about what is there already; each pull finds no destination. Ours runs with ``--quiet`` and its defaults.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.files import KIB, MIB, fine_tuned, model, small_files, tensors, write_safetensors
from benchmarks.measure import Run, Side, alternately, run
from benchmarks.servers import Proxy, Registry, program

RATE = "50m"


@dataclass(frozen=True, slots=True)
class Setting:
    """How large everything is. The table of requirements speaks of ``full``; the others are for a quick look."""

    name: str
    unit: int
    """Bytes of the one large file."""
    few: int
    many: int
    """Files of 64 KiB, and of 16 KiB: the latter more than 1,000, for from there on small files share a layer."""
    times: int
    overhead_times: int = 10


SETTINGS = {
    "full": Setting("full", 1024 * MIB, 1_000, 10_000, 5),
    "small": Setting("small", 256 * MIB, 250, 2_000, 3),
    "tiny": Setting("tiny", 8 * MIB, 10, 1_010, 1, 2),
}


@dataclass(slots=True)
class Row:
    """A line of the table. ``value`` is a median; ``better`` says whether it has to be ``more`` or ``less``."""

    name: str
    work: str
    peer: str
    unit: str
    wanted: float | None
    better: str
    value: float = 0.0
    ours: list[Run] = field(default_factory=list)
    theirs: list[Run] = field(default_factory=list)
    note: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        if self.wanted is None:
            return None
        return self.value >= self.wanted if self.better == "more" else self.value <= self.wanted

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "work": self.work,
            "peer": self.peer,
            "value": self.value,
            "unit": self.unit,
            "wanted": self.wanted,
            "better": self.better,
            "met": self.met,
            "ours": _figures(self.ours),
            "theirs": _figures(self.theirs),
            "note": self.note,
            **self.extra,
        }


def _figures(runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "seconds": [round(item.seconds, 4) for item in runs],
        "processor": [round(item.processor, 4) for item in runs],
        "memory": max((item.memory for item in runs), default=0),
    }


class MissingError(Exception):
    """The peer is not on this machine."""


class Bench:
    """A place to work in, the registry, and how the programs are called there."""

    def __init__(self, root: Path, registry: Registry, setting: Setting, throttled: Proxy, counted: Proxy) -> None:
        self.root = root
        self.registry = registry
        self.setting = setting
        self.throttled = throttled
        self.counted = counted
        self.home = root / "home"
        self.environment = _environment(self.home)
        self.key, self.public = root / "signing.key", root / "signing.pub"
        self.call([*OCIMODEL, "key", "generate", "--no-password", root / "signing"])

    def call(self, command: Sequence[str | Path], directory: Path | None = None) -> Run:
        """Run something that is not measured."""
        return run(Side(command, directory=directory), self.environment)

    def against(self, ours: Side, theirs: Side, times: int = 0) -> tuple[list[Run], list[Run]]:
        return alternately(ours, theirs, self.environment, times or self.setting.times)

    def fresh(self, name: str) -> Path:
        """A path below the root where nothing is."""
        path = self.root / name
        _remove(path)
        return path

    def forget(self) -> None:
        """Neither the registry nor a cache knows anything."""
        self.registry.forget()
        self.forget_cache()

    def forget_cache(self) -> None:
        _remove(self.home / "cache")
        os.sync()

    def without(self, *paths: Path) -> None:
        """Before a pull: its destination is not there, and nothing waits to be written to the disk."""
        for path in paths:
            _remove(path)
        os.sync()

    def reference(self, name: str, host: str = "") -> str:
        return f"{host or self.registry.host}/bench/{name}:latest"


def _installed() -> list[str]:
    script = Path(sys.executable).with_name("ocimodel")
    return [str(script)] if script.exists() else [sys.executable, "-m", "ocimodel"]


OCIMODEL = _installed()


def _environment(home: Path) -> dict[str, str]:
    for name in ("docker", "run"):
        (home / name).mkdir(mode=0o700, parents=True)
    places = {
        "DOCKER_CONFIG": "docker",
        "OCIMODEL_STATE_DIR": "state",
        "OCIMODEL_CACHE_DIR": "cache",
        "OCIMODEL_AUDIT_LOG": "audit.jsonl",
        "XDG_CONFIG_HOME": "config",
        "XDG_DATA_HOME": "data",
        "XDG_CACHE_HOME": "xdg-cache",
        "XDG_STATE_HOME": "xdg-state",
        "XDG_RUNTIME_DIR": "run",
    }
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
        "COSIGN_PASSWORD": "",
        **{name: str(home / place) for name, place in places.items()},
    }


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)


def _peer(name: str) -> Path:
    found = program(name)
    if found is None:
        raise MissingError(f"{name} is not here")
    return found


def _model_signing() -> Path:
    beside = Path(sys.executable).with_name("model_signing")
    found = str(beside) if beside.exists() else shutil.which("model_signing")
    if found is None:
        raise MissingError("model-signing is not installed")
    return Path(found)


def _ratio(ours: Sequence[Run], theirs: Sequence[Run]) -> float:
    """The median of how many times as long the peer took, pair by pair."""
    return statistics.median(b.seconds / a.seconds for a, b in zip(ours, theirs, strict=True))


def _size(count: int) -> str:
    if count >= 1024 * MIB:
        return f"{count / (1024 * MIB):g} GiB"
    return f"{count / MIB:g} MiB" if count >= MIB else f"{count / KIB:g} KiB"


# --- pushes and pulls --------------------------------------------------------


def _push(bench: Bench, directory: Path, name: str, *options: str | Path) -> list[str | Path]:
    return [*OCIMODEL, "push", "--quiet", *options, directory, bench.reference(name)]


def _pull(bench: Bench, name: str, target: Path, *options: str | Path, host: str = "") -> list[str | Path]:
    return [*OCIMODEL, "pull", "--quiet", *options, "-o", target, bench.reference(name, host)]


def _oras_push(bench: Bench, directory: Path, name: str) -> list[str | Path]:
    files = sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    # As it is with one file, except that the type saves it from guessing.
    named = [f"{file}:application/octet-stream" for file in files]
    return [_peer("oras"), "push", "--plain-http", "--no-tty", bench.reference(name), *named]


def _oras_pull(bench: Bench, name: str, target: Path, host: str = "") -> list[str | Path]:
    return [_peer("oras"), "pull", "--plain-http", "--no-tty", "-o", target, bench.reference(name, host)]


def _pushes(bench: Bench, row: Row, directory: Path, times: int = 0) -> Row:
    ours = Side(_push(bench, directory, "ours"), bench.forget)
    theirs = Side(_oras_push(bench, directory, "oras"), bench.forget, directory)
    row.ours, row.theirs = bench.against(ours, theirs, times)
    row.value = _ratio(row.ours, row.theirs)
    return row


def _pulls(bench: Bench, row: Row, directory: Path, times: int = 0, host: str = "") -> Row:
    """Each pulls what it has pushed itself; where a file is a layer, these are the same blobs."""
    bench.forget()
    bench.call(_push(bench, directory, "ours"))
    bench.call(_oras_push(bench, directory, "oras"), directory)
    target = bench.root / "pulled"
    away = partial(bench.without, target)
    ours = Side(_pull(bench, "ours", target, "--no-cache", host=host), away)
    theirs = Side(_oras_pull(bench, "oras", target, host=host), away)
    row.ours, row.theirs = bench.against(ours, theirs, times)
    row.value = _ratio(row.ours, row.theirs)
    bench.without(target)
    return row


def push_one(bench: Bench) -> Row:
    size = bench.setting.unit
    directory = model(bench.fresh("model"), size)
    row = Row("push-one", f"push {_size(size)}, one file", "oras push", "times as fast", 1.3, "more")
    row.extra["bytes"] = size
    return _pushes(bench, row, directory)


def push_eight(bench: Bench) -> Row:
    size = bench.setting.unit // 8
    directory = model(bench.fresh("model"), size, count=8, seed=2)
    row = Row("push-eight", f"push 8 files of {_size(size)}", "oras push", "times as fast", 1.3, "more")
    row.extra["bytes"] = 8 * size
    return _pushes(bench, row, directory)


def pull_one(bench: Bench) -> Row:
    size = bench.setting.unit
    directory = model(bench.fresh("model"), size)
    row = Row("pull-one", f"pull {_size(size)}, one file", "oras pull", "times as fast", 1.8, "more")
    row.extra["bytes"] = size
    return _pulls(bench, row, directory)


def pull_throttled(bench: Bench) -> Row:
    size = bench.setting.unit
    directory = model(bench.fresh("model"), size)
    work = f"pull {_size(size)}, 50 MB/s a connection"
    row = Row("pull-throttled", work, "oras pull", "times as fast", 6.0, "more")
    row.extra["bytes"] = size
    return _pulls(bench, row, directory, host=bench.throttled.host)


def push_again(bench: Bench) -> Row:
    size = bench.setting.unit
    directory = model(bench.fresh("model"), size, count=4, seed=3)
    work = f"push 4 files of {_size(size)} again, unchanged"
    row = Row("push-again", work, "oras push", "times as fast", 6.0, "more")
    bench.forget()
    ours, theirs = _push(bench, directory, "ours"), _oras_push(bench, directory, "oras")
    bench.call(ours)
    bench.call(theirs, directory)
    bench.call(ours)  # a file that was made just before it was hashed is remembered the second time
    row.ours, row.theirs = bench.against(Side(ours), Side(theirs, directory=directory))
    row.value = _ratio(row.ours, row.theirs)
    return row


def delta(bench: Bench) -> Row:
    size = bench.setting.unit
    before = tensors(size, 4_000_000)
    after, changed = fine_tuned(before, 0.05)
    row = Row(
        "delta",
        f"pull --verify of a fine-tune of {_size(size)}, 5 % changed, header grown, the other one cached",
        "bytes of the changed tensors",
        "times as many on the wire",
        1.15,
        "less",
    )
    bench.forget()
    directory = bench.fresh("model")
    for name, content, note in (("base", before, ""), ("tuned", after, "fine-tuned " * 50)):
        model(bench.fresh("model"), 0)
        write_safetensors(directory / "model.safetensors", content, note)
        bench.call(_push(bench, directory, name, "--key", bench.key))
    bench.forget_cache()
    base, target = bench.fresh("base"), bench.root / "pulled"
    host = bench.counted.host
    bench.call(_pull(bench, "base", base, "--key", bench.public, host=host))
    wire: list[int] = []
    for _ in range(bench.setting.times):
        _remove(target)
        for path in (bench.home / "cache" / "pulled").glob("*.json"):
            if str(target) in path.read_text():
                path.unlink()  # else the second time its own bytes would be found
        sent = bench.counted.sent()
        command = _pull(bench, "tuned", target, "--key", bench.public, "--json", host=host)
        row.ours.append(run(Side(command), bench.environment))
        wire.append(bench.counted.sent() - sent)
    said = json.loads(row.ours[-1].output)
    row.value = statistics.median(wire) / changed
    row.extra |= {"changedBytes": changed, "wireBytes": wire, "fetchedBytes": said["fetchedBytes"]}
    row.note = "counted by the proxy, all answers and their heads"
    bench.without(base, target)
    return row


def _small_files(bench: Bench, count: int, size: int, wanted: float, note: str, *, pulling: bool) -> Row:
    verb = "pull" if pulling else "push"
    work = f"{verb} {count:,} files of {_size(size)}"
    row = Row(f"{verb}-{count}x{size // KIB}", work, f"oras {verb}", "times as fast", wanted, "more", note=note)
    directory = small_files(bench.fresh("model"), count, size)
    return (_pulls if pulling else _pushes)(bench, row, directory, min(3, bench.setting.times))


def push_few(bench: Bench) -> Row:
    return _small_files(bench, bench.setting.few, 64 * KIB, 1.0, "a layer each", pulling=False)


def pull_few(bench: Bench) -> Row:
    return _small_files(bench, bench.setting.few, 64 * KIB, 1.0, "a layer each", pulling=True)


def push_many(bench: Bench) -> Row:
    note = "ours share a layer, those of oras have one each"
    return _small_files(bench, bench.setting.many, 16 * KIB, 3.0, note, pulling=False)


def pull_many(bench: Bench) -> Row:
    note = "ours share a layer, those of oras have one each"
    return _small_files(bench, bench.setting.many, 16 * KIB, 3.0, note, pulling=True)


# --- verification ------------------------------------------------------------


def _verify_directory(bench: Bench, name: str, count: int) -> Row:
    peer = _model_signing()
    size = bench.setting.unit * 4 // count
    directory = model(bench.fresh("model"), size, count=count, seed=3)
    files = "one file" if count == 1 else f"{count} files"
    work = f"verify DIR, {_size(count * size)} in {files}, in memory already"
    row = Row(name, work, "model_signing verify key", "times as fast", 5.0, "more")
    row.extra["bytes"] = count * size
    bench.forget()
    bench.call(_push(bench, directory, "ours", "--key", bench.key))
    target, signature = bench.fresh("pulled"), bench.fresh("model.sig")
    _remove(directory)
    bench.call(_pull(bench, "ours", target, "--no-cache", "--key", bench.public))
    bench.registry.forget()
    bench.call([peer, "sign", "key", "--private_key", bench.key, "--signature", signature, target])
    ours: list[str | Path] = [*OCIMODEL, "verify", "--quiet", "--key", bench.public, target]
    theirs: list[str | Path] = [
        peer,
        "verify",
        "key",
        "--public_key",
        bench.public,
        "--signature",
        signature,
        target,
    ]
    os.sync()
    bench.call(ours)  # all of it has been read once by now
    row.ours, row.theirs = bench.against(Side(ours), Side(theirs))
    row.value = _ratio(row.ours, row.theirs)
    bench.without(target, signature)
    return row


def verify_directory(bench: Bench) -> Row:
    return _verify_directory(bench, "verify-directory", 1)


def verify_directory_of_four(bench: Bench) -> Row:
    """The peer hashes files on several cores, but each on one."""
    return _verify_directory(bench, "verify-directory-of-four", 4)


def verify_reference(bench: Bench) -> Row:
    cosign = _peer("cosign")
    row = Row("verify-reference", "verify REF, a new process", "cosign verify --key", "times its time", 6.0, "less")
    bench.forget()
    directory = model(bench.fresh("model"), 4 * MIB)
    bench.call(_push(bench, directory, "ours", "--key", bench.key))
    ours: list[str | Path] = [*OCIMODEL, "verify", "--quiet", "--key", bench.public, bench.reference("ours")]
    offline = ["--insecure-ignore-tlog=true", "--allow-http-registry"]
    theirs: list[str | Path] = [cosign, "verify", "--key", bench.public, *offline, bench.reference("ours")]
    bench.call(ours)
    bench.call(theirs)
    row.ours, row.theirs = bench.against(Side(ours), Side(theirs), bench.setting.overhead_times)
    row.value = 1 / _ratio(row.ours, row.theirs)
    row.note = "4 is the wish"
    return row


def verify_policy(bench: Bench) -> Row:
    """Three signatures and five attestations, all asked for by one policy; the peer is asked for one of each."""
    cosign = _peer("cosign")
    work = "verify REF under a policy that asks for 3 signatures and 5 attestations"
    row = Row("verify-policy", work, "cosign verify, then verify-attestation", "times their time", 3.0, "less")
    bench.forget()
    directory = model(bench.fresh("model"), 4 * MIB)
    reference = bench.reference("ours")
    keys = [bench.fresh(f"signer{number}.key").with_suffix("") for number in range(3)]
    for key in keys:
        bench.call([*OCIMODEL, "key", "generate", "--no-password", key])
    bench.call(_push(bench, directory, "ours"))
    for key in keys:
        bench.call([*OCIMODEL, "sign", reference, "--key", f"{key}.key"])
    kinds = [f"https://example.com/checked/{number}" for number in range(5)]
    predicate, policy = bench.fresh("predicate.json"), bench.fresh("policy.json")
    predicate.write_text('{"passed": true}')
    for kind in kinds:
        attest: list[str | Path] = [
            "attest",
            reference,
            "--type",
            kind,
            "--predicate",
            predicate,
            "--key",
            f"{keys[0]}.key",
        ]
        bench.call([*OCIMODEL, *attest])
    trusted = [word for key in keys for word in ("--key", f"{key}.pub")]
    wanted = [word for kind in kinds for word in ("--require-attestation", kind)]
    init = [*OCIMODEL, "policy", "init", *trusted, *wanted, "--threshold", "3", "--scope", "**"]
    policy.write_text(bench.call(init).output)
    offline = f"--key {keys[0]}.pub --insecure-ignore-tlog=true --allow-http-registry {reference}"
    script = f"{cosign} verify {offline} && {cosign} verify-attestation --type {kinds[0]} {offline}"
    ours: list[str | Path] = [*OCIMODEL, "verify", "--quiet", "--policy", policy, reference]
    theirs: list[str | Path] = ["sh", "-c", script]
    bench.call(ours)
    bench.call(theirs)
    row.ours, row.theirs = bench.against(Side(ours), Side(theirs), bench.setting.overhead_times)
    row.value = 1 / _ratio(row.ours, row.theirs)
    bench.without(policy, predicate, *(path.with_suffix(end) for path in keys for end in (".key", ".pub")))
    return row


def verification_adds(bench: Bench) -> Row:
    size = min(16 * MIB, bench.setting.unit)
    row = Row(
        "verification-adds",
        f"what verification adds to a pull of {_size(size)}",
        "the same pull without it",
        "ms",
        150.0,
        "less",
    )
    bench.forget()
    directory = model(bench.fresh("model"), size, seed=6)
    bench.call(_push(bench, directory, "ours", "--key", bench.key))
    target = bench.root / "pulled"
    away = partial(bench.without, target)
    ours = Side(_pull(bench, "ours", target, "--no-cache", "--key", bench.public), away)
    theirs = Side(_pull(bench, "ours", target, "--no-cache"), away)
    row.ours, row.theirs = bench.against(ours, theirs, bench.setting.overhead_times)
    row.value = 1000 * statistics.median(a.seconds - b.seconds for a, b in zip(row.ours, row.theirs, strict=True))
    return row


# --- how it grows ------------------------------------------------------------


def linearity(bench: Bench) -> Row:
    """Pushes and pulls from a quarter of the unit to four of it."""
    unit = bench.setting.unit
    sizes = [unit // 4, unit // 2, unit, 2 * unit, 4 * unit]
    row = Row(
        "linearity",
        f"time a byte of push and pull, {_size(sizes[-1])} against {_size(sizes[0])}",
        "ocimodel itself",
        "(1 is linear; less: the start weighs less)",
        1.2,
        "less",
    )
    times = min(3, bench.setting.times)
    pushes: list[float] = []
    pulls: list[float] = []
    target = bench.root / "pulled"
    for size in sizes:
        directory = model(bench.fresh("model"), size, seed=7)
        pushed = [run(Side(_push(bench, directory, "ours"), bench.forget), bench.environment) for _ in range(times)]
        pull = Side(_pull(bench, "ours", target, "--no-cache"), partial(bench.without, target))
        pulled = [run(pull, bench.environment) for _ in range(times)]
        row.ours += pushed + pulled
        pushes.append(statistics.median(item.seconds for item in pushed))
        pulls.append(statistics.median(item.seconds for item in pulled))
    bench.without(target)
    row.extra |= {"sizes": sizes, "pushSeconds": pushes, "pullSeconds": pulls}
    totals = [a + b for a, b in zip(pushes, pulls, strict=True)]
    row.value = totals[-1] / sizes[-1] / (totals[0] / sizes[0])
    return row


def memory(rows: Sequence[Row]) -> Row:
    """The largest of all rows."""
    most = max(rows, key=lambda row: max((item.memory for item in row.ours), default=0))
    theirs = max((item.memory for row in rows for item in row.theirs), default=0)
    value = max((item.memory for item in most.ours), default=0) / MIB
    note = f"in {most.name}; the largest of a peer is {theirs / MIB:.0f} MiB"
    return Row("memory", "peak memory, any of these", "", "MiB", 200.0, "less", value, note=note)


ROWS: Mapping[str, Callable[[Bench], Row]] = {
    "push-one": push_one,
    "push-eight": push_eight,
    "pull-one": pull_one,
    "pull-throttled": pull_throttled,
    "push-again": push_again,
    "delta": delta,
    "verify-directory": verify_directory,
    "verify-directory-of-four": verify_directory_of_four,
    "push-few": push_few,
    "pull-few": pull_few,
    "push-many": push_many,
    "pull-many": pull_many,
    "verify-reference": verify_reference,
    "verify-policy": verify_policy,
    "verification-adds": verification_adds,
    "linearity": linearity,
}
