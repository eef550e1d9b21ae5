"""The report of a scan: JSON lines that grow in number while it goes on, and from which one that was ended goes on.

    {"scan": 1, "began": …, "question": …}    what was asked
    {"reference": …, "exitCode": …, …}        one artifact, as in the document of scan --json
    {"complete": true, "counts": {…}}         the end; a file without it was not finished

Guarantees: a line is on its way to the disk before the next artifact is told, so a kill loses at most the last one,
and a torn line is cut off. Only a report of the same question, by the same policy, that is not complete goes on,
and only verdicts count then: what could not be judged is tried again. Every other report is begun anew. What stands
in the file is believed: it is for a place that only those can write to who may say how the scan ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Self

from ocimodel.errors import SEVERITY, StorageError
from ocimodel.jsonio import canonical

VERSION = 1
_MAX_LINE = 1024 * 1024
_JUDGED = frozenset({0, *SEVERITY})


class Report:
    """To be used as a context manager.

    ``earlier``: the verdicts of the scan that goes on, in their order.
    """

    def __init__(self, path: Path, question: Mapping[str, Any], now: datetime) -> None:
        """Raises `StorageError`."""
        self._path = path
        self._question = json.loads(canonical(question))
        self.earlier: list[dict[str, Any]] = []
        self.began = now.isoformat(timespec="seconds").replace("+00:00", "Z")
        try:
            self._file = self._open()
        except OSError as error:
            raise self._failed(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, row: Mapping[str, Any]) -> None:
        """Raises `StorageError`."""
        self._write(row)

    def complete(self, counts: Mapping[str, int]) -> None:
        """Raises `StorageError`."""
        self._write({"complete": True, "counts": dict(counts)})

    def _open(self) -> IO[bytes]:
        end = self._read() if self._path.exists() else 0
        if end:
            file = self._path.open("r+b")
            file.truncate(end)
            file.seek(end)
            return file
        self.earlier = []
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("wb")
        self._write({"scan": VERSION, "began": self.began, "question": self._question})
        return self._file

    def _read(self) -> int:
        """Where the last whole line ends; 0 where the report is none that goes on."""
        end = 0
        with self._path.open("rb") as file:
            for number, (line, row) in enumerate(_lines(file)):
                if number == 0:
                    if row.get("scan") != VERSION or row.get("question") != self._question:
                        return 0
                    self.began = str(row.get("began"))
                elif row.get("complete"):
                    return 0
                elif row.get("exitCode") in _JUDGED and isinstance(row.get("reference"), str):
                    self.earlier.append(row)
                end += len(line)
        return end

    def _write(self, row: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(row, separators=(",", ":")).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(f"cannot write the report {self._path}: {error.strerror or error}")


def _lines(file: IO[bytes]) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The whole lines; one that is torn, or not as it was written, ends them."""
    while line := file.readline(_MAX_LINE):
        try:
            row = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            return
        if not isinstance(row, dict):
            return
        yield line, row
