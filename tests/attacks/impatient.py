"""What `verify` and `pull` do, for somebody who waits less than a person does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ocimodel.keys.public import PublicKey
from ocimodel.model.artifact import ModelArtifact
from ocimodel.oci.manifest import Manifest
from ocimodel.oci.reference import Reference
from ocimodel.stores.http.policy import Patience
from ocimodel.stores.protocol import Store
from ocimodel.stores.registry import open_registry
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.selection import Selection
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.verdict import Verified
from ocimodel.verbs.evidence import gather
from ocimodel.verbs.unpack import unpack
from tests.attacks.scene import code_of
from tests.signers import ALICE

IMPATIENT = Patience(connect=2.0, stall=0.3, tries=2, wall=1.5, document=1.5, sleep=lambda _seconds: None)


@contextmanager
def _opened(reference: Reference) -> Iterator[Store]:
    store = open_registry(reference, plain_http=frozenset({reference.registry}), patience=IMPATIENT)
    try:
        yield store
    finally:
        store.close()


def _judged(store: Store, reference: Reference, key: PublicKey) -> tuple[Verified, bytes]:
    subject, raw = store.get_manifest(str(reference.digest or reference.tag))
    policy = TrustPolicy.of_keys([key])
    evidence, _ = gather(store, subject, reference.name, policy.keyids)
    return policy.evaluate(evidence, datetime.now(UTC)).raise_if_refused(), raw


def verifying(reference: Reference, *, key: PublicKey = ALICE.public) -> int:
    """0, or the exit code of a verification where the artifact is."""
    with _opened(reference) as store:
        return code_of(lambda: _judged(store, reference, key))


def pulling(reference: Reference, destination: Path, *, key: PublicKey = ALICE.public) -> int:
    """0, or the exit code of a pull of all files."""

    def pull(store: Store) -> None:
        grant, raw = _judged(store, reference, key)
        artifact = ModelArtifact.of(Manifest.from_bytes(raw))
        unpack(grant, artifact, store, destination, selection=Selection(), force=False, previous=(), meter=Meter())

    with _opened(reference) as store:
        return code_of(lambda: pull(store))
