"""Keyless identities as lines of the key ring: whoever an issuer calls by a name, vouched for by a trusted root.

    "identities": {"release": {"issuer": "https://token.actions.githubusercontent.com",
                               "subject": "https://github.com/acme/models/.github/workflows/release.yml@refs/heads/main",
                               "trustedRootFile": "trusted_root.json"}}

Guarantees: those of `ring`. The subject is matched to the letter, or by a glob (``subjectGlob``): ``*`` stays
within a part between slashes, ``**`` crosses them. The issuer is always matched to the letter. Nothing is fetched:
see `ocimodel.keys.keyless`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from ocimodel.attest.oms import OmsSignature
from ocimodel.attest.signed import Signed, SignedStatement
from ocimodel.errors import FormatError
from ocimodel.jsonio import Node
from ocimodel.trust.fields import text
from ocimodel.trust.ring import ALWAYS, Opening, Role, Standing, Trusted
from ocimodel.trust.scope import MAX_LENGTH, Glob
from ocimodel.trust.verdict import Finding

if TYPE_CHECKING:
    from ocimodel.keys.keyless import TrustedRoot
    from ocimodel.trust.kinds import Line


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityEntry:
    """A line of ``identities``; a `ocimodel.trust.ring.Trusted`. ``subject`` or ``glob`` says who it is."""

    id: str
    issuer: str
    root: TrustedRoot = field(repr=False)
    subject: str = ""
    glob: Glob | None = None
    roles: frozenset[Role] = frozenset()
    standing: Standing = field(default=ALWAYS)

    @property
    def keyids(self) -> frozenset[str]:
        """None: each signature has a key of its own."""
        return frozenset()

    def opens(self, signed: Signed, now: datetime, leeway: timedelta) -> Opening | None:  # noqa: ARG002
        if not isinstance(signed, SignedStatement | OmsSignature) or not signed.certificates or not signed.bundle:
            return None
        found = self.root.recognise(signed, signed.bundle, self._is)
        if found is None:
            return None
        who = f"{found.subject} by {found.issuer}"
        problem = None
        if found.problem:
            detail = f"the certificate of {who} does not count: {found.problem}"
            problem = Finding(exit_code=13, reason="certificate", detail=detail)
        return Opening(keyid=found.keyid, identity=f"{self.id}: {who}", time=found.time, problem=problem)

    def _is(self, subject: str, issuer: str) -> bool:
        if issuer != self.issuer:
            return False
        return self.glob.matches(subject) if self.glob is not None else subject == self.subject


def entry(line: Line) -> Trusted:
    """The line that a section of a policy file describes.

    Raises:
        FormatError: a member is missing, unknown or malformed.
        ConfigurationError: the package that verifies such signatures is not installed.
    """
    from ocimodel.trust.kinds import STANDING

    node = line.node
    node.only("issuer", "subject", "subjectGlob", "trustedRoot", "trustedRootFile", *STANDING)
    issuer, subject, glob = node.get("issuer"), node.find("subject"), node.find("subjectGlob")
    if (subject is None) == (glob is None):
        node.fail("needs either subject or subjectGlob")
    if not text(issuer) or (subject is not None and not text(subject)):
        (issuer if not text(issuer) else node.get("subject")).fail("is empty")
    raw, where = line.material("trustedRoot", "trustedRootFile")
    try:
        root = _root(raw)
    except FormatError as error:
        raise FormatError(error.message, path=where.path) from None
    return IdentityEntry(
        id=line.id,
        issuer=text(issuer),
        root=root,
        subject=text(subject),
        glob=_glob(glob) if glob is not None else None,
        roles=line.roles,
        standing=line.standing,
    )


def _glob(node: Node) -> Glob:
    # Not by the rules for scopes: subjects have an @, and a branch or a tag behind it.
    found = Glob(text(node, limit=MAX_LENGTH))
    if "***" in found.text:
        node.fail("has three stars in a row; * stays within a part between slashes, ** goes across")
    if not found.prefix:
        node.fail("must begin with what stands before its first star, or anybody whom the issuer knows would fit")
    return found


@lru_cache(maxsize=16)
def _root(raw: bytes) -> TrustedRoot:
    """One for all lines that name it: it keeps what was made of it."""
    from ocimodel.keys.keyless import TrustedRoot

    return TrustedRoot.from_bytes(raw)
