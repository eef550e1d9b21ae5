"""How a long operation tells what it does. The base class says nothing; the command line draws bars."""

from __future__ import annotations


class Meter:
    """Methods may be called from several threads."""

    def begin(self, title: str, total: int) -> None:
        """A phase begins: ``total`` bytes will move."""

    def advance(self, count: int) -> None:
        """``count`` bytes moved; negative where they will be moved again."""

    def end(self) -> None:
        """The phase is over."""

    def note(self, text: str) -> None:
        """Something a person should know, one line."""
