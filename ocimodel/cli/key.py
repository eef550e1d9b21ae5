"""``ocimodel key generate | public | import | list``; the rest of the group is in modules of its own."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ocimodel.cli import certificate, material, options
from ocimodel.cli.certificate import write_new
from ocimodel.cli.command import command
from ocimodel.cli.revoke import ring
from ocimodel.cli.run import Answer, Run
from ocimodel.cli.text import table
from ocimodel.errors import OcimodelError, UsageError

if TYPE_CHECKING:
    from ocimodel.keys.files import KeyPair
    from ocimodel.keys.public import PublicKey

app = typer.Typer(help="Make, import and look at keys.")

Name = Annotated[str, options.argument("NAME", "Makes NAME.key (private) and NAME.pub.")]
Type = Annotated[
    str,
    options.option("--type", metavar="TYPE", help="ecdsa-p256 (the default), ecdsa-p384, ed25519, rsa-3072, …"),
]
NoPassword = Annotated[bool, options.option("--no-password", help="Leave the private key unencrypted.")]
Source = Annotated[
    str, options.argument("KEY", "A private key: PEM (PKCS#8, PKCS#1, SEC 1, cosign's) or env:NAME.")
]
AnyKey = Annotated[
    str, options.argument("KEY", "A private or a public key: a file, env:NAME, or a URI as pkcs11:… or awskms:….")
]
PublicOutput = Annotated[
    Path | None, options.option("--output", "-o", metavar="FILE", help="Write it here instead of stdout.")
]
OfPolicy = Annotated[
    Path | None,
    options.option(
        "--policy",
        metavar="FILE",
        variable="OCIMODEL_LIST_POLICY",
        help="List the key ring of this policy instead.",
    ),
]
Folder = Annotated[Path, options.argument("DIR", "Where to look; the current directory if left out.")]


@command(
    app,
    "generate",
    called="key generate",
    event="key.generate",
    network=False,
    examples="""
    ocimodel key generate signing
    ocimodel key generate ci --type ed25519 --password-file password.txt
    """,
)
def generate(
    run: Run,
    name: Name,
    type: Type = "",  # noqa: A002
    no_password: NoPassword = False,
    password_file: options.PasswordFile = None,
) -> Answer:
    """Make a key: NAME.key (mode 0600, encrypted unless told not to) and NAME.pub."""
    from ocimodel.keys import files
    from ocimodel.keys.algorithms import DEFAULT

    run.requested = name
    _refuse_existing(name)
    pair = files.generate(name, _new_password(no_password, password_file), type or DEFAULT)
    return _pair(pair)


@command(
    app,
    "import",
    called="key import",
    event="key.import",
    network=False,
    examples="""
    ocimodel key import cosign.key signing
    ocimodel key import env:SIGNING_PEM signing
    """,
)
def import_(
    run: Run,
    key: Source,
    name: Name,
    no_password: NoPassword = False,
    password_file: options.PasswordFile = None,
) -> Answer:
    """Write a private key that exists elsewhere as NAME.key and NAME.pub.

    --password-file and OCIMODEL_KEY_PASSWORD stand for the old password and the new one; prompts ask for each.
    """
    from ocimodel.keys import files, passwords

    run.requested = name
    _refuse_existing(name)
    old = passwords.password_from(os.environ, lambda: material.ask(f"Password of {key}: "), password_file)
    return _pair(files.import_key(key, name, _new_password(no_password, password_file), old))


@command(
    app,
    "public",
    called="key public",
    network=False,
    examples="""
    ocimodel key public signing.key > signing.pub
    ocimodel key public env:SIGNING_PEM --output signing.pub
    ocimodel key public 'pkcs11:token=ci;object=signing?module-path=/usr/lib/softhsm/libsofthsm2.so'
    """,
)
def public(
    run: Run, key: AnyKey, output: PublicOutput = None, password_file: options.PasswordFile = None
) -> Answer:
    """Show the public key (SPKI PEM) of a key; with --output write it, and print the file and the key's id."""
    from ocimodel.keys.passwords import password_from
    from ocimodel.keys.specs import load_public

    try:
        found = load_public(
            key, password_from(os.environ, lambda: material.ask(material.prompt_for(key)), password_file)
        )
    except UsageError:
        if not _is_private(key):
            raise
        found = material.signer(run, key, password_file, command="key public").public
    pem = found.to_pem()
    if output is not None:
        write_new(output, pem)
    return Answer(
        text=f"{output} {found.keyid}" if output is not None else pem.decode("ascii").rstrip("\n"),
        more={"keys": [{**_described(found), "public": str(output) if output is not None else None}]},
    )


@command(
    app,
    "list",
    called="key list",
    network=False,
    examples="""
    ocimodel key list ~/keys
    ocimodel key list --policy prod.json
    """,
)
def list_(run: Run, folder: Folder = Path(), policy: OfPolicy = None) -> Answer:
    """List the public keys in a directory, and which of them have their private key beside them.

    With --policy, list the key ring of a policy: roles, status, and how long each word counts.
    """
    if policy is not None:
        from ocimodel.cli.keyring import list_ring

        return list_ring(run, policy)
    from ocimodel.keys.specs import load_public

    keys: list[dict[str, str | None]] = []
    for path in _public_files(folder):
        try:
            found = load_public(str(path))
        except OcimodelError as error:
            run.warn(error.message)
            continue
        private = path.with_suffix(".key")
        keys.append(
            {**_described(found), "public": str(path), "private": str(private) if private.exists() else None}
        )
    rows = [[str(key["public"]), str(key["algorithm"]), key["private"] or "-", str(key["keyid"])] for key in keys]
    return Answer(text="\n".join(table(("public", "type", "private", "key id"), rows)), more={"keys": keys})


def _pair(pair: "KeyPair") -> Answer:
    return Answer(
        text=f"{pair.public} {pair.key.keyid}",
        more={"keys": [{**_described(pair.key), "public": str(pair.public), "private": str(pair.private)}]},
    )


def _described(key: "PublicKey") -> dict[str, str | None]:
    return {"keyid": key.keyid, "algorithm": str(key.algorithm)}


def _new_password(no_password: bool, file: Path | None) -> bytes | None:
    from ocimodel.keys.passwords import new_password

    if no_password:
        if file is not None:
            raise UsageError("--no-password and --password-file contradict each other", hint="Give one of them.")
        return None
    return new_password(os.environ, _ask_twice, file)


def _ask_twice() -> str | None:
    first = material.ask("New password (empty for none): ")
    if first and first != material.ask("The same again: "):
        raise UsageError("the two passwords differ", hint="Nothing was written.")
    return first


def _refuse_existing(name: str) -> None:
    # Before a password is asked for; the library looks again when it writes.
    for path in (f"{name}.key", f"{name}.pub"):
        if os.path.lexists(path):
            raise UsageError(f"{path} is there already; keys are never overwritten", hint="Choose another name.")


def _is_private(key: str) -> bool:
    from ocimodel.keys.pem import PRIVATE, blocks
    from ocimodel.keys.specs import read, scheme_of

    return scheme_of(key) is None and any(PRIVATE.search(kind) for kind, _ in blocks(read(key)))


def _public_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a directory", hint="Name the directory that holds the keys.")
    return sorted(path for path in folder.glob("*.pub") if path.is_file())


app.add_typer(certificate.app)
app.add_typer(ring)
