"""The options and arguments, each described once. Every option can also be given as ``OCIMODEL_<OPTION>``."""

from pathlib import Path
from typing import Annotated, Any

import typer

ENVIRONMENT_PREFIX = "OCIMODEL_"
SIGNING_KEY = "OCIMODEL_SIGNING_KEY"
VERIFY_KEY = "OCIMODEL_VERIFY_KEY"
POLICY = "OCIMODEL_POLICY"

READ_BY_COMMAND = "[env var: "
"""How help names a variable that the command reads by itself."""


def option(*names: str, help: str, metavar: str | None = None, variable: str | None = "") -> Any:  # noqa: A002
    """An option and the variable that stands for it.

    Args:
        variable: another name than the option's own; None where a command reads the variable itself.
    """
    long = next(name for name in names if name.startswith("--"))
    own = ENVIRONMENT_PREFIX + long.removeprefix("--").replace("-", "_").upper()
    return typer.Option(
        *names,
        help=help,
        metavar=metavar,
        envvar=own if variable == "" else variable,
        show_default=False,
    )


def argument(metavar: str, help: str) -> Any:  # noqa: A002
    """A positional argument."""
    return typer.Argument(metavar=metavar, help=help, show_default=False)


# --- what every command has -----------------------------------------------------------------------------------

Json = Annotated[bool, option("--json", help="Print one JSON document (see schemas/) instead of text.")]
Quiet = Annotated[bool, option("--quiet", "-q", help="No progress and no notes; warnings and errors stay.")]
Debug = Annotated[bool, option("--debug", help="Show the traceback of an error.")]
PlainHttp = Annotated[
    list[str] | None,
    option("--plain-http", metavar="HOST", help="Speak plain HTTP to this host (repeatable)."),
]
CaFile = Annotated[
    Path | None,
    option("--ca-file", metavar="FILE", help="Trust this certificate authority (PEM) besides the system's."),
]

RegistryConfig = Annotated[
    Path | None,
    option(
        "--registry-config", metavar="DIR", help="Mirrors by host: DIR/HOST/hosts.toml, as containerd reads them."
    ),
]

# --- arguments ------------------------------------------------------------------------------------------------

Ref = Annotated[str, argument("REF", "HOST[:PORT]/REPOSITORY[:TAG][@DIGEST] or oci:PATH[:TAG][@DIGEST].")]
Repo = Annotated[str, argument("REPO", "HOST[:PORT]/REPOSITORY or oci:PATH.")]
Host = Annotated[str, argument("HOST", "A registry: HOST or HOST:PORT.")]
Directory = Annotated[Path, argument("DIR", "The model's directory.")]
RefOrDirectory = Annotated[str, argument("REF|DIR", "A reference, or a directory that was pulled earlier.")]

# --- signing --------------------------------------------------------------------------------------------------

Sign = Annotated[bool, option("--sign", help=f"Sign what was pushed, with --key or the key in {SIGNING_KEY}.")]
PushKey = Annotated[
    str | None,
    option(
        "--key",
        metavar="KEY",
        variable=None,
        help=f"Sign with this key; implies --sign. With --sign, {SIGNING_KEY} may name it.",
    ),
]
SigningKey = Annotated[
    str | None,
    option("--key", metavar="KEY", variable=None, help=f"The private key. {READ_BY_COMMAND}{SIGNING_KEY}]"),
]
PasswordFile = Annotated[
    Path | None,
    option(
        "--password-file", metavar="FILE", help="Holds the key's password; else OCIMODEL_KEY_PASSWORD, a prompt."
    ),
]
Annotations = Annotated[
    list[str] | None,
    option("-a", "--annotation", metavar="K=V", help="Sign this statement along (repeatable)."),
]
Expires = Annotated[
    str | None, option("--expires", metavar="90d", help="How long the signature is good for (s, m, h, d, w).")
]
Format = Annotated[
    str, option("--format", metavar="FORMAT", help="sigstore (the default), notation, cosign-legacy or oms.")
]
Certificate = Annotated[
    Path | None, option("--certificate", metavar="CHAIN.pem", help="The certificate chain of the key.")
]

# --- verifying ------------------------------------------------------------------------------------------------

VerifyKeys = Annotated[
    list[str] | None,
    option(
        "--key",
        metavar="PUB",
        variable=None,
        help=f"A trusted public key (repeatable). {READ_BY_COMMAND}{VERIFY_KEY}]",
    ),
]
PolicyFile = Annotated[
    str | None,
    option("--policy", metavar="FILE", variable=None, help=f"A trust policy. {READ_BY_COMMAND}{POLICY}]"),
]
Enforce = Annotated[
    bool, option("--enforce", help="Enforce the policy, whichever mode it says. Nothing lowers a mode.")
]
As = Annotated[
    str | None,
    option("--as", metavar="HOST/REPO", help="Judge it under this name, as for a copy or a mirror."),
]
Context = Annotated[
    list[str] | None,
    option("--context", metavar="K=V", help="What the signed statements must agree with (repeatable)."),
]
Full = Annotated[bool, option("--full", help="Read every byte and compare every SHA-256.")]

# --- pulling and pushing --------------------------------------------------------------------------------------

Output = Annotated[Path, option("--output", "-o", metavar="DIR", help="Where the model is to appear.")]
Verify = Annotated[
    bool, option("--verify", help="Refuse what no trusted key has signed; --key and --policy imply it.")
]
Include = Annotated[
    list[str] | None, option("--include", metavar="GLOB", help="Only files that match (repeatable).")
]
Exclude = Annotated[
    list[str] | None, option("--exclude", metavar="GLOB", help="No file that matches (repeatable).")
]
Force = Annotated[bool, option("--force", help="Replace what stands in the way at DIR.")]
Receipt = Annotated[Path | None, option("--receipt", metavar="FILE", help="Also write the receipt here.")]
ProvenanceOut = Annotated[
    Path | None, option("--provenance-out", metavar="FILE", help="Write the provenance document here.")
]
OmsOut = Annotated[
    Path | None, option("--oms-out", metavar="FILE", help="Write an OMS signature (model.sig) here.")
]
Provenance = Annotated[
    str | None,
    option("--provenance", metavar="FILE", help="The provenance document (in-toto Statement); - is stdin."),
]
Metadata = Annotated[
    str | None,
    option("--metadata", metavar="FILE", help="model.yaml: what is to be recorded of the model; - is stdin."),
]
Sources = Annotated[
    list[str] | None,
    option(
        "--from",
        metavar="SOURCE",
        help="Record what this says too: env, hf:DIR (or mlflow, gguf, dvc, wandb, croissant); repeatable.",
    ),
]
Rehash = Annotated[bool, option("--rehash", help="Read every file, whatever is remembered of it.")]
ChunkAlgorithm = Annotated[
    str,
    option("--chunk-algorithm", metavar="NAME", help="Of the index of chunks: blake3 (the default) or sha256."),
]
Base = Annotated[
    list[Path] | None,
    option("--base", metavar="DIR", help="Use what this directory, pulled earlier, has already (repeatable)."),
]
CacheMode = Annotated[
    str | None,
    option("--cache", metavar="MODE", help="How models are kept for other pulls: auto, copy, link or off."),
]
CacheVerify = Annotated[
    str | None,
    option(
        "--cache-verify",
        metavar="HOW",
        help="always: hash what comes from the cache; fast: not where the file looks as it did when it was hashed.",
    ),
]
NoCache = Annotated[
    bool, option("--no-cache", help="Use nothing that earlier pulls left here, and keep nothing of this one.")
]
MaxRate = Annotated[
    str | None,
    option("--max-rate", metavar="50MiB", help="Bytes a second, at most (B, KB, MB, GB, KiB, MiB, GiB)."),
]
Tags = Annotated[list[str] | None, option("--tag", metavar="TAG", help="Move this tag as well (repeatable).")]
