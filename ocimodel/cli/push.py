"""``ocimodel push``."""

from collections.abc import Sequence

import typer

from ocimodel.cli import material, options
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.sign import signature, signers
from ocimodel.cli.values import document, duration, signed_annotations
from ocimodel.errors import UsageError

app = typer.Typer()


@command(
    app,
    "push",
    event="push",
    examples="""
    ocimodel push ./bert registry.example/ml/bert:1.4
    ocimodel push ./bert registry.example/ml/bert:1.4 --key signing.key --expires 90d
    digest=$(ocimodel push ./bert oci:./models:bert --sign)
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
    rehash: options.Rehash = False,
    chunk_algorithm: options.ChunkAlgorithm = "blake3",
) -> Answer:
    """Pack a directory, upload it, sign it, and move the tag last.

    Prints REF@DIGEST. The same files give the same digest on every machine; what the registry has already is
    not sent again.
    """
    if chunk_algorithm not in ("blake3", "sha256"):
        raise UsageError(f"--chunk-algorithm {chunk_algorithm[:40]!r} is not known", hint="Write blake3 or sha256.")
    from ocimodel.verbs.push import push

    reference = run.reference(ref)
    signing = sign or key is not None
    if not signing and (annotation or expires):
        raise UsageError("-a and --expires are part of a signature", hint="Add --key KEY, or leave them out.")
    pushed = push(
        directory,
        reference,
        access=run.access,
        meter=run.meter,
        signer=material.signer(run, key, password_file, command="push --sign") if signing else None,
        annotations=signed_annotations(annotation or ()),
        expires=duration(expires) if expires is not None else None,
        provenance=_provenance(provenance, metadata, sources or ()),
        extra_tags=tag or (),
        rehash=rehash,
        chunk_algorithm=chunk_algorithm,
        now=run.now,
    )
    signed = pushed.signature
    return Answer(
        text=str(pushed.reference),
        reference=str(pushed.reference),
        digest=str(pushed.digest),
        signers=signers(signed) if signed is not None else None,
        more={
            "files": pushed.files,
            "totalBytes": pushed.total_bytes,
            "sentBytes": pushed.sent_bytes,
            "tags": list(dict.fromkeys(name for name in (pushed.reference.tag, *(tag or ())) if name)),
            "signature": signature(signed) if signed is not None else None,
        },
    )


def _provenance(given: str | None, metadata: str | None, sources: Sequence[str]) -> bytes | None:
    """The document as it was given, or the record of what was named; None where nothing was."""
    if metadata is None and not sources:
        return document(given, "--provenance") if given is not None else None
    if given is not None:
        raise UsageError(
            "--provenance is a whole document, and --metadata and --from make one", hint="Give one or the other."
        )
    from ocimodel.record.sources import gather

    data = document(metadata, "--metadata") if metadata is not None else None
    return gather(sources, data, metadata or "").predicate()
