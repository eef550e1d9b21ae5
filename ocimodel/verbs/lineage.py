"""Where a model comes from: its base models, theirs, and so on, by digests.

Guarantees: only bases that a provenance pins by a digest are followed, and only to the registry or the layout of
the model itself and to hosts that the caller named: a provenance is anybody's text, and must not make this machine
call on strangers. An edge is verified where the policy passes the artifact whose provenance states it, since the
signature covers that, and the base is pinned. At most `MAX_NODES` artifacts and `MAX_LEVELS` generations.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ocimodel.errors import OcimodelError
from ocimodel.model.artifact import ModelArtifact
from ocimodel.model.provenance import MAX_BYTES, Provenance
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import Manifest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.stores.protocol import Store, read_blob
from ocimodel.trust.policy import TrustPolicy
from ocimodel.verbs.deciding import decide
from ocimodel.verbs.judging import judged_name

MAX_NODES = 200
MAX_LEVELS = 16
_OCI = re.compile(r"oci://([^\s]{1,1024})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """One edge: the child's provenance names a base model. ``model`` is that one, where it was followed."""

    name: str
    uri: str
    relation: str
    digest: str
    verified: bool
    note: str
    model: Ancestor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestor:
    """An artifact. ``verified`` is None where there was no policy to ask."""

    reference: Reference
    verified: bool | None
    note: str
    bases: tuple[Base, ...] = ()

    @property
    def digest(self) -> Digest:
        assert self.reference.digest is not None
        return self.reference.digest


def lineage(
    reference: Reference,
    *,
    access: Access,
    policy: TrustPolicy | None = None,
    follow: Collection[str] = (),
    now: datetime | None = None,
) -> Ancestor:
    """The tree above ``reference``.

    Args:
        follow: hosts (``HOST[:PORT]``) that may be asked besides the one of ``reference``.

    Raises:
        NotFoundError, UnavailableError, AuthenticationError, IntegrityError: about ``reference`` itself. A base
            that cannot be had is a note in the tree.
    """
    hosts = frozenset(follow) | ({_host(reference)} - {""})
    return _Walk(access, policy, hosts, now or datetime.now(UTC)).model(reference, MAX_LEVELS, frozenset())


class _Walk:
    def __init__(self, access: Access, policy: TrustPolicy | None, hosts: frozenset[str], now: datetime) -> None:
        self._access = access
        self._policy = policy
        self._hosts = hosts
        self._now = now
        self._left = MAX_NODES

    def model(self, reference: Reference, levels: int, above: frozenset[Digest]) -> Ancestor:
        self._left -= 1
        with open_store(reference, self._access, mirrors=True) as store:
            subject, raw = store.get_manifest(target_of(reference, store))
            verified, said, note = self._judge(store, reference, raw)
            artifact = ModelArtifact.of(Manifest.from_bytes(raw, subject.media_type))
            document = b""
            if artifact.provenance is not None:
                document = read_blob(store, artifact.provenance, limit=MAX_BYTES, what="provenance")
        pinned = reference.at(subject.digest)
        above |= {subject.digest}
        bases = tuple(self._base(item, said, levels, above, reference) for item in _bases(document))
        return Ancestor(reference=pinned, verified=verified, note=note, bases=bases)

    def _judge(self, store: Store, reference: Reference, raw: bytes) -> tuple[bool | None, bool, str]:
        """Whether it passes, whether what it says of its bases was signed, and why not."""
        if self._policy is None:
            return None, False, ""
        subject, _ = store.get_manifest(Digest.of(raw))
        verdict, _, _ = decide(store, subject, raw, judged_name(reference), self._policy, self._now, {})
        passed = verdict.outcome == "pass"
        said = passed and verdict.verified is not None and not verdict.verified.files_only
        return passed, said, "; ".join(reason.detail for reason in verdict.reasons)

    def _base(
        self, item: Mapping[str, Any], said: bool, levels: int, above: frozenset[Digest], child: Reference
    ) -> Base:
        uri, name = _text(item.get("uri")), _text(item.get("name"))
        notes = item.get("annotations")
        relation = _text(notes.get("relation")) if isinstance(notes, dict) else ""
        digest, target = _target(item, uri)
        note, model = "", None
        beside = self._beside(child, digest) if target is None and digest and child.is_layout else None
        target = target or beside
        if target is None:
            note = "is in no registry that could be asked" if digest else "is not pinned by a digest"
        elif target.digest in above:
            note = "is its own ancestor"
        elif beside is None and _host(target) not in self._hosts:
            note = f"lies at {_host(target) or 'a layout'}, which was not to be asked"
        elif not levels or self._left <= 0:
            note = "is further than is followed"
        else:
            try:
                model = self.model(target, levels - 1, above)
            except OcimodelError as error:
                note = error.message
        return Base(
            name=name,
            uri=uri,
            relation=relation,
            digest=digest,
            verified=said and bool(digest),
            note=note,
            model=model,
        )

    def _beside(self, child: Reference, digest: str) -> Reference | None:
        """What has this digest in the layout of ``child``: a layout has no address that a record could name."""
        try:
            found = child.tagged(None).at(Digest.parse(digest))
            with open_store(found, self._access) as store:
                store.get_manifest(target_of(found, store))
        except OcimodelError:
            return None
        return found


def _bases(document: bytes) -> list[Mapping[str, Any]]:
    """The base models that a SLSA provenance names."""
    if not document:
        return []
    provenance = Provenance.from_bytes(document)
    if provenance.predicate_type != media.SLSA_PROVENANCE:
        return []
    definition = provenance.predicate.get("buildDefinition")
    listed = definition.get("resolvedDependencies", []) if isinstance(definition, dict) else []
    found = [item for item in listed if isinstance(item, dict)]
    return [
        item
        for item in found
        if isinstance(notes := item.get("annotations"), dict) and notes.get("role") == "base-model"
    ]


def _target(item: Mapping[str, Any], uri: str) -> tuple[str, Reference | None]:
    """The digest that pins a base, and where it can be had: ``oci://HOST/REPOSITORY@DIGEST``."""
    said = item.get("digest")
    stated = f"sha256:{_text(said.get('sha256'))}" if isinstance(said, dict) and _text(said.get("sha256")) else ""
    match = _OCI.fullmatch(uri)
    try:
        reference = Reference.parse(match[1]) if match else None
        if reference is None:
            return stated, None
        if reference.digest is None:
            return stated, reference.at(Digest.parse(stated)) if stated else None
        if stated and str(reference.digest) != stated:
            return "", None  # it contradicts itself
        return str(reference.digest), reference
    except OcimodelError:
        return stated, None


def _host(reference: Reference) -> str:
    return "" if reference.is_layout else reference.name.partition("/")[0]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
