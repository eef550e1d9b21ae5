"""``ocimodel cache show`` and ``cache prune``: what is kept on this machine to save reading and fetching."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocimodel.cli import options
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.text import plural, size, table
from ocimodel.errors import Reason, UsageError

if TYPE_CHECKING:
    from ocimodel.verbs.cache import Contents, Entry

app = typer.Typer(help="Show what the cache holds, or make it smaller.")

MaxSize = Annotated[
    str | None,
    options.option(
        "--max-size", metavar="SIZE", help="Remove the least recently used until this is left: 0, 500MB or 1GiB."
    ),
]

_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(?:([KMGT])(i)?)?B?")


@command(app, "show", called="cache show", network=False, examples="ocimodel cache show")
def show(_run: Run) -> Answer:
    """Show what the cache holds.

    Blobs that pulls have kept, digests of files that were read, chunk indexes, and where earlier pulls put what.
    OCIMODEL_CACHE_DIR moves it.
    """
    from ocimodel.transfer.places import cache_dir
    from ocimodel.verbs.cache import show

    found = show(cache_dir())
    return _answer(found, [str(found.directory), *_entries(found)], {})


@command(
    app,
    "prune",
    called="cache prune",
    event="cache.prune",
    network=False,
    examples="""
    ocimodel cache prune
    ocimodel cache prune --max-size 100MB
    """,
)
def prune(run: Run, max_size: MaxSize = None) -> Answer:
    """Remove what is of no more use from the cache: memories of directories that are gone, old damaged blobs.

    With --max-size, what was not used for longest as well, but nothing that a process is taking. Directories that
    were pulled are never touched.
    """
    from ocimodel.transfer.places import cache_dir
    from ocimodel.verbs.pruning import prune

    most = size_of(max_size) if max_size is not None else None
    done = prune(cache_dir(), max_size=most)
    left = done.contents
    if most is not None and left.size > most:
        why = f"{plural(len(done.held), 'blob')} in use" if done.held else "some files could not be removed"
        run.warn(f"{size(left.size)} are left in {left.directory}: {why}")
    line = f"removed {plural(len(done.removed), 'file')}, freed {size(done.freed)}, {size(left.size)} left"
    more = {
        "removed": [_entry(entry) for entry in done.removed],
        "held": [_entry(entry) for entry in done.held],
        "freedBytes": done.freed,
    }
    return _answer(left, [line], more)


def size_of(text: str) -> int:
    """A number of bytes: a number and a unit.

    >>> size_of("1.5GiB"), size_of("500MB"), size_of("0")
    (1610612736, 500000000, 0)
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"--max-size {text[:40]!r} is no size", hint="Write 0, 500MB or 1GiB.")
    unit = 1024 if match[3] else 1000
    power = "KMGT".index(match[2]) + 1 if match[2] else 0
    return int(float(match[1]) * unit**power)


def _answer(found: "Contents", lines: list[str], more: dict[str, Any]) -> Answer:
    ignored = f"{found.directory} is not used: {found.ignored}" if found.ignored else ""
    limited = f"digests are not kept in {found.directory}: {found.open_to}; 0700 is asked for"
    return Answer(
        text="\n".join(lines),
        outcome="warn" if ignored else "pass",
        klass="configuration" if ignored else "none",
        reasons=(Reason("configuration", "cache-ignored", ignored),) if ignored else (),
        warnings=[ignored] if ignored else [limited] if found.open_to else [],
        more={
            "directory": str(found.directory),
            "ignored": found.ignored or None,
            "entries": [_entry(entry) for entry in found.entries],
            "totalBytes": found.size,
            **more,
        },
    )


def _entries(found: "Contents") -> Iterator[str]:
    rows = [(entry.kind, size(entry.size), _time(entry), _about(entry)) for entry in found.entries]
    if rows:
        yield from ("", *table(("kind", "size", "last used", "about"), rows, right=(1,)))
    yield from ("", f"{plural(len(rows), 'file')}, {size(found.size)}")


def _about(entry: "Entry") -> str:
    if entry.kind == "digests":
        return plural(entry.count, "digest")
    if entry.kind == "blob":
        return f"{entry.subject[:19]} {entry.name} {entry.reference}".rstrip()
    if entry.kind != "pulled":
        return entry.subject
    gone = "" if entry.exists else " (gone)"
    return f"{entry.subject or 'unreadable'}{gone} {entry.reference}".rstrip()


def _time(entry: "Entry") -> str:
    return datetime.fromtimestamp(entry.used, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _entry(entry: "Entry") -> dict[str, Any]:
    more: dict[str, Any] = {}
    if entry.kind == "digests":
        more = {"digests": entry.count}
    elif entry.kind == "chunk-index":
        more = {"layer": entry.subject}
    elif entry.kind == "blob":
        more = {"digest": entry.subject, "name": entry.name, "pulled": entry.reference, "links": entry.links}
    elif entry.kind == "quarantine":
        more = {"digest": entry.subject}
    elif entry.kind == "pulled":
        more = {"directory": entry.subject, "pulled": entry.reference, "exists": entry.exists}
    return {"kind": entry.kind, "path": str(entry.path), "bytes": entry.size, "used": _time(entry), **more}
