"""``ocimodel import``."""

from typing import Annotated

import typer

from ocimodel.cli import options, registering, stamping
from ocimodel.cli.command import command
from ocimodel.cli.push import AttestScan, How, provenance_of, send
from ocimodel.cli.run import Answer, Run

app = typer.Typer()

Source = Annotated[str, options.argument("SOURCE", "hf:DIR, hf:ORG/NAME[@REVISION], ollama:DIR:NAME[:TAG].")]
NoOrigin = Annotated[
    bool, options.option("--no-origin", help="Do not record where it comes from: the digest is then that of push.")
]


@command(
    app,
    "import",
    event="import",
    examples="""
    ocimodel import hf:openai-community/gpt2 registry.example/ml/gpt2:1
    ocimodel import hf:/data/hub/models--org--bert@v1.0 oci:./models:bert --key signing.key
    ocimodel import ollama:llama3.2:1b registry.example/ml/llama3.2:1b
    ocimodel import ollama:/usr/share/ollama/.ollama/models:llama3.2:1b oci:./models:llama
    """,
)
def import_(
    run: Run,
    source: Source,
    ref: options.Ref,
    sign: options.Sign = False,
    key: options.PushKey = None,
    password_file: options.PasswordFile = None,
    provenance: options.Provenance = None,
    metadata: options.Metadata = None,
    sources: options.Sources = None,
    no_origin: NoOrigin = False,
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
    """Push a model from where Hugging Face or Ollama keeps it on this disk.

    Prints REF@DIGEST, as push does. Nothing is copied but into the store, and each file has to be what the cache
    says it is. The repository and its commit, or the name and the digest of Ollama's manifest, are recorded.
    """
    from ocimodel.verbs.importing import find, origin

    kept = find(source)
    run.note(f"{len(kept.files)} files of {kept.name}, {kept.version}, as {kept.keeper} keeps them")
    beneath = None if no_origin else origin(kept)
    imported = {
        "name": kept.name,
        "version": kept.version,
        "uri": kept.uri,
        "digest": dict(kept.digest),
        "keeper": kept.keeper,
    }
    return send(
        run,
        kept.files,
        ref,
        how=How(
            sign=sign,
            key=key,
            password_file=password_file,
            provenance=provenance_of(provenance, metadata, sources or (), beneath),
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
        more={"imported": imported},
    )
