"""``ocimodel push``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocimodel.cli import material, options, registering, requiring, results, stamping, writers
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.sign import signature, signers
from ocimodel.cli.values import document, duration, signed_annotations
from ocimodel.errors import UsageError

if TYPE_CHECKING:
    from ocimodel.model.scan import ModelFile
    from ocimodel.record.record import Record

app = typer.Typer()

AttestScan = Annotated[
    str | None,
    options.option(
        "--attest-scan",
        metavar="MODE",
        help="Attach a signed scan for what could harm (report), or send nothing where it fails (refuse).",
    ),
]


@command(
    app,
    "push",
    event="push",
    examples="""
    ocimodel push ./bert registry.example/ml/bert:1.4
    ocimodel push ./bert registry.example/ml/bert:1.4 --key signing.key --expires 90d
    digest=$(ocimodel push ./bert oci:./models:bert --sign)
    ocimodel push ./bert registry.example/ml/bert:1.4 --key signing.key --format notation --certificate chain.pem
    ocimodel push ./bert registry.example/ml/bert:1.4 --from hf:./bert --from env --metadata model.yaml
    """,
)
def push(
    run: Run,
    directory: options.Directory,
    ref: options.Ref,
    sign: options.Sign = False,
    key: options.PushKey = None,
    password_file: options.PasswordFile = None,
    provenance: options.Provenance = None,
    metadata: options.Metadata = None,
    sources: options.Sources = None,
    annotation: options.Annotations = None,
    tag: options.Tags = None,
    expires: options.Expires = None,
    format: options.Format = "sigstore",  # noqa: A002
    certificate: options.Certificate = None,
    timestamp_url: stamping.Url = None,
    timestamp_root: stamping.Root = None,
    rehash: options.Rehash = False,
    chunk_algorithm: options.ChunkAlgorithm = "blake3",
    attest_scan: AttestScan = None,
    register: registering.Register = None,
    register_name: registering.RegisterName = None,
) -> Answer:
    """Pack a directory, upload it, sign it, and move the tag last.

    Prints REF@DIGEST. The same files give the same digest on every machine; what the registry has already is
    not sent again. --attest-scan looks into the files for what could harm whoever loads them. --register records
    the digest in a registry of models, once the push is done.
    """
    return send(
        run,
        directory,
        ref,
        how=How(
            sign=sign,
            key=key,
            password_file=password_file,
            provenance=provenance_of(provenance, metadata, sources or ()),
            annotations=annotation or (),
            tags=tag or (),
            expires=expires,
            format=format,
            certificate=certificate,
            timestamp_url=timestamp_url,
            timestamp_root=timestamp_root,
            rehash=rehash,
            chunk_algorithm=chunk_algorithm,
            attest_scan=attest_scan,
            register=register or (),
            register_name=register_name,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """The options of `push` and of `import`, as they were typed; ``provenance`` is the document itself."""

    sign: bool
    key: str | None
    password_file: Path | None
    provenance: bytes | None
    annotations: Sequence[str]
    tags: Sequence[str]
    expires: str | None
    format: str
    certificate: Path | None
    timestamp_url: str | None
    timestamp_root: Path | None
    rehash: bool
    chunk_algorithm: str
    attest_scan: str | None
    register: Sequence[str]
    register_name: str | None


def send(
    run: Run, what: "Path | Sequence[ModelFile]", ref: str, *, how: How, more: Mapping[str, Any] | None = None
) -> Answer:
    """Push, and say what came of it, and ``more``."""
    if how.chunk_algorithm not in ("blake3", "sha256"):
        raise UsageError(
            f"--chunk-algorithm {how.chunk_algorithm[:40]!r} is not known", hint="Write blake3 or sha256."
        )
    mode = results.scan_mode(how.attest_scan)
    from ocimodel.verbs.push import push

    reference = run.reference(ref)
    registries = registering.registries(run, reference, how.register, how.register_name)
    signing = how.sign or how.key is not None
    asked = how.annotations or how.expires or mode or how.certificate or stamping.typed(how.timestamp_url)
    if not signing and (asked or how.format != writers.DEFAULT):
        raise UsageError(
            "-a, --expires, --format, --certificate, --timestamp-url and --attest-scan need a key",
            hint="Add --key KEY, or leave them out.",
        )
    writer = writers.writer(run, how.format, how.certificate)
    if signing:
        requiring.refuse_push()
    signer = None
    if signing:
        found = material.signer(run, how.key, how.password_file, command=f"{run.command} --sign")
        signer = stamping.stamped(run, found, how.timestamp_url, how.timestamp_root)
    pushed = push(
        what,
        reference,
        access=run.access,
        meter=run.meter,
        signer=signer,
        writer=writer,
        annotations=signed_annotations(how.annotations),
        expires=duration(how.expires) if how.expires is not None else None,
        provenance=how.provenance,
        extra_tags=how.tags,
        rehash=how.rehash,
        chunk_algorithm=how.chunk_algorithm,
        attest_scan=mode,
        now=run.now,
    )
    signed, scan = pushed.signature, pushed.scan
    for line in [f"scan: {results.summary(scan)}", *results.findings(scan)] if scan is not None else []:
        run.note(line)
    answer = Answer(
        text=str(pushed.reference),
        reference=str(pushed.reference),
        digest=str(pushed.digest),
        signers=signers(signed) if signed is not None else None,
        more={
            "files": pushed.files,
            "totalBytes": pushed.total_bytes,
            "sentBytes": pushed.sent_bytes,
            "tags": list(dict.fromkeys(name for name in (pushed.reference.tag, *how.tags) if name)),
            "signature": signature(signed) if signed is not None else None,
            **({"scan": results.described(scan)} if scan is not None else {}),
            **({"attestation": signature(pushed.attestation)} if pushed.attestation is not None else {}),
            **(more or {}),
        },
    )
    return registering.registered(run, registries, pushed.reference, how.register_name, answer)


def provenance_of(
    given: str | None, metadata: str | None, sources: Sequence[str], beneath: "Record | None" = None
) -> bytes | None:
    """The document as it was given, or the record of what was named; None where nothing was.

    Args:
        beneath: what is known without being named; a document that was given stands for itself.
    """
    if metadata is None and not sources and (beneath is None or given is not None):
        return document(given, "--provenance") if given is not None else None
    if given is not None:
        raise UsageError(
            "--provenance is a whole document, and --metadata and --from make one", hint="Give one or the other."
        )
    from ocimodel.record.sources import gather

    data = document(metadata, "--metadata") if metadata is not None else None
    record = gather(sources, data, metadata or "")
    return (beneath.under(record) if beneath is not None else record).predicate()
