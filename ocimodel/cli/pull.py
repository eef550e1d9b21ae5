"""``ocimodel pull``."""

from pathlib import Path

import typer

from ocimodel.cli import material, options, verdicts
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.values import pairs, rate
from ocimodel.errors import Reason, UsageError

app = typer.Typer()

NOT_VERIFIED = "NOT VERIFIED"


@command(
    app,
    "pull",
    event="pull",
    examples="""
    ocimodel pull registry.example/ml/bert:1.4 -o ./bert --key signing.pub
    ocimodel pull registry.example/ml/bert:1.4 -o ./bert --key signing.pub --include '*.json'
    ocimodel pull oci:./models:bert -o ./bert --verify    # key from OCIMODEL_VERIFY_KEY
    """,
)
def pull(
    run: Run,
    ref: options.Ref,
    output: options.Output,
    verify: options.Verify = False,
    key: options.VerifyKeys = None,
    policy: options.PolicyFile = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    force: options.Force = False,
    base: options.Base = None,
    no_cache: options.NoCache = False,
    receipt: options.Receipt = None,
    provenance_out: options.ProvenanceOut = None,
    context: options.Context = None,
    max_rate: options.MaxRate = None,
) -> Answer:
    """Verify, fetch, check every byte, then make DIR appear.

    Prints DIR. A refused pull delivers nothing. Without --verify, --key or --policy nothing is known about who made
    the model, and the output says so.
    """
    reference = run.reference(ref)
    trust = material.trust(run, key or (), policy)
    if trust is None:
        run.partial = {"verified": False}
        if verify:
            raise UsageError("--verify needs a key or a policy", hint="Give --key PUB or set OCIMODEL_VERIFY_KEY.")
        if context:
            raise UsageError("--context is compared with what was signed", hint="Give --key PUB as well.")
    for directory in base or ():
        if not directory.is_dir():
            raise UsageError(f"--base {directory} is not a directory", hint="Name one that was pulled earlier.")
    run.context = pairs(context or (), "--context")
    from ocimodel.verbs.pull import pull

    pulled = pull(
        reference,
        output,
        policy=trust,
        access=run.access,
        meter=run.meter,
        include=include or (),
        exclude=exclude or (),
        force=force,
        base=base or (),
        cache=not no_cache,
        receipt=receipt,
        provenance_out=provenance_out,
        context=run.context,
        max_rate=rate(max_rate) if max_rate is not None else None,
        now=run.now,
    )
    verified = pulled.verdict is not None
    detail = f"{NOT_VERIFIED}: nothing is known about who made {pulled.reference}"
    return Answer(
        text=str(output),
        reference=str(pulled.reference),
        digest=str(pulled.reference.digest),
        outcome="pass" if verified else "warn",
        klass="none" if verified else "trust",
        reasons=() if verified else (Reason("trust", "not-verified", detail),),
        signers=verdicts.signers(pulled.verdict) if pulled.verdict is not None else None,
        warnings=[*pulled.warnings, *([] if verified else [detail])],
        more={
            "destination": _absolute(pulled.destination),
            "verified": verified,
            "verification": "VERIFIED" if verified else NOT_VERIFIED,
            "files": pulled.files,
            "totalBytes": pulled.total_bytes,
            "fetchedBytes": pulled.fetched_bytes,
            "copiedBytes": pulled.copied_bytes,
            "unchanged": pulled.unchanged,
            "warnings": list(pulled.warnings),
        },
    )


def _absolute(path: Path) -> str:
    return str(path.absolute())
