"""``ocimodel verify``."""

from pathlib import Path
from typing import Annotated

import typer

from ocimodel.cli import material, options, verdicts
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.values import pairs
from ocimodel.errors import OcimodelError, Refusal, UsageError
from ocimodel.oci.reference import LAYOUT_PREFIX, Reference

app = typer.Typer()

From = Annotated[
    str | None,
    options.option("--ref", metavar="REF", help="What the directory was pulled from, where there is no receipt."),
]
Offline = Annotated[
    bool, options.option("--offline", help="Refuse to use the network: directories by receipt, and layouts.")
]


@command(
    app,
    "verify",
    event="verify",
    examples="""
    ocimodel verify registry.example/ml/bert:1.4 --key signing.pub
    ocimodel verify ./bert --key signing.pub              # pulled earlier; needs no network
    ocimodel verify oci:./models:bert --key a.pub --key b.pub --full
    """,
)
def verify(
    run: Run,
    subject: options.RefOrDirectory,
    key: options.VerifyKeys = None,
    policy: options.PolicyFile = None,
    full: options.Full = False,
    name: options.As = None,
    ref: From = None,
    context: options.Context = None,
    enforce: options.Enforce = False,
    offline: Offline = False,
) -> Answer:
    """Verify an artifact where it is, or a directory that was pulled earlier.

    Prints one line a check, then the verdict. Exits with 0 only if everything holds; the other codes say why not.
    """
    directory = None if subject.startswith(LAYOUT_PREFIX) or not Path(subject).is_dir() else Path(subject)
    reference = _reference(run, subject, directory, ref)
    run.explain = lambda failure: _refused(failure, subject)
    trust = material.trust(run, key or (), policy, enforce=enforce, offline=offline)
    if trust is None:
        raise UsageError("verify needs a key or a policy", hint="Give --key PUB or --policy FILE.")
    if offline and reference is not None and not reference.is_layout:
        raise UsageError(
            f"--offline, but {reference.name} is in a registry", hint="Verify a pulled directory, or a layout."
        )
    run.context = pairs(context or (), "--context")
    judged_as = material.judged_as(name)
    from ocimodel.verbs.judging import judged_name, path_name

    asked = judged_name(reference, judged_as) if reference else judged_as or path_name(Path(subject))
    material.under(run, trust, asked)

    if directory is not None:
        from ocimodel.verbs.verify_directory import verify_directory

        found = verify_directory(
            directory,
            policy=trust,
            access=run.access,
            reference=reference,
            name=judged_as,
            context=run.context,
            full=full,
            offline=offline,
            now=run.now,
            meter=run.meter,
        )
    else:
        assert reference is not None
        from ocimodel.verbs.verify import verify_artifact

        found = verify_artifact(
            reference,
            policy=trust,
            access=run.access,
            context=run.context,
            name=judged_as,
            full=full,
            offline=offline,
            now=run.now,
            meter=run.meter,
        )
    run.judged(found.verdict)
    lines = [verdicts.check_line(check.name, check.outcome, check.detail) for check in found.checks]
    return Answer(
        text="\n".join([*lines, verdicts.verdict_line(found.verdict, found.reference)]),
        reference=found.reference,
        digest=str(found.digest),
        **verdicts.answered(found.verdict),
        more={
            "checks": [
                {"name": check.name, "outcome": check.outcome, "detail": check.detail} for check in found.checks
            ]
        },
    )


def _reference(run: Run, subject: str, directory: Path | None, ref: str | None) -> Reference | None:
    if directory is None:
        if ref is not None:
            raise UsageError(
                "--ref says what a directory was pulled from", hint=f"There is no directory {subject}."
            )
        if subject.startswith(("/", ".", "~")):  # nobody means a registry by that
            raise UsageError(f"there is no directory {subject}", hint="Name a pulled directory, or write oci:PATH.")
        try:
            return run.reference(subject)
        except UsageError as error:
            if subject.startswith(LAYOUT_PREFIX):
                raise
            raise UsageError(
                f"there is no directory {subject}, and as a reference: {error}", hint=error.hint
            ) from None
    run.requested = subject
    return run.reference(ref) if ref is not None else None


def _refused(failure: OcimodelError, subject: str) -> Answer | None:
    """A refused verification answers as well: what failed, then the verdict."""
    if not isinstance(failure, Refusal):
        return None
    lines = verdicts.refusal_lines(failure)
    checks = [{"name": reason.reason, "outcome": "fail", "detail": reason.detail} for reason in failure.reasons]
    verdict = f"REFUSED {subject} (exit code {failure.exit_code}, {failure.reason})"
    return Answer(text="\n".join([*lines, verdict]), more={"checks": checks})
