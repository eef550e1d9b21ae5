"""Verification summaries: what a promoter says once a policy has passed an artifact for an environment.

The predicate is SLSA's Verification Summary (slsa.dev/spec/v1.0/verification_summary). ``resourceUri`` names the
repository it was made for, which is what keeps the verdict of one environment from being shown in another.

Guarantees: `predicate` is a pure function of its argument; `read` is total. Environment, channel, sequence and end
are claims of the statement's subject (`ocimodel.trust.claims`) and stand nowhere else. A summary is only as good as
the signature over it: nothing here looks at one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ocimodel import jsonio
from ocimodel.oci import media
from ocimodel.oci.digest import Digest

PASSED = "PASSED"
LEVEL = "POLICY_PASSED"
"""What was verified: a policy's scope. It says nothing about levels of SLSA."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a summary says.

    Attributes:
        resource: the URI of the repository, by `resource_uri`.
        time: when it was verified: RFC 3339, UTC.
        policy: the digest of the policy file, ``sha256:HEX``.
        policy_id: what the policy calls itself; may be empty.
        inputs: signatures and statements that the verdict rests on: a URI and a digest of each.
        reason: why somebody went back to an older artifact; empty otherwise.
        versions: the tags beside the channel that name this artifact for good.
    """

    resource: str
    time: str
    policy: str
    policy_id: str = ""
    inputs: Sequence[tuple[str, Digest]] = ()
    tool: str = ""
    reason: str = ""
    versions: Sequence[str] = ()


def resource_uri(name: str) -> str:
    """The URI of a repository: ``oci://HOST/REPOSITORY``, or ``oci:PATH`` for a layout.

    Args:
        name: without tag and digest, as policies know it.
    """
    return name if name.startswith("oci:") else f"oci://{name}"


def predicate(summary: Summary) -> bytes:
    """The predicate, as RFC 8785 has it."""
    algorithm, _, value = summary.policy.partition(":")
    policy: dict[str, Any] = {"digest": {algorithm: value}}
    if summary.policy_id:
        policy["uri"] = summary.policy_id
    verifier: dict[str, Any] = {"id": media.VERIFIER_PROMOTE}
    if summary.tool:
        verifier["version"] = {"ocimodel": summary.tool}
    document: dict[str, Any] = {
        "verifier": verifier,
        "timeVerified": summary.time,
        "resourceUri": summary.resource,
        "policy": policy,
        "inputAttestations": [
            {"uri": uri, "digest": {digest.algorithm: digest.hex}} for uri, digest in summary.inputs
        ],
        "verificationResult": PASSED,
        "verifiedLevels": [LEVEL],
        "slsaVersion": "1.0",
    }
    if summary.reason:
        document[media.SUMMARY_REASON] = summary.reason
    if summary.versions:
        document[media.SUMMARY_VERSIONS] = sorted(summary.versions)
    return jsonio.canonical(document)


def read(document: Mapping[str, Any]) -> Summary | None:
    """What a predicate says; None where it did not pass, or says too little to be held against a target."""
    resource, time = document.get("resourceUri"), document.get("timeVerified")
    if document.get("verificationResult") != PASSED or not isinstance(resource, str) or not isinstance(time, str):
        return None
    policy = _object(document.get("policy"))
    value = _object(policy.get("digest")).get("sha256")
    name, reason = policy.get("uri"), document.get(media.SUMMARY_REASON)
    versions = document.get(media.SUMMARY_VERSIONS)
    return Summary(
        resource=resource,
        time=time,
        policy=f"sha256:{value}" if isinstance(value, str) else "",
        policy_id=name if isinstance(name, str) else "",
        reason=reason if isinstance(reason, str) else "",
        versions=tuple(item for item in versions if isinstance(item, str)) if isinstance(versions, list) else (),
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
