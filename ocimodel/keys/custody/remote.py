"""A signer whose key is elsewhere.

Guarantees: what comes back is a signature by the key that was named, over what was asked for; nothing else leaves.
Neither the message nor the signature is logged.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import TypeVar

from ocimodel.errors import UnavailableError
from ocimodel.keys.public import PublicKey

Ask = Callable[[bytes, bool], bytes]
"""Have a message signed: an RSA key by RSASSA-PSS where the second argument is true; ECDSA gives DER."""


class RemoteSigner:
    """A `Signer`. ``place`` is what errors call the device or the service."""

    __slots__ = ("_ask", "_place", "_public")

    def __init__(self, public: PublicKey, ask: Ask, *, place: str) -> None:
        self._public = public
        self._ask = ask
        self._place = place

    @property
    def public(self) -> PublicKey:
        return self._public

    def sign(self, message: bytes, *, pss: bool = False) -> bytes:
        signature = self._ask(message, pss)
        if not self._public.verify(signature, message, pss=pss):
            raise UnavailableError(
                f"{self._place} answered with something else than a signature by {self._public.keyid}",
                hint="Check the device or the service: it may hold another key by now, or be at fault.",
                reason="custody",
            )
        return signature

    def __repr__(self) -> str:
        return f"RemoteSigner({self._place}, {self._public.keyid})"


def digest_of(public: PublicKey, message: bytes, *, pss: bool) -> tuple[str, bytes]:
    """The hash that goes with the key, as `hashlib` calls it, and the message's digest by it."""
    name = public.algorithm.scheme.hash_for(pss=pss)
    assert name is not None, "Ed25519 signs messages"
    return name, hashlib.new(name, message).digest()


PAUSES = (0.2, 1.0)
"""Seconds before the second and the third attempt."""

T = TypeVar("T")


def patiently(call: Callable[[], T]) -> T:
    """For clients that do not try again by themselves: three attempts, while it is worth one."""
    for pause in PAUSES:
        try:
            return call()
        except UnavailableError:
            time.sleep(pause)
    return call()
