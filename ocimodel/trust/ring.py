"""The key ring: who may sign, in which role, and how long their word counts.

The seam for kinds of signers. One line of the ring is a `Trusted`; `KeyEntry`, a plain public key, is one kind.
Another kind (a certificate's chain, a keyless identity) is a class with the same members in a module of its own:

- ``opens`` is pure, total and fast to say None. It returns None where the signature is none of this line's (another
  kind of signature, another key, a chain to other roots, another identity), and an `Opening` where this line
  recognises the signer. It checks the signature over ``signed.message`` itself, by `ocimodel.keys`.
- An `Opening` with a ``problem`` recognises the signer and refuses it: exit code 13 (certificate or chain), 15
  (expired or not yet valid) or 16 (revoked). One without counts, as far as the line's `Standing` lets it.
- ``Opening.keyid`` is the id of the key that made the signature (``PublicKey.keyid``, of a leaf certificate too):
  neither one line nor one key ever counts twice. ``identity`` is what verdicts call the signer.
- ``Opening.time`` is a time that the signer cannot choose (an RFC 3161 token's, a transparency log's) and at which
  the signature existed. Everything about validity and retirement is judged at that time where there is one, else at
  ``now``. A `Witness` of the ring gives such a time for any kind of signer.
- ``keyids`` only decide which candidates are read first. A kind that cannot know them returns an empty set.

The sections ``certificates`` and ``identities`` of a policy file become such lines in `ocimodel.trust.kinds`.

Guarantees: nothing here reads a clock or a file. It does not decide how many signers are enough: see `counting`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol, get_args

from ocimodel.attest.signed import Signed
from ocimodel.errors import ConfigurationError
from ocimodel.keys.public import PublicKey
from ocimodel.keys.sealing import opens
from ocimodel.trust import chains
from ocimodel.trust.claims import format_time
from ocimodel.trust.verdict import Finding

Role = Literal["builder", "evaluator", "approver", "promoter"]
KeyStatus = Literal["active", "retired", "revoked"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)
STATUSES: Final[tuple[KeyStatus, ...]] = get_args(KeyStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A line of the ring recognised a signer; see the module's description.

    ``forged``: the signature says that it is by this signer, whose key has not made it; nothing else counts then.
    """

    keyid: str
    identity: str
    time: datetime | None = None
    problem: Finding | None = None
    forged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How long the word of a line counts. All times are aware; what is None does not limit."""

    status: KeyStatus = "active"
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    retired_at: datetime | None = None
    compromised_since: datetime | None = None
    replaced_by: str = ""
    reason: str = ""

    @property
    def has_an_end(self) -> bool:
        """Whether it hangs on when a signature was made."""
        return self.status != "active" or self.valid_until is not None

    def problem(self, who: str, time: datetime | None, now: datetime, leeway: timedelta) -> Finding | None:
        """Why a signature by ``who`` does not count, or None.

        Args:
            time: when it existed, by somebody whom the signer cannot sway; None where nobody says.
        """
        if self.status == "revoked":
            since = self.compromised_since
            if time is None or since is None or time >= since:
                detail = f"the key of {who} is revoked" + self._because()
                if since is not None:
                    detail += f"; only what a trusted time puts before {format_time(since)} counts"
                return Finding(exit_code=16, reason="revoked-key", detail=detail)
        if self.status == "retired" and (time is None or self.retired_at is None or time > self.retired_at):
            when = f" at {format_time(self.retired_at)}" if self.retired_at else ""
            known = "the signature is younger" if time else "no trusted time says that the signature is older"
            detail = f"the key of {who} was retired{when}, and {known}" + self._because()
            return Finding(exit_code=15, reason="retired-key", detail=detail)
        moment = time or now
        if self.valid_from is not None and self.valid_from - moment > leeway:
            detail = f"the key of {who} is valid only from {format_time(self.valid_from)} on"
            return Finding(exit_code=15, reason="key-not-yet-valid", detail=detail)
        if self.valid_until is not None and moment - self.valid_until >= leeway:
            detail = f"the key of {who} was valid until {format_time(self.valid_until)}" + self._because()
            return Finding(exit_code=15, reason="key-expired", detail=detail)
        return None

    def _because(self) -> str:
        said = f" ({self.reason})" if self.reason else ""
        return said + (f"; {self.replaced_by} replaces it" if self.replaced_by else "")


ALWAYS: Final = Standing()


class Trusted(Protocol):
    """One line of the key ring."""

    @property
    def id(self) -> str:
        """Its name in the policy, by which scopes call it."""
        ...

    @property
    def roles(self) -> frozenset[Role]: ...

    @property
    def standing(self) -> Standing: ...

    @property
    def keyids(self) -> frozenset[str]:
        """Key ids that candidates of it are known to name; only an order of reading."""
        ...

    def opens(self, signed: Signed, now: datetime, leeway: timedelta) -> Opening | None:
        """Whether, and how, this line recognises the signer of ``signed``. Never raises about ``signed``."""
        ...


class Witness(Protocol):
    """Somebody who says when a signature existed, such as a time-stamping authority."""

    @property
    def id(self) -> str:
        """Its name in the policy."""
        ...

    def time_of(self, signed: Signed, now: datetime, leeway: timedelta) -> datetime | None:
        """The earliest time at which this very signature is proven to have existed, none of the future.

        None where nothing is proven. Never raises.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Testimony:
    """The witness ``by`` proves that a signature existed at ``time``."""

    time: datetime
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEntry:
    """A plain public key. It opens every format of signature, for the key itself is what is trusted.

    Where a format demands a chain of certificates (the Notary Project's), that has to be in order and valid, now or
    when a witness saw the signature; to whom it leads does not matter.
    """

    id: str
    key: PublicKey
    roles: frozenset[Role] = frozenset()
    standing: Standing = field(default=ALWAYS)

    @property
    def keyids(self) -> frozenset[str]:
        return frozenset({self.key.keyid})

    def opens(self, signed: Signed, now: datetime, leeway: timedelta) -> Opening | None:
        if not opens(self.key, signed):
            return None
        problem = chains.problem(signed, now, leeway)
        return Opening(keyid=self.key.keyid, identity=self.key.label or self.id, problem=problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """All lines, each with an id of its own.

    Raises:
        ConfigurationError: two lines have one id, or one plain key stands in two lines.
    """

    entries: tuple[Trusted, ...] = ()
    witnesses: tuple[Witness, ...] = ()

    def __post_init__(self) -> None:
        if len({entry.id for entry in self.entries}) != len(self.entries):
            raise ConfigurationError("a name stands in the key ring twice")
        keys = [entry.key.keyid for entry in self.entries if isinstance(entry, KeyEntry)]
        if len(set(keys)) != len(keys):
            raise ConfigurationError("a key stands in the policy twice")

    @classmethod
    def of_keys(cls, keys: Iterable[PublicKey]) -> Ring:
        """A line for each of these keys, under its key id; equal keys are taken for one."""
        distinct = {key.keyid: key for key in keys}
        return cls(entries=tuple(KeyEntry(id=keyid, key=key) for keyid, key in distinct.items()))

    @property
    def keyids(self) -> frozenset[str]:
        """What candidates may name to be read first."""
        return frozenset().union(*(entry.keyids for entry in self.entries))

    def named(self, name: str) -> Trusted | None:
        return next((entry for entry in self.entries if entry.id == name), None)

    def having(self, roles: Iterable[Role]) -> frozenset[str]:
        """The ids of all lines with one of these roles."""
        wanted = frozenset(roles)
        return frozenset(entry.id for entry in self.entries if entry.roles & wanted)

    def time_of(self, signed: Signed, now: datetime, leeway: timedelta) -> Testimony | None:
        """The earliest time that a witness of the ring proves, and which one it is. Never raises."""
        found = (
            Testimony(time=time, by=witness.id)
            for witness in self.witnesses
            if (time := witness.time_of(signed, now, leeway)) is not None
        )
        return min(found, key=lambda testimony: testimony.time, default=None)


def in_order(entries: Sequence[Trusted], named: frozenset[str]) -> list[Trusted]:
    """Those first whose key a candidate names; the name proves nothing, it only saves work."""
    return sorted(entries, key=lambda entry: not entry.keyids & named)


def mark(entry: Trusted) -> str:
    """By what a node remembers a line: a plain key by its id, which outlives names; any other by its name."""
    return entry.key.keyid if isinstance(entry, KeyEntry) else f"line {entry.id}"
