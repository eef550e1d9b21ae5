"""Sign again: what an old key has signed well gets the same signature by a new one.

Guarantees: nothing is signed that the old key has not signed, well and for this very artifact; its claims are
carried over to the letter. The old signatures stay. Where the old key was stolen, only what is known to be good is
signed: an artifact or a signature that is listed by digest, or a signature that a time which its holder could not
choose puts before the theft. An artifact that is listed, and of which the stolen key says several things, is left:
a thief may have said one of them. What is revoked is never signed. Run again, it adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from ocimodel.attest.oms import files_only
from ocimodel.attest.referrer import attach
from ocimodel.errors import FormatError, NotFoundError, UsageError
from ocimodel.keys.public import PublicKey
from ocimodel.keys.sealing import sign_statement
from ocimodel.keys.signer import Signer, lacks_timestamp
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.stores.protocol import Store
from ocimodel.trust.attestations import attested
from ocimodel.trust.claims import format_time, parse_time
from ocimodel.trust.evidence import Evidence
from ocimodel.trust.judge import Judged, Status
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.ring import KeyEntry
from ocimodel.verbs.attaching import store_attachment
from ocimodel.verbs.evidence import gather
from ocimodel.verbs.judging import judged_name
from ocimodel.verbs.sign import SIGSTORE

Outcome = Literal["signed", "present", "left", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Whose signatures are made again, by whom, and which.

    Attributes:
        reference: a repository; with a tag or a digest, that artifact alone.
        policy: tells whether the old key was revoked and since when, what else is, and whose times count.
        known_good: digests of artifacts, and of signatures, that count whatever became of the old key; None where
            nobody says.
        before: what a trusted time puts before this is known to be good as well.
        expires: how long the new signatures are good for; None: as long as the old ones.
        attestations: sign the old key's other statements again as well.
    """

    reference: Reference
    old: PublicKey
    signer: Signer
    policy: TrustPolicy | None = None
    known_good: frozenset[Digest] | None = None
    before: datetime | None = None
    expires: timedelta | None = None
    attestations: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resigned:
    """What became of one artifact.

    ``signed``: it got what it lacked (or would, of a dry run); ``present``: it had it; ``left``: it was not to be
    signed, and ``why`` says so; ``none``: the old key has not signed it.
    """

    digest: Digest
    tags: tuple[str, ...]
    outcome: Outcome
    why: str = ""
    signatures: tuple[Digest, ...] = ()


def resign(wish: Wish, *, access: Access, now: datetime) -> tuple[Resigned, ...]:
    """Sign again what the repository's tags name.

    Raises:
        UsageError: the old key was revoked, and nothing says what is known to be good.
        NotFoundError, UnavailableError, AuthenticationError: from the store.
    """
    if wish.old.keyid == wish.signer.public.keyid:
        raise UsageError("the old key and the new one are the same", hint="Give --key the new one.")
    with open_store(wish.reference, access) as store:
        run = _Resigning(wish, store, now)
        return tuple(run.one(digest, tags) for digest, tags in run.artifacts())


class _Resigning:
    def __init__(self, wish: Wish, store: Store, now: datetime) -> None:
        self._wish = wish
        self._store = store
        self._now = now
        self._before = wish.before
        self._name = judged_name(wish.reference)
        line = _line(wish.policy, wish.old)
        revoked = line is not None and line.standing.status == "revoked"
        if revoked and line is not None and self._before is None:
            self._before = line.standing.compromised_since
        self._stolen = revoked or wish.known_good is not None or wish.before is not None
        if revoked and wish.known_good is None and self._before is None:
            raise UsageError(
                f"{line.id if line else wish.old} is revoked, and nothing says which of its signatures are good",
                hint="Give --known-good FILE, a list of digests, or --before TIME.",
            )
        if wish.before is not None and wish.policy is None:
            raise UsageError(
                "--before compares with trusted times, and nobody says whose those are",
                hint="Add --policy FILE, or list digests with --known-good FILE.",
            )

    def artifacts(self) -> Iterator[tuple[Digest, tuple[str, ...]]]:
        """Each artifact once, with its tags."""
        reference = self._wish.reference
        if reference.tag or reference.digest:
            subject = self._store.resolve(target_of(reference, self._store))
            yield subject.digest, (reference.tag,) if reference.tag else ()
            return
        found: dict[Digest, list[str]] = {}
        for tag in self._store.tags():
            with suppress(NotFoundError):  # it was removed meanwhile
                found.setdefault(self._store.resolve(tag).digest, []).append(tag)
        yield from ((digest, tuple(tags)) for digest, tags in found.items())

    def one(self, digest: Digest, tags: tuple[str, ...]) -> Resigned:
        wish = self._wish
        result = Resigned(digest=digest, tags=tags, outcome="none", why="the old key has not signed it")
        try:
            subject, _ = self._store.get_manifest(digest)
        except NotFoundError:
            return replace(result, why="it is not in this repository")
        evidence, _ = gather(self._store, subject, self._name, {wish.old.keyid, wish.signer.public.keyid})
        judged = TrustPolicy.of_keys([wish.old]).assess(evidence, self._now).judged
        good = [item for item in judged if item.votes and item.status is Status.GOOD]
        other = next((item for item in judged if item.signer and item.is_signature and item not in good), None)
        if not good:
            return replace(result, outcome="left", why=other.detail) if other is not None else result
        if wish.policy is not None and (revoked := wish.policy.revoked.get(str(digest))) is not None:
            return replace(result, outcome="left", why=revoked.describe(digest))
        whole = [item for item in good if not files_only(item.candidate.signed)]
        if not whole:
            return replace(result, outcome="left", why="signed over the files alone: sign it with --format oms")
        claims, why = self._claims(digest, whole, evidence)
        if why:
            return replace(result, outcome="left", why=why)
        made = [*self._signatures(subject, evidence, claims), *self._statements(subject, evidence)]
        return replace(
            result, outcome="signed" if made else "present", why="", signatures=tuple(filter(None, made))
        )

    def _claims(
        self, digest: Digest, good: Sequence[Judged], evidence: Evidence
    ) -> tuple[list[dict[str, str]], str]:
        """What is to be said again, each thing once; or why nothing is."""
        if self._stolen:
            times = self._times(evidence)
            known = [
                item for item in good if self._is_known(item.candidate.digest, times.get(item.candidate.digest))
            ]
            if not known and digest not in self._listed:
                return [], "it is not known to be good"
            good = known or good
            if not known and len(self._distinct(good)) > 1:
                return [], "the stolen key says several things of it: list the digest of the signature that is good"
        return self._distinct(good), ""

    def _distinct(self, judged: Iterable[Judged]) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        for item in judged:
            said = _plain(item.claims) if self._wish.expires else dict(item.claims)
            found += [said] if said not in found else []
        return found

    @property
    def _listed(self) -> frozenset[Digest]:
        return self._wish.known_good or frozenset()

    def _is_known(self, signature: Digest, time: datetime | None) -> bool:
        early = time is not None and self._before is not None and time < self._before
        return signature in self._listed or early

    def _times(self, evidence: Evidence) -> dict[Digest, datetime]:
        """When the old key's signatures existed, by somebody whom it could not sway."""
        if self._wish.policy is None:
            return {}
        judged = self._wish.policy.assess(evidence, self._now).judged
        return {item.candidate.digest: item.time for item in judged if item.time is not None}

    def _signatures(
        self, subject: Descriptor, evidence: Evidence, wanted: Iterable[dict[str, str]]
    ) -> list[Digest | None]:
        """What was made; None for each that a dry run would make."""
        policy = TrustPolicy.of_keys([self._wish.signer.public])
        there = [item for item in policy.assess(evidence, self._now).judged if item.votes]
        made: list[Digest | None] = []
        for claims in wanted:
            if any(self._says(item, claims) for item in there):
                continue
            if self._wish.dry_run:
                made.append(None)
                continue
            ends = {media.CLAIM_EXPIRES: format_time(self._now + self._wish.expires)} if self._wish.expires else {}
            found, _ = SIGSTORE.attach(
                self._store, self._wish.reference, subject, self._wish.signer, {**claims, **ends}
            )
            made.append(found)
        return made

    def _says(self, item: Judged, claims: Mapping[str, str]) -> bool:
        """Whether a signature by the new key says this already, and for long enough."""
        if lacks_timestamp(self._wish.signer, item.candidate.signed):
            return False
        if self._wish.expires is None:
            return dict(item.claims) == dict(claims)
        ends = item.claims.get(media.CLAIM_EXPIRES)
        try:
            left = parse_time(ends) - self._now if ends else None
        except FormatError:
            left = None
        return left is not None and left > self._wish.expires / 2 and _plain(item.claims) == _plain(claims)

    def _statements(self, subject: Descriptor, evidence: Evidence) -> list[Digest | None]:
        if not self._wish.attestations:
            return []
        wish = self._wish
        made: list[Digest | None] = []
        there = {item.statement.raw for item in attested(evidence, [wish.signer.public], self._now)}
        for item in attested(evidence, [wish.old], self._now):
            known = not self._stolen or self._is_known(item.digest, item.signer.time)
            if item.statement.raw in there or not known:
                continue
            there.add(item.statement.raw)
            if wish.dry_run:
                made.append(None)
                continue
            bundle = sign_statement(wish.signer, item.statement.raw)
            kind, keyid = item.statement.predicate_type, wish.signer.public.keyid
            attachment = attach(bundle, subject, predicate_type=kind, keyid=keyid)
            store_attachment(self._store, subject, attachment)
            made.append(attachment.descriptor.digest)
        return made


def _line(policy: TrustPolicy | None, key: PublicKey) -> KeyEntry | None:
    for entry in policy.ring.entries if policy is not None else ():
        if isinstance(entry, KeyEntry) and entry.key.keyid == key.keyid:
            return entry
    return None


def _plain(claims: Mapping[str, str]) -> dict[str, str]:
    """All but the end."""
    return {key: value for key, value in claims.items() if key != media.CLAIM_EXPIRES}
