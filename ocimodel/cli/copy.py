"""``ocimodel copy``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocimodel.cli import copying, options, sharing
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.text import plural, size, table
from ocimodel.errors import (
    SEVERITY,
    OcimodelError,
    UsageError,
)

if TYPE_CHECKING:
    from ocimodel.oci.reference import Reference
    from ocimodel.verbs.copy import Copied, Copier

app = typer.Typer()

Src = Annotated[
    str | None, options.argument("SRC", "What is copied; with --all-tags a repository; with --from-file nothing.")
]
Dst = Annotated[
    str | None,
    options.argument("DST", "Where it goes; without a tag under that of SRC. With --from-file a prefix."),
]
AllTags = Annotated[bool, options.option("--all-tags", help="Copy every tag of the repository SRC.")]
FromFile = Annotated[
    str | None,
    options.option(
        "--from-file",
        metavar="FILE",
        help="Copy what each line says: SRC DST, or SRC alone, which then goes below the prefix DST; - is stdin.",
    ),
]


@command(
    app,
    "copy",
    event="copy",
    examples="""
    ocimodel copy registry.example/ml/bert:1.4 mirror.example/ml/bert
    ocimodel copy registry.example/ml/bert:1.4 oci:./models:bert --key signing.pub
    ocimodel copy registry.example/ml/bert mirror.example/ml/bert --all-tags --dry-run
    ocimodel copy --from-file models.txt mirror.example/ml
    ocimodel copy --from-file models.txt mirror.example/ml --shard 0/4
    """,
)
def copy(
    run: Run,
    src: Src = None,
    dst: Dst = None,
    verify: options.Verify = False,
    key: options.VerifyKeys = None,
    policy: options.PolicyFile = None,
    name: options.As = None,
    enforce: options.Enforce = False,
    context: options.Context = None,
    referrers: copying.Referrers = None,
    no_referrers: copying.NoReferrers = False,
    all_tags: AllTags = False,
    from_file: FromFile = None,
    shard: sharing.ShardOption = None,
    shards: sharing.Shards = None,
    dry_run: copying.DryRun = False,
) -> Answer:
    """Copy an artifact with all that refers to it, under the same digest.

    Prints DST@DIGEST, a line for each. Blobs that the target has are not sent again; within one registry none is
    sent at all. The tag moves last, so a copy that was interrupted is run again.
    """
    from ocimodel.verbs.copy import Copier

    judge = copying.judge(run, key or (), policy, name, context or (), enforce=enforce, verify=verify)
    wanted = copying.filtered(referrers or (), none=no_referrers)
    mine = sharing.share(run, shard, shards)
    with Copier(run.access, judge=judge, wanted=wanted, dry_run=dry_run, meter=run.meter, now=run.now) as copier:
        found = _Batch(run, dry_run=dry_run)
        pairs = [
            pair
            for pair in _pairs(run, copier, src, dst, all_tags=all_tags, from_file=from_file)
            if mine.owns(_place(*pair))
        ]
        for source, outcome in copier.copy_all(pairs):
            found.add(source, outcome)
    return found.answer()


class _Batch:
    """What became of each artifact. One that is refused or missing does not keep the others."""

    def __init__(self, run: Run, *, dry_run: bool) -> None:
        self._run = run
        self._dry_run = dry_run
        self._copies: list[Copied] = []
        self._failures: list[tuple[Reference, OcimodelError]] = []
        run.explain = lambda _failure: self._partial()

    def add(self, source: "Reference", outcome: "Copied | OcimodelError") -> None:
        if isinstance(outcome, OcimodelError):
            self._failures.append((source, outcome))
        else:
            self._copies.append(outcome)

    def answer(self) -> Answer:
        """Raises the most serious failure, where there is one."""
        if self._failures:
            raise self._worst()
        done = self._copies
        only = done[0] if len(done) == 1 else None
        return Answer(
            text="\n".join(self._lines()),
            reference=str(only.target) if only else None,
            digest=str(only.digest) if only else None,
            **copying.judgement(
                self._run,
                [copied.verdict for copied in done if copied.verdict is not None],
                [warning for copied in done for warning in copied.warnings],
            ),
            more=self._members(),
        )

    def _worst(self) -> OcimodelError:
        source, worst = min(self._failures, key=lambda failure: _rank(failure[1]))
        if len(self._failures) > 1 or self._copies:
            for other, error in self._failures:
                if error is not worst:
                    self._run.warn(f"{other}: {error.message}")
            total = len(self._failures) + len(self._copies)
            worst.message = f"{len(self._failures)} of {total} not copied; {source}: {worst.message}"
        return worst

    def _partial(self) -> Answer | None:
        """What was copied before or beside a failure."""
        if not self._copies and not self._failures:
            return None
        return Answer(text="\n".join(self._lines()), more=self._members())

    def _lines(self) -> Iterator[str]:
        if not self._dry_run:
            yield from (str(copied.target) for copied in self._copies)
            return
        rows = [
            (
                str(copied.target),
                str(len(copied.plan.closure.pieces)),
                str(len(copied.plan.missing)),
                size(copied.plan.missing_bytes),
                size(copied.plan.present_bytes),
            )
            for copied in self._copies
        ]
        if rows:
            yield from table(("target", "manifests", "missing blobs", "size", "there"), rows, right=(1, 2, 3, 4))
        sent, mounted = (
            sum(copied.plan.missing_bytes for copied in self._copies if copied.within == within)
            for within in (False, True)
        )
        within = f", {size(mounted)} to mount within the registry" if mounted else ""
        yield f"dry run: {plural(len(rows), 'artifact')}, {size(sent)} to send{within}, nothing written"

    def _members(self) -> dict[str, Any]:
        return {
            "dryRun": self._dry_run,
            "copies": [copying.copied_facts(copied) for copied in self._copies],
            "failures": [
                {
                    "source": str(source),
                    "exitCode": error.exit_code,
                    "reason": error.reason,
                    "detail": error.message,
                }
                for source, error in self._failures
            ],
        }


def _place(source: "Reference", target: "Reference") -> str:
    """What decides which share a copy belongs to: those that go to one place stay in one process, in order."""
    return f"{target.name}:{target.tag or source.tag or source.digest or ''}"


def _rank(error: OcimodelError) -> int:
    return SEVERITY.index(error.exit_code) if error.exit_code in SEVERITY else len(SEVERITY)


def _pairs(
    run: Run, copier: "Copier", src: str | None, dst: str | None, *, all_tags: bool, from_file: str | None
) -> "Iterator[tuple[Reference, Reference]]":
    from ocimodel.oci.reference import Reference
    from ocimodel.verbs.copy import beneath

    if from_file is not None:
        if all_tags or dst is not None:
            raise UsageError("--from-file names what is copied", hint="Give at most a prefix besides: HOST/PREFIX.")
        prefix = Reference.parse(src) if src is not None else None
        run.requested = from_file
        for words in sharing.lines(from_file, most=2, wanted="SRC DST"):
            source = Reference.parse(words[0])
            if len(words) == 2:
                yield source, Reference.parse(words[1])
            elif prefix is not None:
                yield source, beneath(prefix, source)
            else:
                raise UsageError(
                    f"--from-file {from_file}: {words[0]} has no target", hint="Write SRC DST, or give a prefix."
                )
        return
    if src is None or dst is None:
        raise UsageError("copy needs SRC and DST", hint="See ocimodel copy --help.")
    target = run.reference(dst)
    source = Reference.parse(src)
    if not all_tags:
        yield source, target
        return
    if source.tag or source.digest or target.tag or target.digest:
        raise UsageError("--all-tags copies a repository", hint="Give SRC and DST without tags and digests.")
    for tag in copier.tags(source):
        yield source.tagged(tag), target.tagged(tag)
