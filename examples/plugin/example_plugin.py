#!/usr/bin/env python3
"""A signing plugin to begin with: keys that lie in a directory, behind the Notary Project's plugin contract.

    install -m 755 example_plugin.py ~/.local/bin/ocimodel-example
    export EXAMPLE_PLUGIN_KEYS=/srv/keys            # release.key (PKCS #8 PEM), and release.crt for Notation
    ocimodel sign REF --key plugin:example:release

A program gets a command as its one argument and a JSON document on stdin; it answers with one on stdout and exit
code 0, or with an error on stderr and exit code 1. To put another service behind it, replace `Key`. It needs
`cryptography` (39 or later) and nothing of ocimodel's.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

NAME = "example"  # the program is called ocimodel-NAME, or notation-NAME
KEYS = "EXAMPLE_PLUGIN_KEYS"

HASHES: dict[str, hashes.HashAlgorithm] = {
    "EC-256": hashes.SHA256(),
    "EC-384": hashes.SHA384(),
    "EC-521": hashes.SHA512(),
    "RSA-2048": hashes.SHA256(),
    "RSA-3072": hashes.SHA384(),
    "RSA-4096": hashes.SHA512(),
}
"""What goes with which key; the contract leaves no choice."""


class Key:
    """One key. A key service would be asked here, with the credentials that the environment holds."""

    def __init__(self, identifier: str) -> None:
        directory = os.environ.get(KEYS)
        if not directory:
            fail("ERROR", f"{KEYS} does not name the directory of the keys")
        # What a key is called comes from whoever signs: it must not lead anywhere else.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", identifier):
            fail("VALIDATION_ERROR", "a key is called by letters, digits, - and _")
        self._file = Path(directory, f"{identifier}.key")
        try:
            private = serialization.load_pem_private_key(self._file.read_bytes(), None)
        except FileNotFoundError:
            fail("VALIDATION_ERROR", f"there is no key {identifier}")
        except PermissionError:
            fail("ACCESS_DENIED", f"the key {identifier} is not yours to use")
        if not isinstance(private, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
            fail("VALIDATION_ERROR", f"the key {identifier} is neither EC nor RSA")
        self._private = private
        self.spec = f"{'EC' if isinstance(private, ec.EllipticCurvePrivateKey) else 'RSA'}-{private.key_size}"
        if self.spec not in HASHES:
            fail("VALIDATION_ERROR", f"the key {identifier} is of the kind {self.spec}, which the contract has not")

    def public(self) -> bytes:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._private.public_key().public_bytes(serialization.Encoding.DER, form)

    def certificates(self) -> list[bytes]:
        """The chain, the key's own certificate first. Notation needs one; here `publicKey` is enough."""
        try:
            chain = x509.load_pem_x509_certificates(self._file.with_suffix(".crt").read_bytes())
        except FileNotFoundError:
            return []
        return [certificate.public_bytes(serialization.Encoding.DER) for certificate in chain]

    def sign(self, payload: bytes) -> bytes:
        algorithm = HASHES[self.spec]
        if isinstance(self._private, rsa.RSAPrivateKey):
            pss = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
            return self._private.sign(payload, pss, algorithm)
        r, s = decode_dss_signature(self._private.sign(payload, ec.ECDSA(algorithm)))
        size = (self._private.key_size + 7) // 8
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def metadata(_question: dict[str, Any]) -> dict[str, Any]:
    """The first thing that is asked; it must not need the network."""
    return {
        "name": NAME,
        "description": "Signs with keys in a directory",
        "version": "1.0.0",
        "url": "https://ocimodel.github.io/",
        "supportedContractVersions": ["1.0"],
        "capabilities": ["SIGNATURE_GENERATOR.RAW"],
    }


def describe_key(question: dict[str, Any]) -> dict[str, Any]:
    """``publicKey`` is ocimodel's addition to the contract: it saves a signature, and the need of a certificate."""
    key = Key(question["keyId"])
    return {"keyId": question["keyId"], "keySpec": key.spec, "publicKey": text(key.public())}


def generate_signature(question: dict[str, Any]) -> dict[str, Any]:
    """Sign the payload, which is hashed here, by the one algorithm that goes with the key."""
    key = Key(question["keyId"])
    name = f"SHA-{HASHES[key.spec].digest_size * 8}"
    if (question["keySpec"], question["hashAlgorithm"]) != (key.spec, name):
        fail("VALIDATION_ERROR", f"this key is of the kind {key.spec} and goes with {name}")
    signature = key.sign(base64.b64decode(question["payload"], validate=True))
    return {
        "keyId": question["keyId"],
        "signature": text(signature),
        "signingAlgorithm": f"{'ECDSA' if key.spec.startswith('EC') else 'RSASSA-PSS'}-{name}",
        "certificateChain": [text(certificate) for certificate in key.certificates()],
    }


COMMANDS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "get-plugin-metadata": metadata,
    "describe-key": describe_key,
    "generate-signature": generate_signature,
}


def text(data: bytes) -> str:
    """Bytes travel as base64."""
    return base64.b64encode(data).decode("ascii")


def fail(code: str, message: str) -> NoReturn:
    """The codes: VALIDATION_ERROR, ACCESS_DENIED, TIMEOUT, THROTTLED, ERROR. No secret in the message."""
    sys.stderr.write(json.dumps({"errorCode": code, "errorMessage": message}))
    sys.exit(1)


def main() -> None:
    """One command, one question, one answer."""
    command = COMMANDS.get(sys.argv[1] if len(sys.argv) == 2 else "")
    if command is None:
        fail("VALIDATION_ERROR", f"commands are {', '.join(COMMANDS)}")
    try:
        question = json.load(sys.stdin)
        if not isinstance(question, dict):
            raise TypeError
        if str(question.get("contractVersion", "1.0")).partition(".")[0] != "1":
            fail("UNSUPPORTED_CONTRACT_VERSION", "version 1 of the contract is spoken here")
        answer = command(question)
    except (ValueError, KeyError, TypeError) as error:
        fail("VALIDATION_ERROR", f"the question cannot be understood ({type(error).__name__})")
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
