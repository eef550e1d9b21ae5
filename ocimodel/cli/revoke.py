"""``ocimodel revoke key | digest``, and the commands of the key ring: ``key rotate`` and ``key retire``."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocimodel.cli import options
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.values import moment
from ocimodel.errors import FormatError, UsageError

if TYPE_CHECKING:
    from ocimodel.verbs.amending import Amendment

app = typer.Typer(help="Take trust back: revoke a key, or a digest, in a trust policy.")

Policy = Annotated[Path, options.option("--policy", metavar="FILE", help="The trust policy (JSON) to change.")]
Key = Annotated[str, options.argument("KEY", "A line of the policy's key ring: its name, its key id, or its file.")]
Reason = Annotated[str, options.option("--reason", metavar="TEXT", help="Why; verifiers print it.")]
Since = Annotated[
    str | None,
    options.option(
        "--compromised-since",
        metavar="TIME",
        help="From when on others may have signed with it; what a trusted time puts before that still counts.",
    ),
]
DigestArgument = Annotated[str, options.argument("DIGEST", "sha256:…, of a manifest.")]
ReplacedBy = Annotated[str | None, options.option("--replaced-by", metavar="NAME", help="What takes its place.")]
New = Annotated[str, options.option("--key", metavar="PUB", help="The new public key.")]
Name = Annotated[
    str | None,
    options.option("--name", metavar="NAME", help="What to call it; else its file's name."),
]


@command(
    app,
    "key",
    called="revoke key",
    event="revoke.key",
    network=False,
    examples="""
    ocimodel revoke key ci --policy prod.json --reason 'laptop stolen' --compromised-since 2026-11-01T00:00:00Z
    ocimodel revoke key ci.pub --policy prod.json --reason 'left the company'
    """,
)
def revoke_key(run: Run, key: Key, policy: Policy, reason: Reason, compromised_since: Since = None) -> Answer:
    """Revoke a key: nothing that it signed counts any more.

    Raises the policy's serial number. Nodes that take the policy signed take it once it has been signed again.
    """
    from ocimodel.trust.amending import revoke_line
    from ocimodel.verbs.amending import amend, name_of

    since = moment(compromised_since, "--compromised-since") if compromised_since is not None else None
    if not reason.strip():
        raise UsageError("--reason is empty", hint="Say why: whoever is refused will read it.")
    done = amend(
        policy,
        lambda document, before: revoke_line(
            document, name_of(before, key, _keyid(key)), reason.strip(), _now(run), since
        ),
    )
    _next(run, done, "sign again what is known to be good: ocimodel resign REPO --known-good FILE …")
    return _answer(done, policy)


@command(
    app,
    "digest",
    called="revoke digest",
    event="revoke.digest",
    network=False,
    examples="ocimodel revoke digest sha256:0123… --policy prod.json --reason 'trained on leaked data'",
)
def revoke_digest(
    run: Run, digest: DigestArgument, policy: Policy, reason: Reason, replaced_by: ReplacedBy = None
) -> Answer:
    """Revoke an artifact: it is refused in every mode, whoever signed it."""
    from ocimodel.oci.digest import Digest
    from ocimodel.trust.amending import revoke_digest
    from ocimodel.verbs.amending import amend

    try:
        pinned = str(Digest.parse(digest.rpartition("@")[2]))
    except FormatError as error:
        raise UsageError(f"{digest[:100]!r} is no digest: {error.what}", hint="Write sha256:… in full.") from None
    if not reason.strip():
        raise UsageError("--reason is empty", hint="Say why: whoever is refused will read it.")
    done = amend(
        policy, lambda document, _: revoke_digest(document, pinned, reason.strip(), _now(run), replaced_by or "")
    )
    _next(run, done)
    return _answer(done, policy)


ring = typer.Typer()
"""Commands that join those of ``ocimodel key``."""


@command(
    ring,
    "rotate",
    called="key rotate",
    event="key.rotate",
    network=False,
    examples="ocimodel key rotate ci --key ci-2027.pub --policy prod.json",
)
def rotate(run: Run, key: Key, policy: Policy, new: New, name: Name = None) -> Answer:
    """Let a new key take the place of one in a policy: the new one signs, the old one is retired.

    What the old key signed counts from now on only with a trusted time before this moment. Sign the rest again with
    the new key: ocimodel resign REPO --old-key PUB --key KEY. A key that was revoked stays so.
    """
    from ocimodel.keys.specs import load_public
    from ocimodel.trust.amending import rotate
    from ocimodel.verbs.amending import amend, name_of

    public = load_public(new)
    called = name or Path(new).name.removesuffix(".pub").removesuffix(".pem")
    done = amend(
        policy,
        lambda document, before: rotate(
            document, name_of(before, key, _keyid(key)), called, public.to_pem().decode(), _now(run)
        ),
    )
    _next(run, done, f"sign again what stays in use: ocimodel resign REPO --old-key OLD.pub --key {called}.key")
    return _answer(done, policy)


@command(
    ring,
    "retire",
    called="key retire",
    event="key.retire",
    network=False,
    examples="ocimodel key retire ci --policy prod.json",
)
def retire(run: Run, key: Key, policy: Policy, replaced_by: ReplacedBy = None) -> Answer:
    """Retire a key in a policy: it signs no more, and what a trusted time puts before this moment still counts."""
    from ocimodel.trust.amending import retire
    from ocimodel.verbs.amending import amend, name_of

    done = amend(
        policy,
        lambda document, before: retire(document, name_of(before, key, _keyid(key)), _now(run), replaced_by or ""),
    )
    _next(run, done)
    return _answer(done, policy)


def _keyid(said: str) -> str:
    """The id of the key in the file ``said``, where it is one."""
    if not Path(said).is_file():
        return ""
    from ocimodel.keys.specs import load_public

    return load_public(said).keyid


def _now(run: Run) -> datetime:
    return run.now


def _next(run: Run, done: "Amendment", *steps: str) -> None:
    """What is still to be done, where something was."""
    if not done.changes:
        return
    published = "give the file to the nodes; where they fetch it: ocimodel policy push FILE REF --key ROOTKEY"
    for step in (*steps, published):
        run.note(f"next: {step}")


def _answer(done: "Amendment", path: Path) -> Answer:
    more: dict[str, Any] = {
        "policy": str(path),
        "serial": done.policy.serial,
        "policyDigest": done.policy.digest,
        "changes": list(done.changes),
    }
    lines = list(done.changes) or ["nothing to change"]
    return Answer(
        text="\n".join([*lines, f"{path}  serial {done.policy.serial}"]), warnings=list(done.warnings), more=more
    )
