"""PKCS #11 URIs (RFC 7512): where a token's key is, and where its PIN comes from.

Guarantees: an attribute that is not known here, or given twice, is refused and never ignored, so that what was
meant to narrow the choice of a key does. A PIN in the URI is refused without being repeated: arguments are public.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from ocimodel.errors import UsageError
from ocimodel.keys.custody import rest_of

_TOKEN = ("token", "manufacturer", "model", "serial")
_PATH = (*_TOKEN, "object", "id", "type", "slot-id")
_QUERY = ("module-path", "module-name", "pin-source", "pin-value")
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HINT = "Write pkcs11:token=TOKEN;object=KEY?module-path=/usr/lib/….so&pin-source=file:/path, as RFC 7512 has it."


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUri:
    """What a URI says. None leaves a choice open; ``identifier`` is CKA_ID, ``pin_source`` a file's path."""

    token: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    serial: str | None = None
    object: str | None = None
    identifier: bytes | None = None
    slot: int | None = None
    module_path: str | None = None
    module_name: str | None = None
    pin_source: str | None = None


def parse(spec: str) -> TokenUri:
    """Raises `UsageError`; its message repeats names of attributes only."""
    path, _, query = rest_of(spec).partition("?")
    given = _attributes(path, ";", _PATH) | _attributes(query, "&", _QUERY)
    if "pin-value" in given:
        raise UsageError(
            "a PIN in the URI is not taken: every process of this machine can read arguments",
            hint="Put it into a file and write pin-source=file:/path, or set OCIMODEL_PIN_FILE. Change this PIN.",
        )
    if given.get("type", b"private") not in (b"private", b"public"):
        raise UsageError("pkcs11: type is private or public here", hint="Leave type= out.")
    texts = {name: _text(name, value) for name, value in given.items() if name != "id"}
    return TokenUri(
        token=texts.get("token"),
        manufacturer=texts.get("manufacturer"),
        model=texts.get("model"),
        serial=texts.get("serial"),
        object=texts.get("object"),
        identifier=given.get("id"),
        slot=_number(texts.get("slot-id")),
        module_path=texts.get("module-path"),
        module_name=texts.get("module-name"),
        pin_source=_pin_source(texts.get("pin-source")),
    )


def describe(uri: TokenUri) -> str:
    """The token and the key for a person to read, without what says how to get at them."""
    parts = [
        f"{name}={value}"
        for name, value in (
            ("token", uri.token),
            ("manufacturer", uri.manufacturer),
            ("model", uri.model),
            ("serial", uri.serial),
            ("slot-id", uri.slot),
            ("object", uri.object),
            ("id", uri.identifier.hex() if uri.identifier is not None else None),
        )
        if value is not None
    ]
    return "pkcs11:" + ";".join(parts)


def _attributes(text: str, separator: str, known: tuple[str, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in text.split(separator) if text else ():
        name, equals, value = part.partition("=")
        if name not in known:
            # The text may hold a PIN in a place that nobody thought of; names are letters and dashes.
            shown = f" {name}" if re.fullmatch(r"[a-z-]{1,40}", name) and equals else ""
            raise UsageError(f"pkcs11: unknown attribute{shown} in the URI", hint=_HINT)
        if name in found:
            raise UsageError(f"pkcs11: {name} stands twice in the URI", hint=_HINT)
        if not equals or _PERCENT.search(value):
            raise UsageError(f"pkcs11: {name} in the URI has no value, or a % that begins no escape", hint=_HINT)
        found[name] = unquote_to_bytes(value)
    return found


def _text(name: str, value: bytes) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"pkcs11: {name} in the URI is not UTF-8", hint=_HINT) from None
    if "\0" in text:
        raise UsageError(f"pkcs11: {name} in the URI has a NUL byte", hint=_HINT)
    return text


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,20}", text):
        raise UsageError("pkcs11: slot-id in the URI is a decimal number", hint=_HINT)
    return int(text)


def _pin_source(text: str | None) -> str | None:
    """RFC 7512, section 2.4: a file's name or URI. A program (``|…``) is possible there; we run none."""
    if text is None:
        return None
    path = text
    if text.startswith("file:"):
        path = text.removeprefix("file:")
        if path.startswith("//"):
            host, slash, rest = path[2:].partition("/")
            path = slash + rest if host in ("", "localhost") else ""
    elif text.startswith("|") or re.match(r"[a-z][a-z0-9+.-]*:", text):
        path = ""
    if not path:
        raise UsageError("pkcs11: pin-source names a file: pin-source=file:/path", hint=_HINT)
    return os.path.expanduser(path)
