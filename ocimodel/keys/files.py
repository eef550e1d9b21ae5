"""Key files: making, importing, and how they lie on the disk.

Guarantees: NAME.key is created with mode 0600 and never over an existing file; it is PKCS#8, encrypted unless the
caller says that there is no password. NAME.key and NAME.pub appear both or, after an error, neither.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ocimodel.errors import StorageError, UsageError
from ocimodel.keys.algorithms import DEFAULT, Algorithm
from ocimodel.keys.public import PublicKey
from ocimodel.keys.signer import LocalSigner
from ocimodel.keys.specs import Password, label_of, local_signer, no_password, read, scheme_of


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """Two files and the key that is in them."""

    private: Path
    public: Path
    key: PublicKey


def generate(name: str | Path, password: bytes | None, algorithm: Algorithm | str = DEFAULT) -> KeyPair:
    """Make a key and write ``NAME.key`` and ``NAME.pub``.

    Args:
        password: encrypts the private key; None leaves it unencrypted.

    Raises:
        UsageError: one of the files is there already, or there is no such algorithm.
        StorageError: they cannot be written.
    """
    try:
        kind = Algorithm(algorithm)
    except ValueError:
        known = ", ".join(Algorithm)
        raise UsageError(f"{algorithm!r} is no type of key", hint=f"Choose one of {known}.") from None
    from ocimodel.keys import backend

    return _write(name, LocalSigner(backend.generate(kind)), password)


def import_key(
    source: str, name: str | Path, new_password: bytes | None, password: Password = no_password
) -> KeyPair:
    """Write the private key that ``source`` names, in whatever format it is, as ``NAME.key`` and ``NAME.pub``.

    Raises:
        UsageError: it is no private key that can be had, or one of the files is there already.
        NotFoundError: there is no such key.
        StorageError: the files cannot be written.
    """
    if scheme_of(source) is not None:
        raise UsageError(f"{source.partition(':')[0]}: keys never leave their place; use them where they are")
    return _write(name, local_signer(read(source), password, label=label_of(source)), new_password)


def permission_warning(spec: str) -> str | None:
    """A sentence where others on this machine can read the private key file ``spec``, else None."""
    if spec.startswith("env:") or scheme_of(spec) is not None:
        return None
    try:
        mode = os.stat(spec).st_mode
    except OSError:
        return None
    if not stat.S_ISREG(mode) or not mode & (stat.S_IRGRP | stat.S_IROTH):
        return None
    return f"{spec} can be read by others on this machine (mode {stat.S_IMODE(mode):04o}): chmod 600 {spec}"


def _write(name: str | Path, signer: LocalSigner, password: bytes | None) -> KeyPair:
    private, public = Path(f"{name}.key"), Path(f"{name}.pub")
    key = PublicKey.from_der(signer.public.der, label=public.name)
    with _both(private, public) as (secret, shown):
        secret(signer.private_pem(password))
        shown(key.to_pem())
    return KeyPair(private=private, public=public, key=key)


@contextmanager
def _both(*paths: Path) -> Iterator[list[_Writer]]:
    """New files, none of which existed; all of them are removed again if the body fails."""
    writers: list[_Writer] = []
    try:
        for path, mode in zip(paths, (0o600, 0o644), strict=True):
            writers.append(_Writer(path, mode))
        yield writers
        for writer in writers:
            writer.close()
    except BaseException as error:
        for writer in writers:
            writer.discard()
        if isinstance(error, FileExistsError):
            raise UsageError(
                f"{error.filename} is there already; keys are never overwritten", hint="Choose another name."
            ) from None
        if isinstance(error, OSError):
            raise StorageError(f"cannot write {error.filename or paths[0]}: {error.strerror}") from error
        raise


class _Writer:
    def __init__(self, path: Path, mode: int) -> None:
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        self._stream = os.fdopen(os.open(path, flags, mode), "wb")

    def __call__(self, data: bytes) -> None:
        self._stream.write(data)

    def close(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def discard(self) -> None:
        self._path.unlink(missing_ok=True)
        with suppress(OSError):
            self._stream.close()
