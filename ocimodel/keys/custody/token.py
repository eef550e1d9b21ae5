"""``pkcs11:`` keys: smart cards, YubiKeys, hardware security modules, SoftHSM.

Guarantees: exactly one token and one key fit the URI, or nothing is signed. A PIN comes from the URI's pin-source,
OCIMODEL_PIN_FILE, or where passwords come from, in that order; it is tried once, since tokens lock after a few
wrong ones, and asked for only where the token wants one. The token gets a digest and gives a signature; the
private object's value is never asked for.

What it does not do: make keys (the vendor's tools do), and bound the time of a call into the vendor's library.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ocimodel.errors import AuthenticationError, NotFoundError, UnavailableError, UsageError
from ocimodel.keys import passwords
from ocimodel.keys.backend import HINT
from ocimodel.keys.custody import library, shapes, uri
from ocimodel.keys.custody.remote import RemoteSigner, digest_of
from ocimodel.keys.public import PublicKey
from ocimodel.keys.signer import Signer
from ocimodel.keys.specs import Password

MODULE = "OCIMODEL_PKCS11_MODULE"
PIN_FILE = "OCIMODEL_PIN_FILE"
PLACES = (
    "/usr/lib/*/pkcs11",
    "/usr/lib*/pkcs11",
    "/usr/lib/*/softhsm",
    "/usr/lib*/softhsm",
    "/usr/local/lib",
    "/usr/local/lib/softhsm",
    "/opt/homebrew/lib",
    "/usr/lib/*-linux-gnu",
    "/usr/lib*",
)
"""Where a module that is given by name is looked for."""


def signer(spec: str, password: Password) -> Signer:
    """The key that a URI names, of a token that one is logged in to. Raises as `Custodian.signer` does."""
    where = uri.parse(spec)
    api = _library()
    with _told(api, where), ExitStack() as closing:
        token = _token(api, where)
        pin = _pin(api, token, where, password)
        session = closing.enter_context(_opened(api, token, pin))
        key = _one(api, session, where, api.ObjectClass.PRIVATE_KEY)
        if not hasattr(key, "sign"):
            raise UsageError(f"{uri.describe(where)}: this key is not for signing (CKA_SIGN is false)")
        public = _public_key(api, session, where, key)
        # Such a key (slot 9c of a YubiKey) wants the PIN again for each signature.
        again = pin if isinstance(pin, str) and _get(api, key, api.Attribute.ALWAYS_AUTHENTICATE) else None
        closing.pop_all()  # the session lives as long as the key does

    def ask(message: bytes, pss: bool) -> bytes:
        with _told(api, where):
            return _sign(api, key, public, message, pss=pss, pin=again)

    return RemoteSigner(public, ask, place=uri.describe(where))


def public(spec: str, password: Password) -> PublicKey:
    """Its public key; without a PIN where the token shows it to anybody. Raises as `Custodian.signer` does."""
    where = uri.parse(spec)
    api = _library()
    with _told(api, where):
        token = _token(api, where)
        with token.open() as session:
            if any(_found(api, session, where, api.ObjectClass.PUBLIC_KEY)):
                found = _one(api, session, where, api.ObjectClass.PUBLIC_KEY)
                return PublicKey.from_der(_spki(api, found), label=_label(where))
        with _opened(api, token, _pin(api, token, where, password)) as session:
            return _public_key(api, session, where, _one(api, session, where, api.ObjectClass.PRIVATE_KEY))


def _library() -> Any:
    return library("pkcs11", "pkcs11")


# --- the token ----------------------------------------------------------------------------------------------------


def _token(api: Any, where: uri.TokenUri) -> Any:
    slots = _loaded(api, _module(where, os.environ)).get_slots(token_present=True)
    fitting = []
    for slot in slots:
        if where.slot is not None and slot.slot_id != where.slot:
            continue
        try:
            token = slot.get_token()
        except (api.TokenNotPresent, api.TokenNotRecognised, api.SlotIDInvalid):
            continue
        if api.TokenFlag.TOKEN_INITIALIZED in token.flags and _fits(token, where):
            fitting.append(token)
    if not fitting:
        raise NotFoundError(
            f"{uri.describe(where)}: no such token",
            hint="Is it plugged in? pkcs11-tool --list-slots (or softhsm2-util --show-slots) shows what there is.",
        )
    if len(fitting) > 1:
        raise UsageError(
            f"{uri.describe(where)}: {len(fitting)} tokens fit",
            hint="Name one of them: token=LABEL, serial=NUMBER or slot-id=NUMBER.",
        )
    return fitting[0]


def _loaded(api: Any, module: str) -> Any:
    try:
        return api.lib(module)
    except api.PKCS11Error as error:
        if type(error) is not api.PKCS11Error:
            raise  # the library is one, and says that its device does not work
        raise UsageError(
            f"pkcs11: {str(error).removeprefix('OS exception while loading ')}",
            hint="Name the token's PKCS#11 library, built for this machine.",
        ) from None


def _fits(token: Any, where: uri.TokenUri) -> bool:
    """Serial numbers come as bytes, everything is padded with blanks (PKCS #11, CK_TOKEN_INFO)."""
    serial = token.serial.decode("utf-8", "replace") if isinstance(token.serial, bytes) else token.serial
    pairs = (
        (where.token, token.label),
        (where.manufacturer, token.manufacturer_id),
        (where.model, token.model),
        (where.serial, serial),
    )
    return all(wanted is None or wanted.rstrip() == is_.rstrip(" \0") for wanted, is_ in pairs)


def _module(where: uri.TokenUri, env: Mapping[str, str]) -> str:
    path = where.module_path
    if path is None and where.module_name is not None:
        return _named(where.module_name)
    if path is None:
        path = env.get(MODULE) or None
    if path is None:
        raise UsageError(
            "pkcs11: nothing says which library talks to the token",
            hint=f"Add ?module-path=/usr/lib/….so to the URI, or set {MODULE} to the library's path.",
        )
    if not Path(path).is_file():
        raise NotFoundError(f"pkcs11: there is no module {path}", hint="Install the token's PKCS#11 library.")
    # A name without a slash would be looked for elsewhere by dlopen(3).
    return os.path.abspath(path)


def _named(name: str) -> str:
    """RFC 7512, section 2.3: the name is that of the file, without path, ``lib`` and ending."""
    if "/" in name or name in ("", ".", ".."):
        raise UsageError("pkcs11: module-name is a name, not a path", hint="Write module-path=… instead.")
    ending = "dylib" if sys.platform == "darwin" else "so"
    for place in PLACES:
        for directory in sorted(glob.glob(place)):
            for file in (f"lib{name}.{ending}", f"{name}.{ending}", f"{name}-pkcs11.{ending}"):
                path = Path(directory, file)
                if path.is_file():
                    return str(path)
    raise NotFoundError(
        f"pkcs11: no module is called {name}", hint="Give the library's path: ?module-path=/usr/lib/….so."
    )


def _pin(api: Any, token: Any, where: uri.TokenUri, password: Password) -> Any:
    if api.TokenFlag.PROTECTED_AUTHENTICATION_PATH in token.flags:
        return api.PROTECTED_AUTH  # a PIN pad asks by itself
    if api.TokenFlag.LOGIN_REQUIRED not in token.flags:
        return None
    source = where.pin_source or os.environ.get(PIN_FILE) or None
    pin = passwords.from_file(Path(source), "PIN") if source else password()
    if pin is None:
        raise UsageError(
            f"{uri.describe(where)} wants a PIN and none was given",
            hint=f"Add pin-source=file:/path to the URI, set {PIN_FILE}, or run where a terminal can ask for it.",
        )
    try:
        return pin.decode("utf-8") or None
    except UnicodeDecodeError:
        raise UsageError(f"{uri.describe(where)}: the PIN is not UTF-8") from None


def _opened(api: Any, token: Any, pin: Any) -> Any:
    try:
        return token.open(user_pin=pin)
    except api.UserAlreadyLoggedIn:
        return token.open()  # one login serves all sessions of a process (PKCS #11, C_Login)


# --- its objects --------------------------------------------------------------------------------------------------


def _found(api: Any, session: Any, where: uri.TokenUri, kind: Any, same_as: bytes | None = None) -> Iterator[Any]:
    """What fits the URI; with ``same_as``, what has this CKA_ID, whatever it is called."""
    template = {api.Attribute.CLASS: kind}
    if where.object is not None and not same_as:
        template[api.Attribute.LABEL] = where.object
    if same_as or where.identifier is not None:
        template[api.Attribute.ID] = same_as or where.identifier
    yield from session.get_objects(template)


def _one(api: Any, session: Any, where: uri.TokenUri, kind: Any) -> Any:
    keys = list(_found(api, session, where, kind))
    if not keys:
        raise NotFoundError(
            f"{uri.describe(where)}: no such key in the token",
            hint="pkcs11-tool --login --list-objects shows the labels (object=) and the ids (id=%01).",
        )
    if len(keys) > 1:
        raise UsageError(f"{uri.describe(where)}: {len(keys)} keys fit", hint="Name one: object=LABEL or id=%01.")
    return keys[0]


def _public_key(api: Any, session: Any, where: uri.TokenUri, private: Any) -> PublicKey:
    """From the public object beside the private one, else from an RSA key itself, else from a certificate."""
    label = _label(where)
    identifier = _get(api, private, api.Attribute.ID)
    for found in _found(api, session, where, api.ObjectClass.PUBLIC_KEY, identifier):
        return PublicKey.from_der(_spki(api, found), label=label)
    if private.key_type == api.KeyType.RSA:
        return PublicKey.from_der(_spki(api, private), label=label)
    for found in _found(api, session, where, api.ObjectClass.CERTIFICATE, identifier):
        der = _get(api, found, api.Attribute.VALUE)
        if der:
            return PublicKey.from_der(shapes.from_certificate(der), label=label)
    raise NotFoundError(
        f"{uri.describe(where)}: the token has the private key but neither its public key nor a certificate",
        hint="Write the public key, or a certificate, beside it under the same id.",
    )


def _label(where: uri.TokenUri) -> str:
    return where.object or (where.identifier.hex() if where.identifier is not None else where.token) or "pkcs11"


def _spki(api: Any, key: Any) -> bytes:
    kind = key.key_type
    if kind == api.KeyType.RSA:
        numbers = (key[attribute] for attribute in (api.Attribute.MODULUS, api.Attribute.PUBLIC_EXPONENT))
        n, e = (int.from_bytes(number, "big") for number in numbers)
        return shapes.from_rsa(n, e)
    if kind in (api.KeyType.EC, api.KeyType.EC_EDWARDS):
        return shapes.from_point(key[api.Attribute.EC_PARAMS], key[api.Attribute.EC_POINT])
    raise UsageError("a key of this kind in the token is not supported", hint=HINT)


def _get(api: Any, thing: Any, attribute: Any) -> Any:
    """An attribute that a token need not have."""
    try:
        return thing[attribute]
    except (api.AttributeTypeInvalid, api.AttributeSensitive, api.FunctionFailed):
        return None


# --- signing ------------------------------------------------------------------------------------------------------


def _sign(api: Any, key: Any, public: PublicKey, message: bytes, *, pss: bool, pin: str | None) -> bytes:
    family = public.algorithm.scheme.family
    more = {"pin": pin} if pin is not None else {}
    if family == "ed25519":
        return bytes(key.sign(message, mechanism=api.Mechanism.EDDSA, **more))
    name, digest = digest_of(public, message, pss=pss)
    if family == "ecdsa":
        return shapes.ecdsa_der(bytes(key.sign(digest, mechanism=api.Mechanism.ECDSA, **more)))
    if pss:
        hashes = (getattr(api.Mechanism, name.upper()), getattr(api.MGF, name.upper()), len(digest))
        how = {"mechanism": api.Mechanism.RSA_PKCS_PSS, "mechanism_param": hashes}
        return bytes(key.sign(digest, **how, **more))
    info = shapes.digest_info(name, digest)
    return bytes(key.sign(info, mechanism=api.Mechanism.RSA_PKCS, **more))


@contextmanager
def _told(api: Any, where: uri.TokenUri) -> Iterator[None]:
    """What a library says, as errors of ours. No text of the library's is repeated."""
    try:
        yield
    except (api.PinIncorrect, api.PinInvalid, api.PinLenRange):
        raise UsageError(
            f"{uri.describe(where)}: wrong PIN", hint="Check it before you try again: a token locks after a few."
        ) from None
    except (api.PinLocked, api.PinExpired, api.UserPinNotInitialized) as error:
        raise AuthenticationError(
            f"{uri.describe(where)}: the token does not let anybody in ({_name(error)})",
            hint="Its administrator sets a new PIN.",
            reason="custody",
        ) from None
    except (api.UserNotLoggedIn, api.FunctionRejected) as error:
        raise AuthenticationError(
            f"{uri.describe(where)}: the token refuses to sign with this key ({_name(error)})",
            hint="Give the PIN; check that the key may sign (CKA_SIGN).",
            reason="custody",
        ) from None
    except (api.MechanismInvalid, api.MechanismParamInvalid, api.KeyTypeInconsistent) as error:
        raise UsageError(
            f"{uri.describe(where)}: the token cannot sign in the way that goes with this key ({_name(error)})",
            hint="Choose another kind of key: ECDSA P-256 is what every token knows.",
        ) from None
    except api.PKCS11Error as error:
        raise UnavailableError(
            f"{uri.describe(where)}: the token does not answer as it should ({_name(error)})",
            hint="Check that it is plugged in and that the module is the token's own.",
            reason="custody",
        ) from None


def _name(error: BaseException) -> str:
    return type(error).__name__
