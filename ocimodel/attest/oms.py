"""OpenSSF model signing (OMS), version 1.0 of its predicate, as PyPI's `model-signing` reads and writes it.

    subject     one: the model's name, and the root digest: SHA-256 over the files' raw SHA-256, one after the other
    predicate   serialization: how files were hashed; resources: name, algorithm and digest of each, sorted by name

Guarantees: a decoded `OmsSignature` has a root digest that is that of its resources, each with a name of its own.
`statement_bytes` is a pure function. What we write also names the manifest (an extension field of the predicate,
which other readers of the format pass over), and approves that one alone.

An OMS signature by others knows files and no manifest. It approves an artifact only once somebody has compared the
files (`OmsSignature.seen_in`), and then says nothing about whatever else the manifest holds: see `files_only`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ocimodel import jsonio
from ocimodel.attest.bundle import Bundle, public_key_bundle
from ocimodel.attest.envelope import Envelope, pae
from ocimodel.attest.signed import Signed
from ocimodel.attest.statement import Statement, Subject
from ocimodel.errors import FormatError, UsageError
from ocimodel.jsonio import Node
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest

FORMAT = "oms"
IGNORED = (".git", ".gitattributes", ".github", ".gitignore")
"""What `model_signing` leaves out unless it is told otherwise, when it signs and when it verifies."""

_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OmsSignature:
    """A signature over the names and digests of files; a `ocimodel.attest.signed.Signed`.

    Attributes:
        files: SHA-256 in hexadecimal by name.
        manifest: the one artifact that it approves, where the signer named it.
        seen: the artifact in which these files were found, all of them and no others.
    """

    statement: Statement
    signature: bytes
    files: Mapping[str, str]
    manifest: Digest | None = None
    seen: Digest | None = None
    certificates: tuple[bytes, ...] = ()
    timestamps: tuple[bytes, ...] = ()
    bundle: bytes = field(default=b"", repr=False, compare=False)
    format: str = FORMAT
    algorithm: str = ""
    approves: bool = True
    expires: datetime | None = field(default=None)

    @property
    def message(self) -> bytes:
        return pae(media.INTOTO_PAYLOAD, self.statement.raw)

    @property
    def predicate_type(self) -> str:
        return self.statement.predicate_type

    def subjects_of(self, subject: Descriptor) -> Sequence[Subject]:
        return self.statement.subjects if (self.manifest or self.seen) == subject.digest else ()

    def seen_in(self, artifact: Digest, files: Mapping[str, str]) -> OmsSignature:
        """The same, compared with the files of ``artifact``."""
        return replace(self, seen=artifact if files == self.files else None)


def files_only(signed: Signed | None) -> bool:
    """Whether it approves files without naming the manifest, so that whatever else that holds is not signed."""
    return isinstance(signed, OmsSignature) and signed.manifest is None


def signature_of(statement: Statement, bundle: Bundle) -> OmsSignature:
    """What the statement in ``bundle`` says of files.

    Raises:
        FormatError: it contradicts itself, or hashes in a way that no registry's digests can be compared with;
            `unsupported` tells the latter beforehand.
    """
    assert bundle.envelope is not None
    predicate = Node(statement.predicate, "predicate")
    if len(statement.subjects) != 1:
        raise FormatError("must name exactly one model", path="subject")
    files = _files(predicate.get("resources"))
    root = statement.subjects[0].digest.get("sha256", "")
    if root != root_of(files.values()):
        raise FormatError("is not the root digest of the resources", path="subject[0].digest.sha256")
    named = predicate.find(media.OMS_MANIFEST)
    return OmsSignature(
        statement=statement,
        signature=bundle.envelope.signature,
        files=files,
        manifest=Digest.parse(named.string(limit=160)) if named else None,
        certificates=bundle.certificates,
        timestamps=bundle.timestamps,
        bundle=bundle.raw,
    )


def unsupported(statement: Statement) -> str:
    """Why nothing can be said about the statement's files by their SHA-256; empty where it can. Never raises."""
    serialization = statement.predicate.get("serialization")
    found = serialization if isinstance(serialization, dict) else {}
    method, algorithm = (str(found.get(key))[:40] for key in ("method", "hash_type"))
    if (method, algorithm) == ("files", "sha256"):
        return ""
    return f"hashes {method!r} by {algorithm!r}; only whole files by sha256 can be compared"


def statement_bytes(name: str, files: Mapping[str, str], manifest: Digest, claims: Mapping[str, str]) -> bytes:
    """The statement that approves ``files``, and ``manifest``, which holds them.

    Args:
        name: of the model; informative.
        files: SHA-256 in hexadecimal by name. Those that `model_signing` ignores are left to the manifest.
        claims: annotations of the subject.

    Raises:
        UsageError: there are no files, or a claim is not Unicode text.
    """
    listed = {key: files[key] for key in sorted(files, key=lambda name: name.split("/")) if not _ignored(key)}
    if not listed:
        raise UsageError("the artifact has no files to sign", hint="Sign it with --format sigstore.")
    subject: dict[str, Any] = {"name": name, "digest": {"sha256": root_of(listed.values())}}
    if claims:
        subject["annotations"] = dict(claims)
    document = {
        "_type": media.STATEMENT_V1,
        "subject": [subject],
        "predicateType": media.OMS_SIGNATURE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": list(IGNORED),
            },
            "resources": [{"name": key, "algorithm": "sha256", "digest": value} for key, value in listed.items()],
            media.OMS_MANIFEST: str(manifest),
        },
    }
    try:
        return jsonio.canonical(document)
    except UnicodeEncodeError:
        raise UsageError("an annotation is not Unicode text") from None


def bundle_of(envelope: Envelope, pem: bytes, timestamps: Sequence[bytes] = ()) -> bytes:
    """The bundle as `model_signing` reads it, whose hint is the hash of the key's PEM text."""
    return public_key_bundle(envelope, hashlib.sha256(pem).hexdigest(), timestamps)


def root_of(digests: Iterable[str]) -> str:
    """SHA-256 over raw digests, one after the other, in hexadecimal."""
    hasher = hashlib.sha256()
    for digest in digests:
        hasher.update(bytes.fromhex(digest))
    return hasher.hexdigest()


def _files(resources: Node) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in resources.items():
        item.only("name", "algorithm", "digest")
        name, digest = item.get("name").string(limit=4096), item.get("digest")
        if item.get("algorithm").string() != "sha256" or _HEX.fullmatch(digest.string(limit=64)) is None:
            item.fail("must have a SHA-256 in lower-case hexadecimal")
        if name in found:
            item.get("name").fail("stands there twice")
        found[name] = digest.string()
    if not found:
        resources.fail("must name at least one file")
    return found


def _ignored(name: str) -> bool:
    return name.split("/")[0] in IGNORED
