"""``ocimodel resign``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocimodel.cli import material, options, stamping
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.text import plural, table
from ocimodel.cli.values import document, duration, moment
from ocimodel.errors import FormatError, Reason, UsageError

if TYPE_CHECKING:
    from ocimodel.oci.digest import Digest
    from ocimodel.verbs.resign import Resigned

app = typer.Typer()

OldKey = Annotated[
    str, options.option("--old-key", metavar="PUB", help="The public key whose signatures are made again.")
]
Before = Annotated[
    str | None,
    options.option(
        "--before", metavar="TIME", help="Of a stolen key: what a trusted time puts before this is good too."
    ),
]
KnownGood = Annotated[
    str | None,
    options.option(
        "--known-good",
        metavar="FILE",
        help="Of a stolen key: digests, or pinned references, one a line; - is stdin.",
    ),
]
OfPolicy = Annotated[
    str | None,
    options.option(
        "--policy",
        metavar="FILE",
        variable="OCIMODEL_RESIGN_POLICY",
        help="Tells whether the old key is revoked, what else is, and whose times count.",
    ),
]
Expires = Annotated[
    str | None,
    options.option("--expires", metavar="90d", help="How long the new signatures are good for, else as the old."),
]
Statements = Annotated[
    bool, options.option("--attestations", help="Sign the attestations by the old key again as well.")
]
DryRun = Annotated[bool, options.option("--dry-run", help="Say what would be signed, and sign nothing.")]


@command(
    app,
    "resign",
    event="resign",
    examples="""
    ocimodel resign registry.example/ml/bert --old-key ci.pub --key ci-2027.key --dry-run
    ocimodel resign registry.example/ml/bert --old-key ci.pub --key ci-2027.key --expires 90d
    ocimodel resign registry.example/ml/bert --old-key stolen.pub --key new.key --known-good good.txt
    """,
)
def resign(
    run: Run,
    repo: options.Repo,
    old_key: OldKey,
    key: options.SigningKey = None,
    password_file: options.PasswordFile = None,
    policy: OfPolicy = None,
    before: Before = None,
    known_good: KnownGood = None,
    expires: Expires = None,
    timestamp_url: stamping.Url = None,
    timestamp_root: stamping.Root = None,
    attestations: Statements = False,
    dry_run: DryRun = False,
) -> Answer:
    """Sign with a new key what an old one has signed: all artifacts that the tags of a repository name.

    Only good signatures by the old key are made again, with what they claim; the old ones stay. Where the old key
    was stolen (--policy says so, or one of --before and --known-good is given), only what is known to be good is
    signed. Prints one line an artifact.
    """
    from ocimodel.keys.specs import load_public
    from ocimodel.verbs import resign as verb

    reference = run.reference(repo)
    wish = verb.Wish(
        reference=reference,
        old=load_public(old_key),
        signer=stamping.stamped(
            run, material.signer(run, key, password_file, command="resign"), timestamp_url, timestamp_root
        ),
        policy=material.policy_file(run, Path(policy)) if policy is not None else None,
        known_good=_digests(known_good) if known_good is not None else None,
        before=moment(before, "--before") if before is not None else None,
        expires=duration(expires) if expires is not None else None,
        attestations=attestations,
        dry_run=dry_run,
    )
    done = verb.resign(wish, access=run.access, now=run.now)
    left = [item for item in done if item.outcome == "left"]
    shown = [item for item in done if item.outcome != "none"]
    counts = {word: sum(item.outcome == word for item in done) for word in ("signed", "present", "left")}
    would = "would be signed" if dry_run else "signed"
    summary = f"{plural(counts['signed'], 'artifact')} {would}, {counts['present']} already, {counts['left']} left"
    rows = [(str(item.digest), ",".join(item.tags) or "-", _word(item, would), item.why or "-") for item in shown]
    lines = [*table(("digest", "tags", "result", "why"), rows), ""] if rows else []
    return Answer(
        text="\n".join([*lines, summary]),
        reference=str(reference),
        outcome="warn" if left else "pass",
        klass="trust" if left else "none",
        reasons=tuple(Reason("trust", "not-resigned", f"{item.digest}: {item.why}") for item in left),
        warnings=[f"{item.digest} was not signed: {item.why}" for item in left],
        signers=[
            {
                "keyid": wish.signer.public.keyid,
                "identity": "",
                "format": "sigstore",
                "status": "created",
                "digest": str(digest),
            }
            for item in done
            for digest in item.signatures
        ],
        more={"artifacts": [_described(item) for item in done], "dryRun": dry_run},
    )


def _word(item: "Resigned", would: str) -> str:
    return would if item.outcome == "signed" else item.outcome


def _described(item: "Resigned") -> dict[str, Any]:
    return {
        "digest": str(item.digest),
        "tags": list(item.tags),
        "outcome": item.outcome,
        "why": item.why or None,
        "signatures": [str(digest) for digest in item.signatures],
    }


def _digests(path: str) -> "frozenset[Digest]":
    """One a line: digests, or references with one; what follows ``#`` is a remark."""
    from ocimodel.oci.digest import Digest

    found = set()
    try:
        lines = document(path, "--known-good").decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"--known-good {path} is no text", hint="Write one digest a line.") from None
    for number, line in enumerate(lines, 1):
        said = line.partition("#")[0].strip()
        try:
            found |= {Digest.parse(said.rpartition("@")[2])} if said else set()
        except FormatError as error:
            raise UsageError(
                f"--known-good {path}, line {number}: {error.what}", hint="Write one digest a line: sha256:…"
            ) from None
    return frozenset(found)
