"""Publish a policy as an artifact: one JSON layer, signed by root keys, for nodes that have a trust source.

Guarantees: what is published is whole by itself (files that the policy names are put into it) and the same wherever
it is made, so that several holders of root keys sign one artifact by running the same command. A serial number is
never given to two policies, nor a lower one after a higher. The tag moves last, and with a trust source only once a
node with that source would take the policy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ocimodel import jsonio
from ocimodel.attest.referrer import EMPTY
from ocimodel.errors import ConfigurationError, IntegrityError, NotFoundError, Refusal, UsageError
from ocimodel.keys.signer import Signer
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import manifest_bytes
from ocimodel.oci.reference import DEFAULT_TAG, Reference
from ocimodel.stores.facts import is_fallback_tag
from ocimodel.stores.opening import Access, open_store
from ocimodel.stores.protocol import Source, Store, read_blob
from ocimodel.trust import document, files
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.source import OciSource
from ocimodel.verbs.policy_source import layer_of, read_policy, vouched_for
from ocimodel.verbs.sign import Signed, sign_subject

_FILE = "policy.json"
_INLINE = {
    "keys": {"publicKeyFile": "publicKey"},
    "certificates": {"rootsFile": "roots", "timestampRootsFile": "timestampRoots"},
    "identities": {"trustedRootFile": "trustedRoot"},
    "timestampAuthorities": {"rootsFile": "roots"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPolicy:
    """``lacking`` says why the tag stays where it was; empty where it names this policy now."""

    reference: Reference
    policy: TrustPolicy
    signature: Signed
    lacking: str


def push_policy(
    path: Path,
    reference: Reference,
    signer: Signer,
    *,
    access: Access,
    source: OciSource | None = None,
    expires: timedelta | None = None,
    now: datetime,
) -> PublishedPolicy:
    """Publish the policy in the file ``path`` and sign it.

    Args:
        source: what nodes have; the tag moves once they would take it. None: one signature is enough.
        expires: how long the signature is good for, and with it the policy.

    Raises:
        ConfigurationError: the file is no valid policy.
        UsageError: it has no id or serial number, or the tag names a policy that is not older.
        NotFoundError, UnavailableError, AuthenticationError: from the store.
    """
    if reference.digest:
        raise UsageError("a digest cannot be pushed to", hint="Write HOST/REPOSITORY:TAG.")
    tag = reference.tag or DEFAULT_TAG
    if is_fallback_tag(tag):
        raise UsageError(f"the tag {tag} is where registries list referrers", hint="Choose another tag.")
    data = whole(path)
    policy = read_policy(data, str(path))
    _check(policy, path, source)
    digest = Digest.of(data)
    layer = Descriptor(media_type=media.POLICY, digest=digest, size=len(data), annotations={media.TITLE: _FILE})
    raw = manifest_bytes(config=EMPTY, layers=[layer], artifact_type=media.POLICY)
    with open_store(reference, access, create=True) as store:
        _check_order(store, tag, policy, Digest.of(raw))
        store.put_blob(Source.of(media.EMPTY_JSON), EMPTY.digest)
        store.put_blob(Source.of(data), digest)
        subject = store.put_manifest(raw, media.OCI_MANIFEST)
        signature = sign_subject(store, reference, subject, signer, expires=expires, now=now)
        lacking = ""
        if source is not None:
            try:
                vouched_for(store, source, subject, raw, now)
            except Refusal as error:
                lacking = error.message
        if not lacking:
            store.put_manifest(raw, media.OCI_MANIFEST, tag=tag)
    pinned = reference.tagged(None if lacking else tag).at(subject.digest)
    return PublishedPolicy(reference=pinned, policy=policy, signature=signature, lacking=lacking)


def whole(path: Path) -> bytes:
    """The policy in the file ``path`` as it is published: as it stands, or with what it names put into it.

    Raises:
        ConfigurationError: it is not valid.
    """
    files.load(path)
    data = text = files.read(path, document.MAX_BYTES, "policy")
    if path.suffix.lower() in files.YAML:
        from ocimodel.yamlio import to_json

        text = to_json(data, str(path))
    value: dict[str, Any] = json.loads(text)
    changed = text is not data
    for section, members in _INLINE.items():
        for line in (value.get(section) or {}).values():
            for there, here in members.items():
                if line.get(there) is not None:
                    material = files.read(path.parent / line.pop(there), files.MAX_MATERIAL, "file")
                    line[here] = _text(material, str(path))
                    changed = True
    return jsonio.pretty(value).encode() + b"\n" if changed else data


def _text(material: bytes, what: str) -> str:
    try:
        return material.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{what}: a file that it names is no text") from None


def _check(policy: TrustPolicy, path: Path, source: OciSource | None) -> None:
    if not policy.id:
        raise UsageError(f"{path} has no id", hint='Say "id": "prod"; nodes take no policy of another name.')
    if policy.serial < 1:
        raise UsageError(f"{path} has no serial number", hint='Say "serial": 1, and raise it with each change.')
    if source is not None and source.id and source.id != policy.id:
        raise UsageError(
            f"{path} is the policy {policy.id!r}, and nodes ask for {source.id!r}", hint="Check both files."
        )


def _check_order(store: Store, tag: str, policy: TrustPolicy, manifest: Digest) -> None:
    try:
        subject, raw = store.get_manifest(tag)
        if subject.digest == manifest:
            return
        layer = layer_of(raw, subject.media_type, f"{store.name}:{tag}")
        there = read_policy(read_blob(store, layer, limit=document.MAX_BYTES, what="policy"), f"{store.name}:{tag}")
    except NotFoundError:
        return
    except (IntegrityError, ConfigurationError):
        raise UsageError(
            f"{store.name}:{tag} names something that is no policy", hint="Choose another tag."
        ) from None
    if there.id != policy.id:
        raise UsageError(
            f"{store.name}:{tag} is the policy {there.id!r}, and this is {policy.id!r}", hint="Choose another tag."
        )
    if there.serial >= policy.serial:
        raise UsageError(
            f"{store.name}:{tag} has the serial number {there.serial} already, and this policy {policy.serial}",
            hint=f'Say "serial": {there.serial + 1}; nodes take nothing older than what they have seen.',
        )
