"""Keys in a PKCS #11 token: SoftHSM through its own library, as an application would."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pkcs11
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11 import Attribute, ObjectClass

from ocimodel.errors import AuthenticationError, NotFoundError, OcimodelError, UsageError
from ocimodel.keys import backend
from ocimodel.keys.algorithms import Algorithm
from ocimodel.keys.public import PublicKey
from ocimodel.keys.signer import LocalSigner, Signer
from ocimodel.keys.specs import load_public, load_signer
from tests.commands import events, make_world, run
from tests.real import peers
from tests.real.softhsm import SoftHsm
from tests.test_cli_keys import on_a_terminal

pytestmark = pytest.mark.peer

MESSAGE = b"what is signed"


@dataclass(frozen=True)
class Token:
    """A fresh token, and a place for files."""

    hsm: SoftHsm
    here: Path

    def uri(self, path: str = "", **query: str) -> str:
        asked = {"module-path": str(self.hsm.module), **{name.replace("_", "-"): query[name] for name in query}}
        attributes = ";".join(filter(None, [f"token={quote(self.hsm.label)}", path]))
        return f"pkcs11:{attributes}?" + "&".join(f"{name}={value}" for name, value in asked.items())

    def key(self, algorithm: Algorithm, label: str = "key", identifier: str = "01") -> PublicKey:
        """A new key in the token, and its public key."""
        local = LocalSigner(backend.generate(algorithm))
        pem = self.here / f"{label}.pem"
        pem.write_bytes(local.private_pem(None))
        self.hsm.import_key(pem, label, identifier)
        pem.unlink()
        return local.public

    def session(self) -> Any:
        (token,) = pkcs11.lib(str(self.hsm.module)).get_tokens(token_label=self.hsm.label)
        try:
            return token.open(rw=True, user_pin=self.hsm.pin)
        except pkcs11.UserAlreadyLoggedIn:
            return token.open(rw=True)

    def pin_file(self, text: str | None = None) -> str:
        path = self.here / "pin"
        path.write_text((text or self.hsm.pin) + "\n")
        return f"file:{path}"

    def load(self, path: str = "", **query: str) -> Signer:
        return load_signer(self.uri(path, **query), self.hsm.pin.encode)


@pytest.fixture
def token(softhsm: SoftHsm, tmp_path: Path) -> Iterator[Token]:
    # The library is loaded once a process, and reads where tokens are when it is initialised.
    pkcs11.lib(str(softhsm.module)).reinitialize()
    yield Token(softhsm, tmp_path)
    pkcs11.lib(str(softhsm.module)).finalize()


def never() -> bytes | None:
    raise AssertionError("nobody should be asked")


@pytest.mark.parametrize(
    "algorithm",
    [
        Algorithm.ECDSA_P256,
        Algorithm.ECDSA_P384,
        Algorithm.ECDSA_P521,
        Algorithm.ED25519,
        Algorithm.RSA_2048,
        Algorithm.RSA_3072,
    ],
)
def test_a_token_signs(token: Token, algorithm: Algorithm) -> None:
    public = token.key(algorithm)
    signer = token.load("object=key")
    assert signer.public == public
    assert public.verify(signer.sign(MESSAGE), MESSAGE)
    assert public.verify(signer.sign(MESSAGE, pss=True), MESSAGE, pss=True)
    assert load_public(token.uri("object=key"), never) == public


def test_a_key_is_found_by_id_slot_and_by_being_the_only_one(token: Token) -> None:
    alice = token.key(Algorithm.ECDSA_P256, "alice", "0a")
    assert token.load().public == alice
    bob = token.key(Algorithm.ECDSA_P256, "bob", "0b")
    assert token.load("id=%0B").public == bob
    assert token.load("object=alice;id=%0A").public == alice
    (slot,) = [slot.slot_id for slot in pkcs11.lib(str(token.hsm.module)).get_slots(True) if has(slot, token)]
    assert token.load(f"slot-id={slot};object=bob;manufacturer=SoftHSM%20project").public == bob
    with pytest.raises(UsageError, match="2 keys fit"):
        token.load()
    with pytest.raises(UsageError, match="2 keys fit"):
        load_public(token.uri(), never)
    for path in ("object=carol", "object=alice;id=%0B"):
        with pytest.raises(NotFoundError, match="no such key"):
            token.load(path)
    for path in (f"slot-id={slot + 1}", "serial=1", "model=none"):
        with pytest.raises(NotFoundError, match="no such token"):
            token.load(path)


def has(slot: pkcs11.Slot, token: Token) -> bool:
    return slot.get_token().label == token.hsm.label


def test_two_tokens_that_fit_are_one_too_many(token: Token) -> None:
    token.key(Algorithm.ECDSA_P256)
    again = ["--init-token", "--free", "--label", token.hsm.label, "--pin", "other", "--so-pin", "5678"]
    peers.run("softhsm2-util", *again, "--module", token.hsm.module)
    pkcs11.lib(str(token.hsm.module)).reinitialize()
    with pytest.raises(UsageError, match="2 tokens fit"):
        token.load("object=key")
    (serial,) = [
        slot.get_token().serial.decode()
        for slot in pkcs11.lib(str(token.hsm.module)).get_slots(token_present=True)
        if has(slot, token) and keys_in(slot)
    ]
    token.load(f"object=key;serial={serial}")


def keys_in(slot: pkcs11.Slot) -> list[Any]:
    with slot.get_token().open() as session:
        return list(session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY}))


# --- where the PIN comes from ------------------------------------------------------------------------------------


def test_the_pin_comes_from_a_file_that_the_uri_names(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    public = token.key(Algorithm.ECDSA_P256)
    monkeypatch.setenv("OCIMODEL_PIN_FILE", str(token.here / "nowhere"))
    signer = load_signer(token.uri("object=key", pin_source=token.pin_file()), never)
    assert signer.public == public


def test_the_pin_comes_from_a_file_that_a_variable_names(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    token.key(Algorithm.ECDSA_P256)
    monkeypatch.setenv("OCIMODEL_PIN_FILE", token.pin_file().removeprefix("file:"))
    load_signer(token.uri("object=key"), never)
    monkeypatch.setenv("OCIMODEL_PIN_FILE", str(token.here / "nowhere"))
    with pytest.raises(NotFoundError, match="there is no PIN file"):
        load_signer(token.uri("object=key"), never)


def test_without_a_pin_it_says_where_one_may_be(token: Token) -> None:
    token.key(Algorithm.ECDSA_P256)
    with pytest.raises(UsageError, match="wants a PIN") as caught:
        load_signer(token.uri("object=key"))
    assert "OCIMODEL_PIN_FILE" in caught.value.hint


def test_a_wrong_pin_is_tried_once_and_not_shown(token: Token) -> None:
    token.key(Algorithm.ECDSA_P256)
    asked: list[int] = []

    def wrong() -> bytes:
        asked.append(1)
        return b"987654321"

    with pytest.raises(UsageError, match="wrong PIN") as caught:
        load_signer(token.uri("object=key"), wrong)
    assert asked == [1]
    assert "987654321" not in f"{caught.value}{caught.value.hint}"
    token.load("object=key")


def test_a_pin_that_is_no_text_is_refused(token: Token) -> None:
    token.key(Algorithm.ECDSA_P256)
    with pytest.raises(UsageError, match="not UTF-8"):
        load_signer(token.uri("object=key"), lambda: b"\xff\xfe12")


# --- what tokens are like ----------------------------------------------------------------------------------------


def test_a_private_key_without_its_public_object(token: Token) -> None:
    """As PIV cards have it: the public key is in a certificate under the same id. An RSA key tells its own."""
    local = LocalSigner(backend.generate(Algorithm.ECDSA_P256))
    private = serialization.load_pem_private_key(local.private_pem(None), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    (token.here / "k.pem").write_bytes(local.private_pem(None))
    token.hsm.import_key(token.here / "k.pem", "9c", "02")
    with token.session() as session:
        for found in session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY}):
            found.destroy()
    with pytest.raises(NotFoundError, match="neither its public key nor a certificate"):
        token.load("object=9c")
    with token.session() as session:
        session.create_object(certificate(private))
    signer = token.load("object=9c")
    assert signer.public == local.public
    assert signer.public.verify(signer.sign(MESSAGE), MESSAGE)
    assert load_public(token.uri("object=9c"), token.hsm.pin.encode) == local.public

    public = token.key(Algorithm.RSA_2048, "rsa", "03")
    with token.session() as session:
        for found in session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY}):
            found.destroy()
    assert token.load("object=rsa").public == public


def certificate(private: ec.EllipticCurvePrivateKey) -> dict[Attribute, Any]:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "9c")])
    made = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=private.public_key(),
        serial_number=1,
        not_valid_before=datetime(2020, 1, 1, tzinfo=UTC),
        not_valid_after=datetime(2021, 1, 1, tzinfo=UTC),
    ).sign(private, hashes.SHA256())
    return {
        Attribute.CLASS: ObjectClass.CERTIFICATE,
        Attribute.CERTIFICATE_TYPE: pkcs11.CertificateType.X_509,
        Attribute.TOKEN: True,
        Attribute.ID: b"\x02",
        Attribute.LABEL: "Certificate for Digital Signature",
        Attribute.SUBJECT: name.public_bytes(),
        Attribute.VALUE: made.public_bytes(serialization.Encoding.DER),
    }


def test_a_key_that_wants_the_pin_for_each_signature(token: Token) -> None:
    """Slot 9c of a YubiKey (CKA_ALWAYS_AUTHENTICATE)."""
    curve = pkcs11.util.ec.encode_named_curve_parameters("secp256r1")
    with token.session() as session:
        session.create_domain_parameters(
            pkcs11.KeyType.EC, {Attribute.EC_PARAMS: curve}, local=True
        ).generate_keypair(
            store=True,
            label="careful",
            id=b"\x07",
            private_template={Attribute.ALWAYS_AUTHENTICATE: True, Attribute.PRIVATE: True},
        )
    signer = token.load("object=careful")
    for message in (MESSAGE, b"another"):
        assert signer.public.verify(signer.sign(message), message)


def test_a_key_that_may_not_sign(token: Token) -> None:
    curve = pkcs11.util.ec.encode_named_curve_parameters("secp256r1")
    with token.session() as session:
        session.create_domain_parameters(
            pkcs11.KeyType.EC, {Attribute.EC_PARAMS: curve}, local=True
        ).generate_keypair(store=True, label="exchange", id=b"\x08", private_template={Attribute.SIGN: False})
    with pytest.raises(UsageError, match="not for signing"):
        token.load("object=exchange")


def test_a_size_of_key_that_nobody_else_verifies(token: Token) -> None:
    pem = token.here / "odd.pem"
    pem.write_bytes(
        rsa.generate_private_key(65537, 2560).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    token.hsm.import_key(pem, "odd")
    with pytest.raises(UsageError, match="kind or size"):
        token.load("object=odd")


def test_a_locked_token_is_77(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    """SoftHSM never locks; its error does what a card's would do."""
    from ocimodel.keys.custody import token as module
    from ocimodel.keys.custody import uri

    with pytest.raises(AuthenticationError, match="PinLocked"), module._told(pkcs11, uri.parse("pkcs11:")):
        raise pkcs11.PinLocked


# --- modules -----------------------------------------------------------------------------------------------------


def test_the_module_comes_from_a_variable(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    public = token.key(Algorithm.ECDSA_P256)
    bare = f"pkcs11:token={token.hsm.label};object=key"
    with pytest.raises(UsageError, match="which library") as caught:
        load_signer(bare, never)
    assert "OCIMODEL_PKCS11_MODULE" in caught.value.hint
    monkeypatch.setenv("OCIMODEL_PKCS11_MODULE", str(token.hsm.module))
    assert load_public(bare, never) == public


@pytest.mark.parametrize(
    ("query", "code", "said"),
    [
        ("module-path=/nowhere/l.so", 11, "there is no module /nowhere/l.so"),
        ("module-path=/etc/hostname", 2, "/etc/hostname"),
        ("module-name=nobody-has-this", 11, "no module is called nobody-has-this"),
        ("module-name=../../tmp/x", 2, "not a path"),
    ],
)
def test_a_module_that_is_none(query: str, code: int, said: str) -> None:
    with pytest.raises(OcimodelError) as caught:
        load_signer(f"pkcs11:token=t?{query}")
    assert caught.value.exit_code == code
    assert said in caught.value.message


def test_a_module_is_found_by_its_name(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    from ocimodel.keys.custody import token as module

    public = token.key(Algorithm.ECDSA_P256)
    monkeypatch.setattr(module, "PLACES", (str(token.hsm.module.parent),))
    assert load_public(f"pkcs11:token={token.hsm.label}?module-name=softhsm2") == public


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(UsageError) as caught:
        load_signer("pkcs11:token=t")
    assert caught.value.hint == "pip install 'ocimodel[pkcs11]'"


# --- as a user would ---------------------------------------------------------------------------------------------


def test_commands_take_a_token(token: Token) -> None:
    token.key(Algorithm.ECDSA_P256)
    world = make_world(token.here)
    spec = token.uri("object=key", pin_source=token.pin_file())
    shown = run("key", "public", spec, "-o", token.here / "token.pub")
    assert shown.code == 0, shown.err
    assert run("push", world.model, f"oci:{token.here}/other:v1", "--key", spec).code == 0
    ran = run("sign", world.ref, "--key", spec, "--debug")
    assert ran.code == 0, ran.err
    assert run("verify", world.ref, "--key", token.here / "token.pub").code == 0
    assert run("verify", world.ref, "--key", spec).code == 0
    assert run("verify", world.ref, "--key", spec, "--offline").code == 0, "a token is in this machine"
    (event,) = [event for event in events() if event["type"].endswith(".sign.v1")]
    assert event["data"]["signers"][0]["keyid"] == PublicKey.from_pem((token.here / "token.pub").read_bytes()).keyid
    assert run("key", "import", spec, token.here / "copy", "--no-password").code == 2


def test_the_pin_is_typed(token: Token) -> None:
    token.key(Algorithm.ECDSA_P256)
    world = make_world(token.here)
    code, _, shown = on_a_terminal(["sign", world.ref, "--key", token.uri("object=key")], [token.hsm.pin])
    assert code == 0, shown
    assert f"PIN of pkcs11:token={token.hsm.label};object=key: " in shown
    assert token.hsm.pin not in shown.replace(str(token.here), "")


def test_no_command_repeats_a_pin(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    token.key(Algorithm.ECDSA_P256)
    world = make_world(token.here)
    secret = "86420-the-pin"
    monkeypatch.setenv("OCIMODEL_KEY_PASSWORD", secret)
    ran = [
        run("sign", world.ref, "--key", token.uri("object=key"), "--debug"),
        run("sign", world.ref, "--key", token.uri("object=key", pin_value=secret), "--debug"),
        run("key", "public", token.uri("object=key", pin_value=secret), "--debug"),
        run("verify", world.ref, "--key", token.uri("object=key", pin_value=secret), "--debug", "--json"),
    ]
    assert [one.code for one in ran] == [2, 2, 2, 2]
    log = Path(os.environ["OCIMODEL_AUDIT_LOG"]).read_text()
    assert not [text for text in (log, *(one.out + one.err for one in ran)) if secret in text]
