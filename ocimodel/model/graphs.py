"""Programs in the graphs that Keras and TensorFlow store: layers and operations that run code, or touch files.

Guarantees: nothing is loaded; at most `MAX_READ` bytes of a file are looked at. Found are Lambda layers of Keras
(in ``.keras`` archives and HDF5 files, as far as their configuration lies within what is read), and operations of
TensorFlow's graphs that call Python, or read and write files.

Not found: the same in a file under another name, or in a configuration that is compressed within HDF5.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from typing import Final

from ocimodel.model.formats import format_of_name
from ocimodel.model.pickles import DAMAGED, Window
from ocimodel.model.reading import ReadAt

MAX_READ: Final = 32 * 1024 * 1024
_LAMBDA = re.compile(rb'\\?"class_name\\?"\s*:\s*\\?"Lambda\\?"')
_CALLS: Final = (b"PyFunc", b"EagerPyFunc", b"PyFuncStateless")
_FILES: Final = (b"ReadFile", b"WriteFile", b"MatchingFiles")


def programs(path: str, read_at: ReadAt, size: int) -> Iterator[tuple[bool, str]]:
    """What in the file runs code, and whether that is serious."""
    kind = format_of_name(path)
    if kind not in ("keras", "hdf5", "tensorflow"):
        return
    head = read_at(0, min(size, MAX_READ))
    if kind == "tensorflow":
        yield from _operations(head, whole=size <= MAX_READ)
        return
    configuration = _configuration(read_at, size) if head.startswith(b"PK") else head
    if configuration is None:
        yield True, "is an archive whose configuration cannot be looked into"
    elif _LAMBDA.search(configuration):
        yield True, "has a Lambda layer, which is a program"


def _configuration(read_at: ReadAt, size: int) -> bytes | None:
    """``config.json`` of a Keras archive; None where it is too large, or the archive is damaged."""
    try:
        with zipfile.ZipFile(Window(read_at, size)) as archive, archive.open("config.json") as stream:
            data = stream.read(MAX_READ + 1)
    except DAMAGED:
        return None
    return data if len(data) <= MAX_READ else None


def _operations(graph: bytes, *, whole: bool) -> Iterator[tuple[bool, str]]:
    # A name in protobuf: its length, then its bytes (protobuf, "Encoding": length-delimited fields).
    def has(name: bytes) -> bool:
        return bytes([len(name)]) + name in graph

    if calls := [name.decode() for name in _CALLS if has(name)]:
        yield True, f"has operations that call Python: {', '.join(calls)}"
    if files := [name.decode() for name in _FILES if has(name)]:
        yield False, f"has operations that touch files: {', '.join(files)}"
    if not whole:
        yield False, f"has more than {MAX_READ} bytes; the rest was not looked into"
