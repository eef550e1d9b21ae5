"""Predicate types, and their short names: those of cosign's ``--type``, and three of ours."""

from __future__ import annotations

from ocimodel.errors import UsageError
from ocimodel.oci import media

SHORT_NAMES = {
    "slsaprovenance": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance02": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance1": media.SLSA_PROVENANCE,
    "spdx": "https://spdx.dev/Document",
    "spdxjson": "https://spdx.dev/Document",
    "cyclonedx": "https://cyclonedx.org/bom",
    "link": "https://in-toto.io/Link/v1",
    "vuln": "https://cosign.sigstore.dev/attestation/vuln/v1",
    "openvex": "https://openvex.dev/ns",
    "test-result": media.TEST_RESULT,
    "provenance": media.SLSA_PROVENANCE,
    "bom": "https://cyclonedx.org/bom",
    "custom": "https://cosign.sigstore.dev/attestation/v1",
}


def predicate_type(name: str) -> str:
    """The type URI of ``name``, a short name or a URI itself.

    Raises:
        UsageError: it is neither, or it is the type of a signature.
    """
    found = SHORT_NAMES.get(name, name)
    if found in (media.COSIGN_SIGN, media.OMS_SIGNATURE):
        raise UsageError("that is the type of a signature", hint="To approve an artifact: ocimodel sign REF.")
    if ":" not in found or any(character.isspace() for character in found):
        raise UsageError(
            f"{name!r} is not a predicate type", hint=f"Give a URI, or one of: {', '.join(SHORT_NAMES)}."
        )
    return found
