"""``ocimodel sign``."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocimodel.cli import material, options, requiring, stamping, writers
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.values import duration, signed_annotations

if TYPE_CHECKING:
    from ocimodel.verbs.sign import Signed

app = typer.Typer()

Sequence = Annotated[
    int | None,
    options.option(
        "--sequence",
        metavar="N",
        variable="OCIMODEL_CLAIM_SEQUENCE",
        help="Sign along that this is release N: a node that has taken it takes no lower one.",
    ),
]
Environment = Annotated[
    str,
    options.option(
        "--environment",
        metavar="NAME",
        variable="OCIMODEL_CLAIM_ENVIRONMENT",
        help="Sign along where it is for: it counts in no other environment.",
    ),
]
Channel = Annotated[
    str,
    options.option(
        "--channel",
        metavar="TAG",
        variable="OCIMODEL_CLAIM_CHANNEL",
        help="Sign along which channel it is for.",
    ),
]
RequireAttestation = Annotated[
    list[str] | None,
    options.option(
        "--require-attestation",
        metavar="TYPE",
        variable=requiring.VARIABLE,
        help="Refuse (19) without this statement, a test result that passed. scan: the scanner's (repeatable).",
    ),
]
AttestationKeys = Annotated[
    list[str] | None,
    options.option("--attestation-key", metavar="PUB", help="Whose statements count for that (repeatable)."),
]
AttestationPolicy = Annotated[
    str | None,
    options.option(
        "--attestation-policy", metavar="FILE", help="A trust policy that says whose statements count for that."
    ),
]


@command(
    app,
    "sign",
    event="sign",
    examples="""
    ocimodel sign registry.example/ml/bert:1.4 --key signing.key
    ocimodel sign registry.example/ml/bert@sha256:… --key signing.key -a evaluated=yes --expires 90d
    ocimodel sign registry.example/prod/bert:stable --key release.key --environment prod --sequence 42
    ocimodel sign registry.example/ml/bert:1.4 --key signing.key --timestamp-url https://tsa.example
    ocimodel sign registry.example/ml/bert:1.4 --key signing.key --require-attestation test-result \\
        --attestation-key evaluator.pub
    """,
)
def sign(
    run: Run,
    ref: options.Ref,
    key: options.SigningKey = None,
    password_file: options.PasswordFile = None,
    format: options.Format = "sigstore",  # noqa: A002
    certificate: options.Certificate = None,
    annotation: options.Annotations = None,
    expires: options.Expires = None,
    timestamp_url: stamping.Url = None,
    timestamp_root: stamping.Root = None,
    sequence: Sequence = None,
    environment: Environment = "",
    channel: Channel = "",
    require_attestation: RequireAttestation = None,
    attestation_key: AttestationKeys = None,
    attestation_policy: AttestationPolicy = None,
) -> Answer:
    """Attach a detached signature to an artifact, where it is.

    Prints REPO@DIGEST of the signature. The tag is resolved once; its digest is what is signed. Signing twice with
    the same key adds nothing.
    """
    reference = run.reference(ref)
    writer = writers.writer(run, format, certificate)
    from ocimodel.trust.release import Release
    from ocimodel.verbs.sign import sign

    met: dict[str, Any] = {}
    if require_attestation or attestation_key or attestation_policy:
        reference, met = requiring.required(
            run, reference, require_attestation or (), attestation_key or (), attestation_policy
        )
    signed = sign(
        reference,
        stamping.stamped(
            run, material.signer(run, key, password_file, command="sign"), timestamp_url, timestamp_root
        ),
        access=run.access,
        annotations=signed_annotations(annotation or ()),
        expires=duration(expires) if expires is not None else None,
        release=Release(sequence=sequence, environment=environment, channel=channel),
        writer=writer,
        now=run.now,
    )
    answer = attached(signed)
    return replace(answer, more={**answer.more, **met}) if met else answer


def attached(signed: "Signed") -> Answer:
    """The answer of a command that attached something."""
    return Answer(
        text=str(signed.signature),
        reference=str(signed.subject),
        digest=str(signed.subject.digest),
        signers=signers(signed),
        more={"signature": signature(signed)},
    )


def signature(signed: "Signed") -> dict[str, Any]:
    """The signature in a JSON document."""
    return {
        "reference": str(signed.signature),
        "digest": str(signed.signature.digest),
        "keyid": signed.keyid,
        "created": signed.created,
    }


def signers(signed: "Signed") -> list[dict[str, Any]]:
    """Who signed, for the audit log: signatures that no event tells of are somebody else's."""
    return [
        {
            "keyid": signed.keyid,
            "identity": "",
            "format": signed.format,
            "status": "created" if signed.created else "present",
            "digest": str(signed.signature.digest),
        }
    ]
