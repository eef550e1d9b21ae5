"""``ocimodel bundle save``, ``bundle load`` and ``bundle list``: artifacts for networks that are closed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocimodel.cli import options
from ocimodel.cli.command import command
from ocimodel.cli.copying import DryRun, NoReferrers, Referrers, bytes_of, copied_facts, filtered, judge, judgement
from ocimodel.cli.run import Answer, Run
from ocimodel.errors import FormatError, UsageError

if TYPE_CHECKING:
    from ocimodel.oci.digest import Digest

app = typer.Typer(help="Carry artifacts into a closed network, in a file.")

MAX_LISTING = 64 * 1024 * 1024

Words = Annotated[list[str], options.argument("REF… FILE", "What is saved, and the file that is written.")]
File = Annotated[Path, options.argument("FILE", "What bundle save wrote; of several parts any.")]
Trust = Annotated[
    list[Path] | None,
    options.option("--trust", metavar="FILE", help="A policy or a public key that travels along (repeatable)."),
]
Split = Annotated[
    str | None,
    options.option("--split", metavar="SIZE", help="Write parts FILE.000, FILE.001 … of this size: 4GB, 650MiB."),
]
Have = Annotated[
    list[Path] | None,
    options.option(
        "--have",
        metavar="FILE",
        help="Leave out blobs that are in this bundle, or in a list of digests (bundle list; repeatable).",
    ),
]
To = Annotated[
    str | None,
    options.option("--to", metavar="HOST/PREFIX|oci:PATH", help="Where it goes; else a layout named after FILE."),
]
TrustDigest = Annotated[
    list[str] | None,
    options.option(
        "--trust-digest",
        metavar="DIGEST",
        help="Verify by the policy or key in the bundle that has this digest, known from elsewhere (repeatable).",
    ),
]
TrustOut = Annotated[
    Path | None,
    options.option("--trust-out", metavar="DIR", help="Write the policies and keys of the bundle here."),
]


@command(
    app,
    "save",
    called="bundle save",
    event="bundle.save",
    examples="""
    ocimodel bundle save registry.example/ml/bert:1.4 bert.tar --trust policy.json
    ocimodel bundle save registry.example/ml/bert:1.4 registry.example/ml/fraud:v2 both.tar --split 4GB
    ocimodel bundle save registry.example/ml/bert:1.5 update.tar --have bert.tar --key signing.pub
    """,
)
def save(
    run: Run,
    words: Words,
    trust: Trust = None,
    split: Split = None,
    have: Have = None,
    verify: options.Verify = False,
    key: options.VerifyKeys = None,
    policy: options.PolicyFile = None,
    name: options.As = None,
    enforce: options.Enforce = False,
    context: options.Context = None,
    referrers: Referrers = None,
    no_referrers: NoReferrers = False,
) -> Answer:
    """Save artifacts, with all that refers to them, into one file: an OCI layout in a tar.

    Prints REF@DIGEST, a line for each. The same artifacts make the same file. A save that was interrupted is run
    again, and carries on.
    """
    from ocimodel.oci.reference import Reference
    from ocimodel.verbs import trust_material
    from ocimodel.verbs.bundle_save import save

    if len(words) < 2:
        raise UsageError("bundle save needs REF and FILE", hint="See ocimodel bundle save --help.")
    *refs, file = words
    run.reference(refs[0])
    if "/" not in file and ":" in file:
        raise UsageError(f"{file} does not look like a file", hint="The last word is the file that is written.")
    judged = judge(run, key or (), policy, name, context or (), enforce=enforce, verify=verify)
    saved = save(
        [Reference.parse(ref) for ref in refs],
        Path(file),
        access=run.access,
        judge=judged,
        wanted=filtered(referrers or (), none=no_referrers),
        have=_had(have or ()),
        trust=trust_material.read(trust or ()),
        split=bytes_of(split, "--split") if split is not None else None,
        meter=run.meter,
        now=run.now,
    )
    trusted = {name.removeprefix("trust/"): digest for name, digest in saved.bundle.files.items() if "/" in name}
    for called, digest in trusted.items():
        run.note(f"trust material {called} {digest}: tell the other side this digest by another way")
    only = saved.references[0] if len(saved.references) == 1 else None
    return Answer(
        text="\n".join(str(reference) for reference in saved.references),
        reference=str(only) if only else None,
        digest=str(only.digest) if only else None,
        **judgement(run, saved.verdicts, saved.warnings),
        more={
            "artifacts": [str(reference) for reference in saved.references],
            "files": [str(path) for path in saved.files],
            "totalBytes": saved.total_bytes,
            "readBytes": saved.read_bytes,
            "leftOutBytes": saved.left_out_bytes,
            "blobs": saved.blobs,
            "manifests": saved.manifests,
            "trust": _trust(trusted),
        },
    )


@command(
    app,
    "load",
    called="bundle load",
    event="bundle.load",
    examples="""
    ocimodel bundle load bert.tar --to registry.inside.example/models --key signing.pub
    ocimodel bundle load bert.tar --to oci:./models --policy policy.json --as registry.example/ml/bert
    ocimodel bundle load bert.tar --dry-run
    """,
)
def load(
    run: Run,
    file: File,
    to: To = None,
    trust_digest: TrustDigest = None,
    trust_out: TrustOut = None,
    verify: options.Verify = False,
    key: options.VerifyKeys = None,
    policy: options.PolicyFile = None,
    name: options.As = None,
    enforce: options.Enforce = False,
    context: options.Context = None,
    dry_run: DryRun = False,
) -> Answer:
    """Check a bundle, and load what is in it into a registry or a layout.

    Prints TARGET@DIGEST, a line for each. Nothing is written unless the bundle is as it was saved, and no tag moves
    before every byte was checked. Below HOST/PREFIX the repositories keep their names.
    """
    from ocimodel.oci.reference import LAYOUT_PREFIX, Reference
    from ocimodel.verbs.bundle_load import load

    target = Reference.parse(to) if to is not None else Reference.parse(f"{LAYOUT_PREFIX}{_stem(file)}")
    run.requested = str(file)
    digests = [_digest(text) for text in trust_digest or ()]
    if digests and (key or policy is not None):
        raise UsageError("--trust-digest, --key and --policy all say whom to trust", hint="Give one of them.")
    judged = None
    if not digests:
        judged = judge(run, key or (), policy, name, context or (), enforce=enforce, verify=verify)
    loaded = load(
        file,
        target,
        access=run.access,
        judge=judged,
        trust=digests,
        trust_out=trust_out,
        dry_run=dry_run,
        meter=run.meter,
        now=run.now,
    )
    if loaded.policy is not None and loaded.policy.digest:
        run.policy = {"id": loaded.policy.id or None, "digest": loaded.policy.digest}
    for called, digest in loaded.trust.items():
        if digest not in digests:
            run.note(f"the bundle carries trust material {called} {digest}, which was not used")
    copies = loaded.copies
    only = copies[0] if len(copies) == 1 else None
    run.name = only.target.name if only else None
    verdicts_ = [copied.verdict for copied in copies if copied.verdict is not None]
    return Answer(
        text="\n".join(str(copied.target) for copied in copies),
        reference=str(only.target) if only else None,
        digest=str(only.digest) if only else None,
        **judgement(run, verdicts_, [warning for copied in copies for warning in copied.warnings]),
        more={
            "dryRun": dry_run,
            "copies": [copied_facts(copied) for copied in copies],
            "trust": _trust(loaded.trust),
            "trustOut": str(trust_out) if trust_out is not None and not dry_run else None,
        },
    )


@command(
    app,
    "list",
    called="bundle list",
    network=False,
    examples="""
    ocimodel bundle list bert.tar > there.txt
    """,
)
def list_(run: Run, file: File) -> Answer:
    """List the digests of all that who has loaded a bundle has, one a line, for --have of the next one."""
    from ocimodel.verbs.bundle_load import listing

    run.requested = str(file)
    blobs, artifacts = listing(file)
    return Answer(
        text="\n".join(str(digest) for digest in sorted(blobs)),
        more={
            "artifacts": [str(artifact) for artifact in artifacts],
            "blobs": [{"digest": str(digest), "size": count} for digest, count in sorted(blobs.items())],
        },
    )


def _had(files: Sequence[Path]) -> "set[Digest]":
    """Digests from bundles and from lists."""
    from ocimodel.oci.digest import Digest
    from ocimodel.verbs.bundle_load import listing

    found: set[Digest] = set()
    for path in files:
        text = _listed(path)
        if text is None:
            found.update(listing(path)[0])
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip() and not line.startswith("#"):
                try:
                    found.add(Digest.parse(line.split()[0]))
                except FormatError as error:
                    raise UsageError(
                        f"--have {path}, line {number}: {error.what}",
                        hint="Give a bundle, or what its list is.",
                    ) from None
    return found


def _listed(path: Path) -> str | None:
    """The text of a list of digests; None for a bundle."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
            if not head.startswith((b"sha256:", b"sha512:", b"#")):
                return None
            data = head + file.read(MAX_LISTING)
    except FileNotFoundError:
        return None  # it may be in parts
    except OSError as error:
        raise UsageError(f"cannot read --have {path}: {error.strerror or error}", hint="Check the path.") from None
    if len(data) > MAX_LISTING:
        raise UsageError(f"--have {path} has more than 64 MiB", hint="Give bundles, or a shorter list.")
    return data.decode("utf-8", "replace")


def _digest(text: str) -> "Digest":
    from ocimodel.oci.digest import Digest

    try:
        return Digest.parse(text)
    except FormatError as error:
        raise UsageError(f"--trust-digest: {error.what}", hint="bundle save prints it.") from None


def _stem(file: Path) -> str:
    """Beside the bundle, named after it."""
    name = file.name
    for ending in (".parts.json", ".000"):
        name = name.removesuffix(ending)
    stem = name.removesuffix(".tar")
    return str(file.with_name(stem if stem != name else f"{name}.layout"))


def _trust(files: "dict[str, Digest]") -> list[dict[str, Any]]:
    return [{"name": name, "digest": str(digest)} for name, digest in sorted(files.items())]
