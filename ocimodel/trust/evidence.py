"""What has been found beside an artifact, before anybody judges it.

Guarantees: `read_candidate` and `order` are pure and total: whatever a registry sends becomes a `Candidate`, at
worst one that says what is wrong with it. Nothing here checks a signature or knows which keys are trusted, but
for the order in which candidates are read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ocimodel.attest import legacy, notary, notary_cose, notary_jws, oms
from ocimodel.attest.bundle import Bundle
from ocimodel.attest.referrer import signature_format
from ocimodel.attest.signed import Signed, SignedStatement
from ocimodel.attest.statement import Statement
from ocimodel.errors import DigestMismatchError, FormatError
from ocimodel.keys.public import keyid_of_hint
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest

MAX_CANDIDATES = 128
MAX_TOTAL_BYTES = 16 * 1024 * 1024
FAIR_SHARE = MAX_TOTAL_BYTES // MAX_CANDIDATES
"""A candidate of at most this many bytes always finds room: readers take the larger ones last."""

_KEY_ID = re.compile(r"sha256:[0-9a-f]{64}")
_THUMBPRINT = re.compile(r"[0-9a-fA-F]{64}")
_MAX_CHAIN = 2048
_ENVELOPES = {media.NOTARY_JWS: notary_jws.decode, media.NOTARY_COSE: notary_cose.decode}
_UNTYPED = frozenset({None, "", media.OCI_EMPTY, media.OCI_CONFIG, "application/octet-stream"})
_APPROVALS = frozenset({media.COSIGN_SIGN, media.OMS_SIGNATURE})
_SIGNATURE_TYPES = frozenset({media.NOTARY_SIGNATURE, media.COSIGN_ARTIFACT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One referrer that may be a signature, parsed as far as it goes.

    Attributes:
        names: key ids and certificates that it claims to be signed by (our annotation, the bundle's hint, its
            chain). Claims, not facts.
        format: ``sigstore``, ``notation``, ``cosign-legacy``, or empty where it is none of these.
        signature_like: whether it presents itself as a signature; False for attestations and anything else.
        subject: what its manifest refers to.
        signed: what it says, and how to check that; None where it could not be parsed so far.
        problem: why it cannot be judged further; empty where ``signed`` is there.
        damaged: the problem lies in its bytes, not in what this version can read.
    """

    digest: Digest
    size: int
    names: frozenset[str] = frozenset()
    format: str = ""
    signature_like: bool = False
    subject: Descriptor | None = None
    signed: Signed | None = field(default=None, repr=False)
    problem: str = ""
    damaged: bool = False

    @property
    def statement(self) -> Statement | None:
        """The in-toto statement, where there is one."""
        return self.signed.statement if self.signed else None

    @classmethod
    def unreadable(cls, entry: Descriptor, problem: str) -> Candidate:
        """A referrer whose documents could not be had, judged by what the list says of it."""
        return cls(
            digest=entry.digest,
            size=entry.size,
            names=_named(entry),
            format=_expected_format(entry),
            signature_like=_rank(entry, frozenset()) == _LIKELY,
            problem=problem or "cannot be read",
            damaged=True,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known about an artifact when it is judged.

    Attributes:
        subject: the artifact.
        name: what was asked for, without tag and digest; never a mirror's name.
        tag: by which it was asked for; empty where a digest, or another name, said what is meant.
        listed: how many referrers there were.
        truncated: some of them were not read.
        manifest: the bytes behind ``subject``; None where nobody has them.
        provenance: the bytes of its provenance layer, once somebody has read them.
    """

    subject: Descriptor
    name: str
    tag: str = ""
    candidates: Sequence[Candidate] = ()
    listed: int = 0
    truncated: bool = False
    manifest: bytes | None = field(default=None, repr=False)
    provenance: bytes | None = field(default=None, repr=False)


_NAMED, _NAMED_ATTESTATION, _LIKELY, _ATTESTATION, _OTHER = range(5)


def order(entries: Iterable[Descriptor], trusted: Collection[str]) -> tuple[list[Descriptor], bool]:
    """Which referrers to read, in which order, and whether some were left out.

    First those whose descriptor names a key of ``trusted``, so that no amount of garbage hides them; then what
    may be a signature; then attestations and the rest, since a list's types are not to be trusted. Within each of
    these the list's own order stays.
    """
    keyids = frozenset(trusted)
    # What says of itself that it is an index of chunks is no signature, whoever lists it.
    ranked = sorted(
        (entry for entry in entries if entry.artifact_type != media.CHUNK_INDEX),
        key=lambda entry: _rank(entry, keyids),
    )
    return ranked[:MAX_CANDIDATES], len(ranked) > MAX_CANDIDATES


def read_candidate(entry: Descriptor, manifest: bytes, blob: bytes, subject: Descriptor | None = None) -> Candidate:
    """Parse a referrer. Never raises: what is wrong with it becomes the candidate's ``problem``.

    Args:
        entry: what the list says of it.
        blob: the manifest's one layer; empty where it has none, or more than one.
        subject: what a legacy layer, which comes without a manifest, was found beside.
    """
    if entry.media_type in legacy.LAYERS and not manifest:
        return _from_layer(entry, blob, subject)
    try:
        entry.digest.check(manifest, "signature manifest")
        parsed = Manifest.from_bytes(manifest)
    except (FormatError, DigestMismatchError) as error:
        return Candidate.unreadable(entry, error.message)
    return _from_manifest(entry, parsed, blob)


def _from_manifest(entry: Descriptor, manifest: Manifest, blob: bytes) -> Candidate:
    kind = signature_format(manifest)
    found = Candidate(
        digest=entry.digest,
        size=len(manifest.raw) + len(blob),
        names=_named(entry) | _named(manifest.descriptor),
        format=kind or "",
        # An attestation says so in its annotation; whether it is one, its signed statement decides.
        signature_like=kind is not None and _may_approve(manifest.annotations),
        subject=manifest.subject,
    )
    if kind is None:
        return replace(found, problem="not a signature")
    if kind == legacy.FORMAT:
        return replace(found, problem="holds no signature of this artifact")
    try:
        if len(manifest.layers) != 1:
            raise FormatError("a signature manifest has exactly one layer", path="layers")
        layer = manifest.layers[0]
        layer.digest.check(blob, "signature")
        if kind == notary.FORMAT:
            return _from_envelope(found, layer.media_type, blob)
        return _from_bundle(found, Bundle.from_bytes(blob))
    except notary.NotUnderstoodError as error:
        return replace(found, problem=error.message)
    except (FormatError, DigestMismatchError) as error:
        return replace(found, problem=error.message, damaged=True)


def _from_envelope(found: Candidate, kind: str, blob: bytes) -> Candidate:
    from ocimodel.keys import x509

    if kind not in _ENVELOPES:
        raise notary.NotUnderstoodError(f"envelopes of the type {kind} are not read by this version")
    signed = _ENVELOPES[kind](blob)
    leaf = x509.parse(signed.certificates[0])
    chain = {thumbprint_name(item) for item in signed.certificates}
    return replace(found, signed=signed, names=found.names | {leaf.keyid} | chain)


def thumbprint_name(certificate: bytes) -> str:
    """What candidates and trusted roots call a certificate (DER): ``x5t#S256:`` and the hex of its hash."""
    return f"x5t#S256:{hashlib.sha256(certificate).hexdigest()}"


def _from_layer(layer: Descriptor, blob: bytes, subject: Descriptor | None) -> Candidate:
    found = replace(Candidate.unreadable(layer, ""), size=len(blob), subject=subject, problem="", damaged=False)
    try:
        signed = legacy.read_layer(layer, blob)
    except (FormatError, DigestMismatchError) as error:
        return replace(found, problem=error.message, damaged=True)
    return replace(found, signed=signed, signature_like=signed.approves)


def _expected_format(entry: Descriptor) -> str:
    kind = entry.artifact_type or ""
    if entry.media_type in legacy.LAYERS or kind in (media.COSIGN_ARTIFACT, media.COSIGN_ATTESTATIONS):
        return legacy.FORMAT
    if kind == media.NOTARY_SIGNATURE:
        return notary.FORMAT
    return "sigstore" if kind.startswith(media.SIGSTORE_BUNDLE_PREFIX) else ""


def _from_bundle(found: Candidate, bundle: Bundle) -> Candidate:
    hinted = keyid_of_hint(bundle.hint) if bundle.hint else None
    found = replace(found, names=found.names | ({hinted} if hinted else frozenset()))
    if bundle.envelope is None:
        return replace(found, problem="a signature over bytes, not over a statement, approves no artifact")
    try:
        statement = Statement.from_bytes(bundle.envelope.payload)
    except FormatError as error:
        return replace(found, problem=f"statement: {error.message}", damaged=True)
    signed: Signed
    if statement.predicate_type == media.OMS_SIGNATURE:
        found = replace(found, format=oms.FORMAT, signature_like=True)
        problem = oms.unsupported(statement)
        if problem:
            return replace(found, problem=problem)
        signed = oms.signature_of(statement, bundle)
    else:
        signed = SignedStatement(
            statement=statement,
            signature=bundle.envelope.signature,
            certificates=bundle.certificates,
            timestamps=bundle.timestamps,
            bundle=bundle.raw,
        )
    return replace(found, signed=signed, signature_like=found.signature_like or signed.approves)


def _may_approve(annotations: Mapping[str, str]) -> bool:
    """Whether a referrer says that it is a signature, or says nothing of that."""
    return annotations.get(media.BUNDLE_PREDICATE_TYPE, media.COSIGN_SIGN) in _APPROVALS


def _named(entry: Descriptor) -> frozenset[str]:
    keyid = entry.annotations.get(media.KEY_ID, "")
    chain = entry.annotations.get(media.NOTARY_THUMBPRINTS, "")[:_MAX_CHAIN]
    found = {f"x5t#S256:{item.lower()}" for item in _THUMBPRINT.findall(chain)}
    return frozenset(found | {keyid}) if _KEY_ID.fullmatch(keyid) else frozenset(found)


def _rank(entry: Descriptor, trusted: frozenset[str]) -> int:
    attestation = not _may_approve(entry.annotations) or entry.media_type == media.DSSE_ENVELOPE
    if _named(entry) & trusted:
        return _NAMED_ATTESTATION if attestation else _NAMED
    if attestation:
        return _ATTESTATION
    kind = entry.artifact_type
    if kind in _UNTYPED or kind in _SIGNATURE_TYPES or (kind or "").startswith(media.SIGSTORE_BUNDLE_PREFIX):
        return _LIKELY
    return _OTHER
