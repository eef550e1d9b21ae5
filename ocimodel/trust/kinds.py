"""Lines of the key ring that are no plain keys, made of their sections in a policy file.

`certificate_entry` and `identity_entry` make a `Trusted` of what a `Line` holds, or raise: `FormatError` about a
field (``line.node`` knows the path), `ConfigurationError` about the whole. They check the names of the members
(``line.node.only(..., *STANDING)``); roles and standing are read already.
"""

from __future__ import annotations

from dataclasses import dataclass

from ocimodel.jsonio import Node
from ocimodel.trust.fields import Reader
from ocimodel.trust.ring import Role, Standing, Trusted

STANDING = ("roles", "status", "validFrom", "validUntil", "retiredAt", "compromisedSince", "replacedBy", "reason")
"""The members that every kind of line has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a section says, read as far as all kinds have it in common."""

    id: str
    node: Node
    roles: frozenset[Role]
    standing: Standing
    read: Reader

    def material(self, inline: str, file: str) -> tuple[bytes, Node]:
        """The PEM text that stands in one of two members, and which of them it was."""
        here, there = self.node.find(inline), self.node.find(file)
        if (here is None) == (there is None):
            self.node.fail(f"needs either {inline} or {file}")
        if here is not None:
            return here.string().encode(), here
        assert there is not None
        return self.read(there.string(limit=4096)), there


def certificate_entry(line: Line) -> Trusted:
    """A line of ``certificates``."""
    from ocimodel.trust import certificates

    return certificates.entry(line)


def identity_entry(line: Line) -> Trusted:
    """A line of ``identities``."""
    from ocimodel.trust import keyless

    return keyless.entry(line)
