"""``ocimodel attest REF …`` (that is, ``attest add``) and ``ocimodel attest show REF``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ocimodel.cli import material, options, results, stamping
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.sign import attached
from ocimodel.cli.text import table
from ocimodel.cli.values import document, from_environment
from ocimodel.errors import UsageError

if TYPE_CHECKING:
    from ocimodel.attest.testresult import Result
    from ocimodel.verbs.attest import Attestation

ADD = "add"


class DefaultsToAdd(TyperGroup):
    """``attest REF`` is ``attest add REF``: no reference is the name of a subcommand."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [ADD, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=DefaultsToAdd, help="Attach signed statements to an artifact, or show them: attest REF …, attest show REF."
)

Type = Annotated[
    str,
    options.option(
        "--type", metavar="URI", help="The predicate type, as https://slsa.dev/provenance/v1 or slsaprovenance1."
    ),
]
StatementFormat = Annotated[
    str, options.option("--format", metavar="FORMAT", help="sigstore (the default) or cosign-legacy.")
]
Predicate = Annotated[
    str | None, options.option("--predicate", metavar="FILE", help="The predicate (JSON); - is stdin.")
]


@command(
    app,
    ADD,
    called="attest",
    event="attest",
    examples="""
    ocimodel attest registry.example/ml/bert:1.4 --type https://example.com/evaluation/v1 \\
        --predicate evaluation.json --key evaluator.key
    ocimodel attest registry.example/ml/bert:1.4 --type cyclonedx --key builder.key
    ocimodel attest registry.example/ml/bert:1.4 --metrics eval.json --threshold 'accuracy>=0.9' --key evaluator.key
    ocimodel attest registry.example/ml/bert:1.4 --scan ./pulled --key evaluator.key --fail-on failed
    """,
)
def add(
    run: Run,
    ref: options.Ref,
    type: Type = "",  # noqa: A002
    predicate: Predicate = None,
    metrics: results.Metrics = None,
    threshold: results.Require = None,
    warn_threshold: results.Wish = None,
    thresholds: results.Thresholds = None,
    run_url: results.RunUrl = "",
    scan: results.Scan = None,
    fail_on: results.FailOn = None,
    key: options.SigningKey = None,
    password_file: options.PasswordFile = None,
    format: StatementFormat = "sigstore",  # noqa: A002
    timestamp_url: stamping.Url = None,
    timestamp_root: stamping.Root = None,
) -> Answer:
    """Attach a signed statement: attest REF --type URI --predicate FILE --key KEY.

    Prints REPO@DIGEST of the statement. With --metrics it is an in-toto test result: PASSED, WARNED or FAILED by
    the thresholds, and attached whichever it is; with --scan, one of a look for what could harm. With --type
    provenance, cyclonedx or spdx alone it is what the artifact says of itself: the provenance that it carries, the
    bill that `bom` prints; whoever signs it vouches for it. An attestation says something about an artifact; it is
    not a signature that pull or verify would accept.
    """
    from ocimodel.verbs.attest import attest

    reference = run.reference(ref)
    asked = results.Asked(
        metrics=metrics, require=threshold or (), wish=warn_threshold or (), file=thresholds, url=run_url
    )
    fatal = results.fatal(fail_on)
    result: Result | None = None
    if predicate is not None:
        if asked or fatal or scan is not None:
            raise UsageError(
                "--predicate is a whole statement", hint="Give it, or --metrics with thresholds, or --scan."
            )
        if not type:
            raise UsageError("--predicate needs its --type", hint="Write --type URI.")
        kind, data = type, document(predicate, "--predicate")
    elif type and not asked and not fatal and scan is None and not results.is_type(type):
        from ocimodel.verbs.bom import own_predicate

        kind = type
        reference, data = own_predicate(reference, type, run.access)
    else:
        reference, result = results.made(run, reference, type, asked, scan)
        kind, data = results.TYPE, result.predicate()
    own = material.signer(run, key, password_file, command="attest")
    signer = stamping.stamped(run, own, timestamp_url, timestamp_root)
    answer = attached(attest(reference, kind, data, signer, access=run.access, format=format))
    return answer if result is None else results.told(run, answer, result, fatal)


@command(
    app,
    "show",
    called="attest show",
    examples="""
    ocimodel attest show registry.example/ml/bert:1.4
    ocimodel attest show registry.example/ml/bert:1.4 --key evaluator.pub --json
    """,
)
def show(run: Run, ref: options.Ref, key: options.VerifyKeys = None) -> Answer:
    """Show the statements that are attached to an artifact, and which of them the given keys signed.

    Without --key nothing is verified. It never refuses: what a statement is worth is for a policy to say.
    """
    from ocimodel.keys.specs import load_public
    from ocimodel.verbs.attest import show

    keys = [load_public(spec) for spec in key or from_environment(options.VERIFY_KEY)]
    reference, found = show(run.reference(ref), keys=keys, access=run.access, now=run.now)
    rows = [
        (item.predicate_type, item.status, item.outcome or "-", item.keyid or "-", str(item.digest))
        for item in found
    ]
    return Answer(
        text="\n".join(table(("predicate type", "status", "result", "key id", "digest"), rows)),
        reference=str(reference),
        digest=str(reference.digest),
        more={"attestations": [_attestation(item) for item in found]},
    )


def _attestation(item: "Attestation") -> dict[str, Any]:
    return {
        "digest": str(item.digest),
        "predicateType": item.predicate_type,
        "keyid": item.keyid,
        "status": item.status,
        "detail": item.detail,
        "verified": item.verified,
        "predicate": item.statement.predicate,
    }
