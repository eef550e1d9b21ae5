"""``ocimodel key certificate``."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from ocimodel.cli import material, options
from ocimodel.cli.command import command
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.values import duration
from ocimodel.errors import FormatError, StorageError, UsageError

app = typer.Typer()
"""A command that joins those of ``ocimodel key``."""

Key = Annotated[str, options.argument("KEY", "A private key: a file, env:NAME, or a URI as pkcs11:… or awskms:….")]
Subject = Annotated[
    str,
    options.option(
        "--subject", metavar="NAMES", help='Whose it is: "C=US, ST=WA, O=acme, CN=models"; C, ST and O at least.'
    ),
]
ValidFor = Annotated[
    str, options.option("--valid-for", metavar="365d", help="How long it is good for (s, m, h, d, w); a year.")
]
Output = Annotated[
    Path | None,
    options.option("--output", "-o", metavar="FILE", help="Write it here; else KEY with .crt in place of .key."),
]
_YEAR = timedelta(days=365)


@command(
    app,
    "certificate",
    called="key certificate",
    event="key.certificate",
    network=False,
    examples="""
    ocimodel key certificate signing.key --subject "C=US, ST=WA, O=acme, CN=models"
    ocimodel sign registry.example/ml/bert:1.4 --format notation --key signing.key --certificate signing.crt
    """,
)
def certificate(
    run: Run,
    key: Key,
    subject: Subject,
    valid_for: ValidFor = "",
    output: Output = None,
    password_file: options.PasswordFile = None,
) -> Answer:
    """Make a certificate for a key, signed by itself, with which notation and its like take the key for a signer's.

    Whoever verifies puts the file into a trust store (notation cert add --type ca), or into a policy as a root.
    """
    from ocimodel.keys import selfsigned, x509
    from ocimodel.trust import subjects

    run.requested = key
    try:
        names = subjects.parse(subject)
    except FormatError as error:
        raise UsageError(f"--subject {error.what}", hint='Write "C=US, ST=WA, O=acme, CN=models".') from None
    path = output or _beside(key)
    signer = material.signer(run, key, password_file, command="key certificate")
    since = run.now.replace(microsecond=0)
    until = since + (duration(valid_for) if valid_for else _YEAR)
    der = selfsigned.certificate(signer, names, since, until)
    write_new(path, x509.to_pem(der))
    made = x509.parse(der)
    described = {"path": str(path), "subject": made.name, "thumbprint": made.thumbprint, "keyid": made.keyid}
    return Answer(text=f"{path} {made.thumbprint}", more={"certificate": described})


def _beside(key: str) -> Path:
    path = Path(key)
    if path.suffix != ".key" or not path.is_file():
        raise UsageError(f"where is the certificate of {key} to go?", hint="Give --output FILE.")
    return path.with_suffix(".crt")


def write_new(path: Path, data: bytes) -> None:
    """Make a file that was not there. Raises `UsageError`, `StorageError`."""
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise UsageError(f"{path} is there already", hint="Choose another --output.") from None
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None
