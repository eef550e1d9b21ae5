"""Verify an artifact where it is.

Guarantees: a tag is resolved once. Signatures come first; no layer byte is requested before the policy has passed
the artifact. A verification that returns has passed; everything else raises, and a refusal carries all its
reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.manifest import Manifest
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.stores.protocol import Progress, Store
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.parallel import run_all
from ocimodel.transfer.places import state_dir
from ocimodel.trust.policy import TrustPolicy
from ocimodel.verbs.blobs import check_blob
from ocimodel.verbs.deciding import decide
from ocimodel.verbs.judging import (
    Check,
    Verification,
    asked_tag,
    judged_name,
    verdict_checks,
)
from ocimodel.verbs.remembering import with_floor

_NO_CONTEXT: Mapping[str, str] = {}
_READERS = 4


def verify_artifact(
    reference: Reference,
    *,
    policy: TrustPolicy,
    access: Access,
    context: Mapping[str, str] = _NO_CONTEXT,
    name: str | None = None,
    full: bool = False,
    offline: bool = False,
    now: datetime | None = None,
    meter: Meter | None = None,
) -> Verification:
    """Judge what ``reference`` names, where it is.

    Args:
        name: the name to judge under, instead of the reference's own (``--as``).
        full: read every layer as well and hold it against its digest.
        offline: ask nobody whether certificates were revoked, whatever the policy says.

    Raises:
        Refusal: of the most serious kind that holds; its ``reasons`` are all.
        NotFoundError, UnavailableError, AuthenticationError: from the store.
    """
    with open_store(reference, access, mirrors=True) as store:
        target = target_of(reference, store)
        subject, raw = store.get_manifest(target)
        asked = judged_name(reference, name)
        policy = with_floor(policy, asked, reference, state_dir())
        now = now or datetime.now(UTC)
        verdict, _, _ = decide(
            store,
            subject,
            raw,
            asked,
            policy,
            now,
            context,
            tag=asked_tag(reference, target, name),
            offline=offline,
        )
        verdict.raise_if_refused()
        checks = [Check("manifest", "pass", f"{subject.digest}, {subject.size} bytes"), *verdict_checks(verdict)]
        if full:
            checks.append(_check_layers(store, Manifest.from_bytes(raw, subject.media_type), meter or Meter()))
    return Verification(
        reference=str(reference.at(subject.digest)),
        digest=subject.digest,
        verdict=verdict,
        checks=tuple(checks),
    )


def _check_layers(store: Store, manifest: Manifest, meter: Meter) -> Check:
    layers = [manifest.config, *manifest.layers]

    def read(layer: Descriptor, progress: Progress) -> None:
        check_blob(store, layer, f"layer {layer.digest}", progress)

    total = sum(layer.size for layer in layers)
    meter.begin("verifying", total)
    try:
        run_all(read, layers, size=lambda layer: layer.size, workers=_READERS, progress=meter.advance)
    finally:
        meter.end()
    return Check("layers", "pass", f"{len(layers)} blobs, {total} bytes, each by its SHA-256")
