"""``ocimodel approve``."""

from typing import Annotated

import typer

from ocimodel.cli import material, options, stamping
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.sign import attached
from ocimodel.cli.values import duration

app = typer.Typer()

Comment = Annotated[str, options.option("--comment", metavar="TEXT", help="Is signed along.")]


@command(
    app,
    "approve",
    event="approve",
    examples="""
    ocimodel approve registry.example/staging/fraud@sha256:… --key alice.key --comment "bias report read"
    """,
)
def approve(
    run: Run,
    ref: options.Ref,
    key: options.SigningKey = None,
    password_file: options.PasswordFile = None,
    comment: Comment = "",
    expires: options.Expires = None,
    timestamp_url: stamping.Url = None,
    timestamp_root: stamping.Root = None,
) -> Answer:
    """Attach a person's signed approval, which a policy can ask for.

    Prints REPO@DIGEST of the approval. It is not a signature that pull or verify would accept.
    """
    from ocimodel.verbs.approve import approve

    reference = run.reference(ref)
    own = material.signer(run, key, password_file, command="approve")
    signer = stamping.stamped(run, own, timestamp_url, timestamp_root)
    ends = duration(expires) if expires is not None else None
    return attached(approve(reference, signer, access=run.access, comment=comment, expires=ends, now=run.now))
