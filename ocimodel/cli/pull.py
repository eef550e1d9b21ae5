"""``ocimodel pull``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ocimodel.cli import material, options, verdicts
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.values import one_of, pairs, rate
from ocimodel.errors import Reason, UsageError

if TYPE_CHECKING:
    from ocimodel.transfer.cache import Verify
    from ocimodel.verbs.pull import CacheMode, Pulled

app = typer.Typer()

NOT_VERIFIED = "NOT VERIFIED"
CACHE_MODES: tuple["CacheMode", ...] = ("auto", "copy", "link", "off")
CACHE_VERIFY: tuple["Verify", ...] = ("always", "fast")


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
    cache: options.CacheMode = None,
    cache_verify: options.CacheVerify = None,
    no_cache: options.NoCache = False,
    receipt: options.Receipt = None,
    provenance_out: options.ProvenanceOut = None,
    oms_out: options.OmsOut = None,
    name: options.As = None,
    enforce: options.Enforce = False,
    context: options.Context = None,
    max_rate: options.MaxRate = None,
) -> Answer:
    """Verify, fetch, check every byte, then make DIR appear.

    Prints DIR. A refused pull delivers nothing. Without --verify, --key or --policy nothing is known about who made
    the model, and the output says so.
    """
    reference = run.reference(ref)
    trust = material.trust(run, key or (), policy, enforce=enforce)
    if trust is None:
        run.partial = {"verified": False}
        if verify:
            raise UsageError("--verify needs a key or a policy", hint="Give --key PUB or --policy FILE.")
        if context:
            raise UsageError("--context is compared with what was signed", hint="Give --key PUB as well.")
    for directory in base or ():
        if not directory.is_dir():
            raise UsageError(f"--base {directory} is not a directory", hint="Name one that was pulled earlier.")
    run.context = pairs(context or (), "--context")
    from ocimodel.verbs.judging import judged_name
    from ocimodel.verbs.pull import pull

    judged_as = material.judged_as(name)
    material.under(run, trust, judged_name(reference, judged_as))

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
        cache="off" if no_cache else one_of(CACHE_MODES, cache, "--cache"),
        cache_verify=one_of(CACHE_VERIFY, cache_verify, "--cache-verify"),
        receipt=receipt,
        provenance_out=provenance_out,
        oms_out=oms_out,
        name=judged_as,
        context=run.context,
        max_rate=rate(max_rate) if max_rate is not None else None,
        now=run.now,
    )
    verdict = pulled.verdict
    verified = verdict is not None and verdict.outcome == "pass"
    return Answer(
        text=str(output),
        reference=str(pulled.reference),
        digest=str(pulled.reference.digest),
        **_judgement(run, pulled),
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


def _judgement(run: Run, pulled: "Pulled") -> dict[str, Any]:
    if pulled.verdict is not None:
        run.judged(pulled.verdict)
        said = verdicts.answered(pulled.verdict)
        return {**said, "warnings": [*said["warnings"], *pulled.warnings]}
    detail = f"{NOT_VERIFIED}: nothing is known about who made {pulled.reference}"
    return {
        "outcome": "warn",
        "klass": "trust",
        "reasons": (Reason("trust", "not-verified", detail),),
        "warnings": [*pulled.warnings, detail],
    }


def _absolute(path: Path) -> str:
    return str(path.absolute())
