"""``plugin:`` keys: a program that speaks the Notary Project's plugin contract, version 1.

    plugin:NAME[:KEYID]   KEYID is whatever the plugin calls a key, and may have colons; without one it is empty

The program is ``ocimodel-NAME`` on PATH, else Notation's own plugin NAME, else ``notation-NAME`` on PATH. It has to
offer SIGNATURE_GENERATOR.RAW: describe-key and generate-signature. ``pluginConfig`` is OCIMODEL_PLUGIN_CONFIG's.

Guarantees: what a plugin answers is bounded and believed only where the signature verifies under the key that it
named before. Which key that is, a plugin may say in describe-key (``publicKey``, base64 of the DER of
SubjectPublicKeyInfo, an addition of ours to the contract); one that does not is made to sign a sentence of ours
that means nothing, and its certificate tells.

What it does not do: RSASSA-PKCS1-v1_5, which the contract does not know and Sigstore's bundles want. RSA keys of
plugins sign Notation's format only.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ocimodel import jsonio
from ocimodel.attest import base64s
from ocimodel.errors import (
    AuthenticationError,
    FormatError,
    NotFoundError,
    OcimodelError,
    UnavailableError,
    UsageError,
)
from ocimodel.jsonio import Node
from ocimodel.keys.algorithms import Algorithm
from ocimodel.keys.custody import process, rest_of, shapes
from ocimodel.keys.custody.remote import RemoteSigner, patiently
from ocimodel.keys.public import PublicKey
from ocimodel.keys.specs import Password

CONFIG = "OCIMODEL_PLUGIN_CONFIG"
CONTRACT = "1.0"
RAW = "SIGNATURE_GENERATOR.RAW"
PROBE = b"ocimodel asks which key this is. A signature of this sentence approves nothing."

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_KEYSPECS = {
    "EC-256": Algorithm.ECDSA_P256,
    "EC-384": Algorithm.ECDSA_P384,
    "EC-521": Algorithm.ECDSA_P521,
    "RSA-2048": Algorithm.RSA_2048,
    "RSA-3072": Algorithm.RSA_3072,
    "RSA-4096": Algorithm.RSA_4096,
}
_FAMILIES = {"ecdsa": "ECDSA", "rsa": "RSASSA-PSS"}
_RAW_SIZES = {"secp256r1": 64, "secp384r1": 96, "secp521r1": 132}
_HASHES = {"sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}
_RETRIABLE = {"TIMEOUT", "THROTTLED"}
_MAX_CERTIFICATES = 16
_MAX_SHOWN = 300
_MAX_KEY = 4096
_MANUAL = "Ask the plugin by hand: echo '{}' | ocimodel-NAME get-plugin-metadata."


class PluginSigner(RemoteSigner):
    """A `Signer` that may have certificates."""

    __slots__ = ("_key",)

    def __init__(self, public: PublicKey, key: _Key) -> None:
        super().__init__(public, key.sign, place=key.place)
        self._key = key

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """The chain that the plugin gave last, DER, the key's own first; empty where it has given none yet."""
        return self._key.certificates


class _Key:
    """One key of one plugin."""

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        self.key = key
        self.place = f"plugin:{name}" + (f":{key}" if key else "")
        self.program = _program(name)
        self.config = _config(os.environ)
        self.spec = ""
        self.certificates: tuple[bytes, ...] = ()

    def check(self) -> None:
        """Raises `UsageError` where it is not what we speak with."""
        answer = self._ask("get-plugin-metadata", {})
        if answer.get("name").string() != self.name:
            raise UsageError(
                f"{self.place}: {self.program} calls itself otherwise", hint="Install it under its own name."
            )
        if not any(text.partition(".")[0] == "1" for text in _strings(answer.get("supportedContractVersions"))):
            raise UsageError(f"{self.place}: it does not speak version 1 of the plugin contract")
        if RAW not in _strings(answer.get("capabilities")):
            raise UsageError(
                f"{self.place}: it makes no raw signatures, or none at all",
                hint=f"A plugin with the capability {RAW} is needed; notation plugin ls shows what each can.",
            )

    def public(self) -> PublicKey:
        answer = self._ask("describe-key", self._about())
        self._same(answer)
        self.spec = answer.get("keySpec").string()
        if self.spec not in _KEYSPECS:
            raise UsageError(f"{self.place}: keys of the kind {self.spec[:20]!r} are not supported")
        shown = answer.find("publicKey")
        if shown is not None:
            der = shapes.from_der(base64s.decode(shown))
        else:
            self._generate(PROBE)
            if not self.certificates:
                raise UsageError(
                    f"{self.place}: it tells neither its public key nor a certificate",
                    hint="A plugin says publicKey in describe-key, or certificateChain in generate-signature.",
                )
            der = shapes.from_certificate(self.certificates[0])
        public = PublicKey.from_der(der, label=self.key or self.name)
        if public.algorithm is not _KEYSPECS[self.spec]:
            raise UsageError(f"{self.place}: it calls a key {self.spec} that is {public.algorithm}")
        return public

    def sign(self, message: bytes, pss: bool) -> bytes:
        if _KEYSPECS[self.spec].scheme.family == "rsa" and not pss:
            raise UsageError(
                f"{self.place}: RSA keys of plugins sign by RSASSA-PSS, which Sigstore's bundles do not know",
                hint="Use an EC key of the plugin's, or --format notation.",
            )
        with _told(self.place):
            return self._generate(message)

    def _generate(self, message: bytes) -> bytes:
        scheme = _KEYSPECS[self.spec].scheme
        hashed = _HASHES[scheme.hash_for(pss=True) or ""]
        more = {
            "keySpec": self.spec,
            "hashAlgorithm": hashed,
            "payload": base64.b64encode(message).decode("ascii"),
        }
        answer = self._ask("generate-signature", {**self._about(), **more})
        self._same(answer)
        if answer.get("signingAlgorithm").string() != f"{_FAMILIES[scheme.family]}-{hashed}":
            answer.get("signingAlgorithm").fail(f"must be {_FAMILIES[scheme.family]}-{hashed}")
        signature = base64s.decode(answer.get("signature"))
        chain = answer.find("certificateChain")
        certificates = chain.items(limit=_MAX_CERTIFICATES) if chain is not None else []
        self.certificates = tuple(base64s.decode(certificate) for certificate in certificates)
        # The contract leaves the encoding of ECDSA open: Notation's own code wants r and s side by side.
        return shapes.ecdsa_der(signature) if len(signature) == _RAW_SIZES.get(scheme.curve) else signature

    def _about(self) -> dict[str, Any]:
        return {"contractVersion": CONTRACT, "keyId": self.key}

    def _same(self, answer: Node) -> None:
        if answer.get("keyId").string() != self.key:
            answer.get("keyId").fail("must be the one that was asked about")

    def _ask(self, command: str, question: dict[str, Any]) -> Node:
        if self.config:
            question = {**question, "pluginConfig": self.config}
        asked = jsonio.canonical(question)
        try:
            ended = patiently(lambda: self._ended(command, asked))
        except process.TooSlow:
            raise _broken(self.place, f"{command} did not end within {process.SECONDS:.0f} s") from None
        except process.TooMuch:
            raise _broken(self.place, f"{command} wrote without end") from None
        except OSError as error:
            raise UsageError(
                f"{self.place}: {self.program} cannot be run: {error.strerror}",
                hint="It has to be a program for this machine, or a script that begins with #!.",
            ) from None
        if ended.code:
            raise _refused(self.place, command, ended)
        return Node(jsonio.loads(ended.output, limit=process.MAX_OUTPUT, what="the answer"))

    def _ended(self, command: str, question: bytes) -> process.Ended:
        ended = process.ask(self.program, command, question)
        if ended.code and _error(ended)[0] in _RETRIABLE:
            raise _refused(self.place, command, ended)
        return ended


def signer(spec: str, _password: Password) -> PluginSigner:
    """Raises as `Custodian.signer` does."""
    key = _Key(*parse(spec))
    with _told(key.place):
        key.check()
        public = key.public()
    return PluginSigner(public, key)


def public(spec: str, password: Password) -> PublicKey:
    """Raises as `Custodian.public` does."""
    return signer(spec, password).public


def parse(spec: str) -> tuple[str, str]:
    """Name of the plugin, and its name for the key. Raises `UsageError`."""
    name, _, key = rest_of(spec).partition(":")
    if not _NAME.fullmatch(name):
        raise UsageError(
            "plugin: not the name of a plugin", hint="Write plugin:NAME or plugin:NAME:KEYID; NAME has no slash."
        )
    if not key.isprintable() or len(key) > _MAX_KEY:
        raise UsageError("plugin: not the name of a key", hint="Write plugin:NAME:KEYID.")
    return name, key


def _program(name: str) -> Path:
    """Notation's plugins are files, never links (specification, "Plugin installation path")."""
    found = shutil.which(f"ocimodel-{name}")
    if found is not None:
        return Path(found)
    own = _notation_plugins() / name / f"notation-{name}"
    try:
        # Without a home directory it would be somewhere below the working directory.
        if own.is_absolute() and stat.S_ISREG(own.lstat().st_mode) and os.access(own, os.X_OK):
            return own
    except OSError:
        pass
    found = shutil.which(f"notation-{name}")
    if found is not None:
        return Path(found)
    raise NotFoundError(
        f"plugin:{name}: there is no such plugin",
        hint=f"Put a program ocimodel-{name} on PATH, or install Notation's: notation plugin install.",
    )


def _notation_plugins() -> Path:
    home = os.path.expanduser("~")
    if sys.platform == "darwin":
        return Path(home, "Library/Application Support/notation/plugins")
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path(home, ".config"), "notation/plugins")


def _config(env: Mapping[str, str]) -> dict[str, str]:
    text = env.get(CONFIG)
    if not text:
        return {}
    try:
        return Node(jsonio.loads(text.encode("utf-8", "replace"), limit=64 * 1024)).strings()
    except FormatError:
        # Not repeated: what configures a plugin may be meant to be seen by it alone.
        raise UsageError(f"{CONFIG} is not a JSON object of strings", hint="""Write {"name": "value"}.""") from None


def _strings(node: Node) -> list[str]:
    return [item.string() for item in node.items()]


def _error(ended: process.Ended) -> tuple[str, str]:
    """Code and message of an error; empty where there is nothing that can be read."""
    try:
        node = Node(jsonio.loads(ended.errors, limit=process.MAX_ERRORS))
        message = node.find("errorMessage")
        return node.get("errorCode").string(limit=100), message.string() if message is not None else ""
    except FormatError:
        return "", ""


def _refused(place: str, command: str, ended: process.Ended) -> OcimodelError:
    code, text = _error(ended)
    said = f": {text[:_MAX_SHOWN]}" if text else ""
    if code == "ACCESS_DENIED":
        return AuthenticationError(
            f"{place}: the plugin denies access{said}", hint="See the plugin's documentation.", reason="custody"
        )
    if code in _RETRIABLE:
        return _broken(place, f"{code}{said}")
    if code == "VALIDATION_ERROR" and command == "describe-key":
        return NotFoundError(f"{place}: the plugin does not know this key{said}", hint="Check the name of the key.")
    if code in ("VALIDATION_ERROR", "UNSUPPORTED_CONTRACT_VERSION"):
        return UsageError(f"{place}: the plugin does not accept {command}{said}", hint=_MANUAL)
    # What it wrote otherwise is not shown: it may be the log of somebody's secrets.
    return _broken(place, f"{command} ended with {ended.code}{said}")


def _broken(place: str, why: str) -> UnavailableError:
    return UnavailableError(
        f"{place}: the plugin does not answer as it should: {why}", hint=_MANUAL, reason="custody"
    )


@contextmanager
def _told(place: str) -> Iterator[None]:
    """An answer of another shape is a fault of the plugin's, not of a model's."""
    try:
        yield
    except FormatError as error:
        raise _broken(place, error.message) from None
