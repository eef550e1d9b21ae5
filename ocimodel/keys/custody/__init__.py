"""Keys that never leave where they are: a token, a cloud's key service, a plugin's.

Each module here is a `Custodian`, is imported once a key of its scheme is named, and imports the library of an
extra. Only a digest leaves this process, but for Ed25519 and for plugins, whose schemes want the whole of what is
signed: a statement with digests, never a byte of a model.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from ocimodel.errors import UsageError
from ocimodel.keys.public import PublicKey
from ocimodel.keys.signer import Signer
from ocimodel.keys.specs import Password


class Custodian(Protocol):
    """What a scheme of keys has to offer; a module does."""

    def signer(self, spec: str, password: Password) -> Signer:
        """The key behind ``spec``, ready to sign.

        Raises:
            UsageError: the spec is malformed, the extra is missing, the PIN is wrong, the key is of no use here.
            NotFoundError: there is no such key.
            AuthenticationError: whoever asks may not use it.
            UnavailableError: the device or the service did not answer.
        """
        ...

    def public(self, spec: str, password: Password) -> PublicKey:
        """Its public key; as little is asked for as the place allows. Raises as `signer` does."""
        ...


def rest_of(spec: str) -> str:
    """What follows the scheme, whichever of the two spellings was used: ``SCHEME:…`` or ``SCHEME://…``."""
    return spec.partition(":")[2].removeprefix("//")


def library(scheme: str, *names: str, extra: str = "") -> Any:
    """Import the libraries of an extra, which is called as the scheme is unless it says otherwise.

    Returns:
        The first of them.

    Raises:
        UsageError: one is not installed.
    """
    try:
        first, *_ = [importlib.import_module(name) for name in names]
    except ImportError as error:
        raise UsageError(
            f"keys under {scheme}: need a library that is not installed ({error.name or names[0]})",
            hint=f"pip install 'ocimodel[{extra or scheme}]'",
        ) from None
    return first
