"""``ocimodel policy push``: a policy as an artifact that nodes fetch by a trust source."""

from pathlib import Path
from typing import Annotated

import typer

from ocimodel.cli import material, options
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.sign import signature, signers
from ocimodel.cli.values import duration
from ocimodel.errors import UsageError

app = typer.Typer()
"""Joins the commands of ``ocimodel policy``."""

File = Annotated[Path, options.argument("FILE", "The policy to publish.")]
SourceFile = Annotated[
    Path | None,
    options.option(
        "--source",
        metavar="FILE",
        help="The trust source that nodes have: the tag moves once enough of its root keys have signed.",
    ),
]


@command(
    app,
    "push",
    called="policy push",
    event="policy.push",
    examples="""
    ocimodel policy push prod.json registry.example/trust/prod:current --key root.key
    ocimodel policy push prod.json registry.example/trust/prod:current --key root-b.key --source trust.json
    """,
)
def push(
    run: Run,
    file: File,
    ref: options.Ref,
    key: options.SigningKey = None,
    password_file: options.PasswordFile = None,
    source: SourceFile = None,
    expires: options.Expires = None,
) -> Answer:
    """Publish a policy as an artifact, signed by a root key. Prints REF@DIGEST.

    Nodes whose trust source asks for several root keys take it once all have run this: with --source the tag stays
    until then. Nothing is published under a serial number that was given before.
    """
    from ocimodel.trust.source import OciSource
    from ocimodel.verbs.policy_push import push_policy
    from ocimodel.verbs.policy_source import read_source

    reference = run.reference(ref)
    found = read_source(source) if source is not None else None
    if source is not None and not isinstance(found, OciSource):
        raise UsageError(f"{source} is no trust source with root keys", hint="See docs/how-to/distribute-trust.md.")
    done = push_policy(
        file,
        reference,
        material.signer(run, key, password_file, command="policy push"),
        access=run.access,
        source=found if isinstance(found, OciSource) else None,
        expires=duration(expires) if expires is not None else None,
        now=run.now,
    )
    policy = done.policy
    run.policy = {"id": policy.id or None, "digest": policy.digest}
    waiting = f"the tag was not moved: {done.lacking}" if done.lacking else ""
    return Answer(
        text=str(done.reference),
        reference=str(done.reference),
        digest=str(done.reference.digest),
        outcome="warn" if waiting else "pass",
        signers=signers(done.signature),
        warnings=[waiting] if waiting else [],
        more={
            "policy": {"id": policy.id, "serial": policy.serial, "digest": policy.digest},
            "signature": signature(done.signature),
            "moved": not waiting,
        },
    )
