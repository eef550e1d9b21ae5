"""The error tree. Each error knows its exit code, its class, its reason and what to do next.

    OcimodelError                         1
    ├── UsageError                        2   the command line, a reference, a destination
    ├── ConfigurationError                3   a policy or configuration file
    ├── NotFoundError                    11   no such artifact, tag, blob or key
    ├── Refusal                               the answer is no; nothing was delivered
    │   ├── UnsignedError                10   trust      there is no signature
    │   ├── UntrustedError               12   trust      signatures, but not (enough) by trusted keys
    │   ├── CertificateError             13   trust      certificate or chain
    │   ├── IntegrityError               14   integrity  bytes are not what was promised
    │   │   ├── DigestMismatchError          a digest or a size differs (expected, actual)
    │   │   ├── FormatError                  bytes are not the document they claim to be (path)
    │   │   └── UnsafePathError              a name that must not reach a file system
    │   ├── ExpiredError                 15   lifecycle  expired or not yet valid
    │   ├── RevokedError                 16   trust      the key or the digest is revoked
    │   ├── ContextError                 17   context    does not fit where it is deployed
    │   ├── RollbackError                18   lifecycle  older than what was seen
    │   ├── GateError                    19   policy     an attestation is missing or fails
    │   └── StaleTrustError              21   lifecycle  the trust material is too old
    ├── StorageError                     74   availability  disk full, read-only, I/O error
    ├── UnavailableError                 75   availability  network, 5xx, 429; worth a retry
    │   └── RejectedError                 1   availability  a request that the registry will never accept
    └── AuthenticationError              77   availability  401 or 403

Exit codes are part of the contract with pipelines and never change meaning. An error prints as two lines:
what went wrong, and what to do next. It never carries a secret, nor a URL with a query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason among several: its class, a stable name for machines, and a sentence for people."""

    klass: str
    reason: str
    detail: str


class OcimodelError(Exception):
    """Root of everything that this package raises on purpose."""

    exit_code: ClassVar[int] = 1
    klass: ClassVar[str] = ""
    reason: str = "error"
    hint: str = "Run again with --debug and report what it prints."

    def __init__(self, message: str, *, hint: str | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if hint is not None:
            self.hint = hint
        if reason is not None:
            self.reason = reason
        self.reasons: tuple[Reason, ...] = (Reason(self.klass, self.reason, message),)
        """All that is wrong; more than one where several refusals hold."""
        self.verdict: object = None
        """The `ocimodel.trust` verdict behind a refusal, where there was one."""

    def __str__(self) -> str:
        return self.message


class UsageError(OcimodelError):
    """The call cannot be meant as it was written."""

    exit_code = 2
    klass = "usage"
    reason = "usage"
    hint = "See ocimodel --help."


class ConfigurationError(OcimodelError):
    """A policy or a configuration file is invalid."""

    exit_code = 3
    klass = "configuration"
    reason = "configuration"
    hint = "Correct the file; nothing was done."


class NotFoundError(OcimodelError):
    """There is no such artifact, tag, blob or key."""

    exit_code = 11
    klass = "availability"
    reason = "not-found"
    hint = "Check the name and the tag; ocimodel list REPO shows the tags."


class Refusal(OcimodelError):
    """The answer is no. A refused pull delivers nothing."""

    exit_code = 14
    klass = "integrity"


class UnsignedError(Refusal):
    """The artifact carries no signature at all."""

    exit_code = 10
    klass = "trust"
    reason = "unsigned"
    hint = "Ask who built it to sign it: ocimodel sign REF --key KEY."


class UntrustedError(Refusal):
    """There are signatures, but none, or too few, by a trusted key and for this very artifact."""

    exit_code = 12
    klass = "trust"
    reason = "untrusted-signer"
    hint = "Check that the given key is the signer's; ocimodel tree REF shows who signed."


class CertificateError(Refusal):
    """A certificate or its chain is not acceptable."""

    exit_code = 13
    klass = "trust"
    reason = "certificate"
    hint = "Ask the signer for a chain that ends in a root which the policy trusts."


class IntegrityError(Refusal):
    """Bytes are not what was promised."""

    exit_code = 14
    klass = "integrity"
    reason = "integrity"
    hint = "Do not use it. Fetch it again from a registry that you trust, and find out who changed it."


class DigestMismatchError(IntegrityError):
    """A digest or a size differs from the descriptor's."""

    reason = "digest-mismatch"

    def __init__(self, what: str, *, expected: str, actual: str, hint: str | None = None) -> None:
        super().__init__(f"{what}: expected {expected}, got {actual}", hint=hint)
        self.expected = expected
        self.actual = actual


class FormatError(IntegrityError):
    """Bytes are not the document they claim to be. ``path`` names the bad field, as in ``layers[2].digest``."""

    reason = "malformed"

    def __init__(self, what: str, *, path: str = "", hint: str | None = None) -> None:
        super().__init__(f"{path}: {what}" if path else what, hint=hint)
        self.what = what
        self.path = path


class UnsafePathError(IntegrityError):
    """A file name that must not reach a file system."""

    reason = "unsafe-path"
    hint = "Rename the file; names must be relative, portable and distinct on every platform."


class ExpiredError(Refusal):
    """Expired, or not yet valid."""

    exit_code = 15
    klass = "lifecycle"
    reason = "expired"
    hint = "Sign it again (ocimodel sign REF --key KEY --expires 90d), or check this machine's clock."


class RevokedError(Refusal):
    """The key or the digest is revoked."""

    exit_code = 16
    klass = "trust"
    reason = "revoked"
    hint = "Use another version; ask the owner of the policy why it was revoked."


class ContextError(Refusal):
    """The signed metadata does not fit where it is being deployed."""

    exit_code = 17
    klass = "context"
    reason = "metadata-mismatch"
    hint = "Deploy it where it was signed for, or ask for a version that was signed for here."


class RollbackError(Refusal):
    """Older than what this node has seen, or than the policy's floor."""

    exit_code = 18
    klass = "lifecycle"
    reason = "rollback"
    hint = "Use a newer version; to go back on purpose, promote the older one again."


class GateError(Refusal):
    """An attestation is missing or fails."""

    exit_code = 19
    klass = "policy"
    reason = "missing-attestation"
    hint = "ocimodel policy explain FILE REF says for each gate what would make it pass."


class StaleTrustError(Refusal):
    """The trust material is too old to decide with."""

    exit_code = 21
    klass = "lifecycle"
    reason = "stale-bundle"
    hint = "Get a newer policy from whoever keeps it; an old one may not know what was revoked since."


class StorageError(OcimodelError):
    """The local disk is full, read-only or broken."""

    exit_code = 74
    klass = "availability"
    reason = "disk"
    hint = "Free or mend the disk and run the same command again; what was checked so far is kept."


class UnavailableError(OcimodelError):
    """A registry or a service did not answer, after retries."""

    exit_code = 75
    klass = "availability"
    reason = "registry"
    hint = "Run the same command again; what was transferred so far is kept."


class RejectedError(UnavailableError):
    """A registry does not accept a request (400, 405, 413 …): asking again would not help, so it is not 75."""

    exit_code = 1
    reason = "refused"
    hint = "The registry does not accept this request; see what it says, and its documentation."


class AuthenticationError(OcimodelError):
    """A registry answered 401 or 403."""

    exit_code = 77
    klass = "availability"
    reason = "auth"
    hint = "Log in with ocimodel login HOST, or ask for access to the repository."


SEVERITY = (14, 16, 12, 10, 13, 18, 21, 15, 19, 17)
"""Exit codes of refusals, the most serious first: where several hold, the first one listed here is returned."""
