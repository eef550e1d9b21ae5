"""A look into the files of a judged artifact, before anybody loads them: formats that the policy keeps out.

Guarantees: what is looked at is the content, whatever a file is called, and nothing is loaded. What is found is
added to the verdict, which can make it worse and never better. See `ocimodel.model.pickles` for what is not found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ocimodel.trust.formats import Formats, found
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.verdict import Verdict

ReadAt = Callable[[int, int], bytes]


class Screen:
    """Holds ``verdict``, and makes it worse where files are of a format that its policy keeps out."""

    def __init__(self, policy: TrustPolicy, verdict: Verdict) -> None:
        rules = policy.rules_for(verdict.name)
        self._formats = rules.formats if rules is not None else Formats()
        self.verdict = verdict

    def check(self, files: Mapping[str, Path]) -> None:
        """Look into ``files``, by the names that they have in the model.

        Raises:
            Refusal: the policy says no to what was found.
            OSError: a file cannot be read.
        """
        if not self._formats.restrict:
            return
        problems = [problem for name, path in files.items() if (problem := self._problem(name, path))]
        finding = found(problems)
        if finding is not None:
            self.verdict = self.verdict.with_finding(finding)
            self.verdict.raise_if_refused()

    def _problem(self, name: str, path: Path) -> str:
        with _reading(path) as (read_at, size):
            named = self._formats.of_name(name, size)
            if named or not self._formats.keeps_pickles_out:
                return named
            from ocimodel.model.pickles import pickle_in

            return self._formats.of_content(name, pickle_in(read_at, size))


@contextmanager
def _reading(path: Path) -> Iterator[tuple[ReadAt, int]]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield lambda offset, length: os.pread(descriptor, length, offset), os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
