"""Keys: what is taken for one, what is refused, how they lie on the disk, and who may ask for a password."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, padding, rsa, utils

from ocimodel.attest.bundle import Bundle, MessageSignature
from ocimodel.attest.envelope import Envelope
from ocimodel.attest.statement import signature_statement
from ocimodel.errors import FormatError, NotFoundError, StorageError, UnavailableError, UsageError
from ocimodel.keys import backend, cosign, files, passwords, pkcs8, specs
from ocimodel.keys.algorithms import DEFAULT, Algorithm
from ocimodel.keys.public import PublicKey, keyid_of_hint
from ocimodel.keys.sealing import sign_statement, verify_message
from ocimodel.keys.signer import LocalSigner
from tests.signers import ALICE, BOB, CAROL, MALLORY, MODEL, opens

PASSWORD = b"correct horse"


@pytest.fixture(scope="module")
def signers() -> dict[Algorithm, LocalSigner]:
    return {algorithm: LocalSigner(backend.generate(algorithm)) for algorithm in Algorithm}


def ask(secret: bytes | None = PASSWORD) -> Callable[[], bytes | None]:
    return lambda: secret


def never() -> bytes | None:
    raise AssertionError("nobody should have been asked")


def spki(key: object) -> bytes:
    return key.public_bytes(  # type: ignore[attr-defined, no-any-return]
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


# --- algorithms ------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", Algorithm)
def test_each_algorithm_signs_deterministically(
    signers: dict[Algorithm, LocalSigner], algorithm: Algorithm
) -> None:
    signer = signers[algorithm]
    signature = signer.sign(b"message")
    assert signature == signer.sign(b"message")
    assert signer.public.algorithm is algorithm
    assert signer.public.verify(signature, b"message")
    assert not signer.public.verify(signature, b"massage")
    assert not any(other.public.verify(signature, b"message") for other in signers.values() if other is not signer)


@pytest.mark.parametrize(
    ("signer", "r", "s"),
    [
        (
            ALICE,
            "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
            "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
        ),
        (
            CAROL,
            "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46",
            "99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8",
        ),
    ],
    ids=["P-256 with SHA-256", "P-384 with SHA-384"],
)
def test_ecdsa_is_that_of_rfc_6979(signer: LocalSigner, r: str, s: str) -> None:
    assert signer.sign(b"sample") == utils.encode_dss_signature(int(r, 16), int(s, 16))


def test_ed25519_is_that_of_rfc_8032() -> None:
    assert BOB.public.der.hex().endswith("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert BOB.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")


def test_the_default_is_what_every_peer_takes() -> None:
    assert DEFAULT is Algorithm.ECDSA_P256


@pytest.mark.parametrize("algorithm", Algorithm)
def test_garbage_is_no_signature(signers: dict[Algorithm, LocalSigner], algorithm: Algorithm) -> None:
    public = signers[algorithm].public
    for garbage in (b"", b"\0", b"\x30\x06\x02\x01\x00\x02\x01\x00", bytes(64), bytes(4096)):
        assert not public.verify(garbage, b"message")


def test_the_key_decides_the_algorithm(signers: dict[Algorithm, LocalSigner]) -> None:
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    key = backend.generate(Algorithm.RSA_2048)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert not LocalSigner(key).public.verify(key.sign(b"m", pss, hashes.SHA256()), b"m")
    p384 = ec.generate_private_key(ec.SECP384R1())
    with_sha256 = p384.sign(b"m", ec.ECDSA(hashes.SHA256()))
    assert not LocalSigner(p384).public.verify(with_sha256, b"m")


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256K1()),
        ed448.Ed448PrivateKey.generate(),
        dsa.generate_private_key(2048),
        rsa.generate_private_key(65537, 1024),  # noqa: S505  refused is what it is to be
        rsa.generate_private_key(65537, 2056),
    ],
    ids=["secp256k1", "ed448", "dsa", "rsa-1024", "rsa-2056"],
)
def test_other_kinds_of_keys_are_refused(key: ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(UsageError, match=r"not supported|unknown kind"):
        PublicKey.from_pem(spki(key.public_key()))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(UsageError, match="not supported"):
        specs.local_signer(private)


def test_a_digest_can_be_verified_where_the_scheme_allows(signers: dict[Algorithm, LocalSigner]) -> None:
    for algorithm, signer in signers.items():
        signature, name = signer.sign(b"m"), algorithm.scheme.hash
        digest = hashlib.new(name or "sha256", b"m").digest()
        assert signer.public.verify_digest(signature, digest) is (name is not None)
        assert not signer.public.verify_digest(signature, digest[:-1])
        assert not signer.public.verify_digest(signature, bytes(len(digest)))


# --- public keys -----------------------------------------------------------------------------


def test_a_key_has_two_names_and_both_are_its_hash() -> None:
    digest = hashlib.sha256(ALICE.public.der).digest()
    assert ALICE.public.keyid == f"sha256:{digest.hex()}"
    assert base64.b64decode(ALICE.public.hint) == digest
    assert keyid_of_hint(ALICE.public.hint) == ALICE.public.keyid


@pytest.mark.parametrize("hint", ["", "x", "YWJj", "é", ALICE.public.keyid])
def test_other_tools_hints_name_nobody(hint: str) -> None:
    assert keyid_of_hint(hint) is None


def test_two_spellings_of_one_key_are_one_key() -> None:
    key = ec.derive_private_key(1234567, ec.SECP256R1()).public_key()
    compressed = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    header = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    body = base64.b64encode(header + compressed)
    other = b"# text before\n-----BEGIN PUBLIC KEY-----\r\n" + body + b"\r\n-----END PUBLIC KEY-----\r\n"
    assert PublicKey.from_pem(other, label="b") == PublicKey.from_pem(spki(key), label="a")


def test_pem_goes_round() -> None:
    for signer in (ALICE, BOB, CAROL):
        assert PublicKey.from_pem(signer.public.to_pem()) == signer.public


def test_a_private_key_where_a_public_one_is_wanted() -> None:
    for password in (None, PASSWORD):
        with pytest.raises(UsageError, match="that is a private key") as caught:
            PublicKey.from_pem(ALICE.private_pem(password), label="k.key")
        assert caught.value.exit_code == 2
    both = ALICE.private_pem(None) + ALICE.public.to_pem()
    with pytest.raises(UsageError, match="that is a private key"):
        PublicKey.from_pem(both)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not PEM",
        ALICE.public.to_pem() + BOB.public.to_pem(),
        ALICE.public.to_pem().replace(b"PUBLIC KEY", b"CERTIFICATE"),
        ALICE.public.to_pem().replace(b"PUBLIC KEY", b"RSA PUBLIC KEY"),
        re.sub(rb"\n.{8}", b"\nAAAAAAAA", ALICE.public.to_pem(), count=1),
        b"x" * 70_000,
    ],
    ids=["empty", "text", "two keys", "certificate", "PKCS#1", "damaged", "huge"],
)
def test_what_is_no_public_key(data: bytes) -> None:
    with pytest.raises(UsageError):
        PublicKey.from_pem(data)


# --- private keys ----------------------------------------------------------------------------


def test_a_password_is_asked_for_only_where_it_is_needed() -> None:
    assert specs.local_signer(ALICE.private_pem(None), never).public == ALICE.public
    assert specs.local_signer(ALICE.private_pem(PASSWORD), ask()).public == ALICE.public


def test_a_wrong_password_is_usage_and_shows_no_secret() -> None:
    for secret in (b"swordfish", b""):
        with pytest.raises(UsageError) as caught:
            specs.local_signer(ALICE.private_pem(PASSWORD), ask(secret), label="k.key")
        assert "password" in caught.value.message
        assert "swordfish" not in caught.value.message + caught.value.hint
        assert caught.value.__cause__ is None
    with pytest.raises(UsageError, match="no password was given"):
        specs.local_signer(ALICE.private_pem(PASSWORD), ask(None))


def test_a_public_key_where_a_private_one_is_wanted() -> None:
    with pytest.raises(UsageError, match="that is a public key"):
        specs.local_signer(ALICE.public.to_pem())


@pytest.mark.parametrize("data", [b"", b"text", ALICE.private_pem(None) * 2, b"-----BEGIN PRIVATE KEY-----\n"])
def test_what_is_no_private_key(data: bytes) -> None:
    with pytest.raises(UsageError):
        specs.local_signer(data)


def test_what_other_tools_write_is_read() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = PublicKey.from_pem(spki(key.public_key()))
    for form, secret in (
        (serialization.PrivateFormat.TraditionalOpenSSL, None),
        (serialization.PrivateFormat.PKCS8, PASSWORD),
    ):
        protection = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
        data = key.private_bytes(serialization.Encoding.PEM, form, protection)
        source = ask() if secret else never
        assert specs.local_signer(data, source).public == public
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    plain = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    assert specs.local_signer(parameters + plain).public == public


def test_an_encrypted_traditional_key_wants_its_password() -> None:
    key = rsa.generate_private_key(65537, 2048)
    data = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(PASSWORD),
    )
    with pytest.raises(UsageError, match="encrypted"):
        specs.local_signer(data)
    assert specs.local_signer(data, ask()).public.algorithm is Algorithm.RSA_2048


@pytest.mark.parametrize("algorithm", Algorithm)
def test_encrypted_keys_of_every_size_go_round(signers: dict[Algorithm, LocalSigner], algorithm: Algorithm) -> None:
    pem = signers[algorithm].private_pem(PASSWORD)
    assert specs.local_signer(pem, ask()).public == signers[algorithm].public


def test_encrypted_keys_are_expensive_to_guess() -> None:
    document = base64.b64decode(b"".join(ALICE.private_pem(PASSWORD).splitlines()[1:-1]))
    assert pkcs8._integer(600_000) in document
    assert ALICE.private_pem(PASSWORD) != ALICE.private_pem(PASSWORD), "salt and IV are fresh"


def test_a_signer_does_not_show_its_key() -> None:
    assert repr(ALICE) == f"LocalSigner({ALICE.public.keyid})"


# --- specs -----------------------------------------------------------------------------------


def test_a_path_names_a_key(tmp_path: Path) -> None:
    (tmp_path / "k.key").write_bytes(ALICE.private_pem(None))
    (tmp_path / "k.pub").write_bytes(ALICE.public.to_pem())
    assert specs.load_signer(str(tmp_path / "k.key")).public == ALICE.public
    loaded = specs.load_public(str(tmp_path / "k.pub"))
    assert (loaded, loaded.label) == (ALICE.public, "k.pub")


def test_a_variable_names_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", ALICE.private_pem(None).decode())
    assert specs.load_signer("env:MY_KEY").public == ALICE.public
    with pytest.raises(UsageError, match="that is a private key"):
        specs.load_public("env:MY_KEY")
    monkeypatch.setenv("MY_KEY", "")
    with pytest.raises(NotFoundError, match="MY_KEY"):
        specs.load_signer("env:MY_KEY")


def test_a_key_that_is_not_there_is_11(tmp_path: Path) -> None:
    for load in (specs.load_signer, specs.load_public):
        with pytest.raises(NotFoundError) as caught:
            load(str(tmp_path / "none"))
        assert caught.value.exit_code == 11


def test_a_key_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="directory"):
        specs.load_public(str(tmp_path))
    with pytest.raises(StorageError):
        specs.load_public(str(tmp_path / ("n" * 300)))


def test_an_unknown_scheme_is_usage_but_a_file_with_a_colon_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no scheme"):
        specs.load_public("k8s:secret")
    monkeypatch.chdir(tmp_path)
    Path("k8s:secret").write_bytes(ALICE.public.to_pem())
    assert specs.load_public("k8s:secret") == ALICE.public
    assert specs.load_public(str(tmp_path / "k8s:secret")) == ALICE.public


# --- cosign's key files ----------------------------------------------------------------------


def cosign_file(
    password: bytes, kind: str = "ENCRYPTED SIGSTORE PRIVATE KEY", changes: dict[str, object] | None = None
) -> bytes:
    """A key file as cosign writes it."""
    secret = pytest.importorskip("nacl.secret", reason="PyNaCl, an extra, is not installed")
    plain = backend.private_der(ALICE._handle)
    salt, nonce = bytes(32), bytes(24)
    key = hashlib.scrypt(password, salt=salt, n=16384, r=8, p=1, dklen=32, maxmem=2**26)
    sealed = secret.SecretBox(key).encrypt(plain, nonce).ciphertext
    document = {
        "kdf": {
            "name": "scrypt",
            "params": {"N": 16384, "r": 8, "p": 1} | (changes or {}),
            "salt": base64.b64encode(salt).decode(),
        },
        "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(nonce).decode()},
        "ciphertext": base64.b64encode(sealed).decode(),
    }
    body = base64.encodebytes(json.dumps(document).encode())
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (kind.encode(), body, kind.encode())


@pytest.mark.parametrize("kind", ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"])
@pytest.mark.parametrize("password", [PASSWORD, b""])
def test_cosigns_key_files_are_read(kind: str, password: bytes) -> None:
    assert specs.local_signer(cosign_file(password, kind), ask(password)).public == ALICE.public


def test_the_largest_parameters_that_are_taken_are_computed() -> None:
    """1 GiB, where the libraries count with signed numbers of 32 bits."""
    with pytest.raises(UsageError, match="wrong password"):
        specs.local_signer(cosign_file(PASSWORD, changes={"N": 2**20}), ask())


def test_cosigns_key_files_with_a_wrong_password() -> None:
    with pytest.raises(UsageError, match="wrong password"):
        specs.local_signer(cosign_file(PASSWORD), ask(b"x"))


@pytest.mark.parametrize("changes", [{"N": 2**40}, {"N": 3}, {"r": 2**20}, {"p": 0}, {"N": "x"}], ids=str)
def test_cosigns_key_files_cannot_ask_for_the_whole_machine(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="not a cosign key file"):
        specs.local_signer(cosign_file(PASSWORD, changes=changes), ask())


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"kdf": {"name": "argon2"}, "cipher": {"name": "nacl/secretbox"}},
        {"kdf": {"name": "scrypt", "params": {"N": 2, "r": 1, "p": 1}}, "cipher": {"name": "aes"}},
        {
            "kdf": {"name": "scrypt", "params": {"N": 2, "r": 1, "p": 1}, "salt": "eA=="},
            "cipher": {"name": "nacl/secretbox", "nonce": "eA=="},
            "ciphertext": "eA==",
        },
    ],
    ids=str,
)
def test_what_is_no_cosign_key_file(document: dict[str, object] | None) -> None:
    body = b"*" if document is None else base64.encodebytes(json.dumps(document).encode())
    kind = b"ENCRYPTED SIGSTORE PRIVATE KEY"
    with pytest.raises(UsageError, match="not a cosign key file"):
        specs.local_signer(b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (kind, body, kind), ask())


def test_without_pynacl_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    block = cosign_file(PASSWORD)
    monkeypatch.setitem(sys.modules, "nacl.secret", None)
    with pytest.raises(UsageError) as caught:
        cosign.decrypt(block, PASSWORD, "cosign.key")
    assert "ocimodel[cosign]" in caught.value.hint


# --- passwords -------------------------------------------------------------------------------


def test_the_sources_of_a_password_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"from the file\n")
    env = {"OCIMODEL_KEY_PASSWORD": "ours", "COSIGN_PASSWORD": "cosign's"}
    assert passwords.password_from(env, lambda: "typed", file)() == b"from the file"
    assert passwords.password_from(env, lambda: "typed")() == b"ours"
    del env["OCIMODEL_KEY_PASSWORD"]
    assert passwords.password_from(env, lambda: "typed")() == b"cosign's"
    assert passwords.password_from({}, lambda: "typed")() == b"typed"
    assert passwords.password_from({})() is None


def test_set_but_empty_means_none_and_asks_nobody() -> None:
    def prompt() -> str | None:
        raise AssertionError("nobody should have been asked")

    assert passwords.password_from({"COSIGN_PASSWORD": ""}, prompt)() == b""
    assert passwords.new_password({"OCIMODEL_KEY_PASSWORD": ""}, prompt) is None


def test_a_person_is_asked_once() -> None:
    answers = iter(["first"])
    source = passwords.password_from({}, lambda: next(answers))
    assert (source(), source()) == (b"first", b"first")


def test_a_new_key_is_not_left_open_by_accident() -> None:
    with pytest.raises(UsageError, match="password"):
        passwords.new_password({}, passwords.nobody)
    assert passwords.new_password({}, lambda: "typed") == b"typed"


def test_password_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        passwords.password_from({}, file=tmp_path / "none")()
    with pytest.raises(StorageError):
        passwords.password_from({}, file=tmp_path)()
    (tmp_path / "long").write_bytes(b"x" * 5000)
    with pytest.raises(UsageError):
        passwords.password_from({}, file=tmp_path / "long")()


# --- files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_generate_writes_two_files(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        pair = files.generate(tmp_path / "model", PASSWORD)
    finally:
        os.umask(before)
    assert (pair.private, pair.public) == (tmp_path / "model.key", tmp_path / "model.pub")
    assert stat.S_IMODE(pair.private.stat().st_mode) == 0o600
    assert b"ENCRYPTED" in pair.private.read_bytes()
    assert specs.load_signer(str(pair.private), ask()).public == pair.key
    assert specs.load_public(str(pair.public)) == pair.key
    assert files.permission_warning(str(pair.private)) is None


def test_generate_without_a_password(tmp_path: Path) -> None:
    pair = files.generate(str(tmp_path / "model"), None, "ed25519")
    assert specs.load_signer(str(pair.private), never).public.algorithm is Algorithm.ED25519


@pytest.mark.parametrize("name", ["model.key", "model.pub"])
def test_a_key_is_never_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(UsageError, match=f"{name} is there already"):
        files.generate(tmp_path / "model", None)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "precious"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "model.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="there already"):
        files.generate(tmp_path / "model", None)
    assert not (tmp_path / "elsewhere").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        files.generate(tmp_path / "none" / "model", None)
    with pytest.raises(UsageError, match="no type of key"):
        files.generate(tmp_path / "model", None, "dsa")


def test_import_writes_pkcs8(tmp_path: Path) -> None:
    source = tmp_path / "cosign.key"
    source.write_bytes(cosign_file(b""))
    pair = files.import_key(str(source), tmp_path / "model", PASSWORD, ask(b""))
    assert pair.key == ALICE.public
    assert pair.private.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    with pytest.raises(UsageError, match="never leave"):
        files.import_key("awskms:x", tmp_path / "other", None)


def test_a_key_that_others_can_read_is_worth_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "k.key"
    path.write_bytes(ALICE.private_pem(None))
    path.chmod(0o644)
    assert "chmod 600" in str(files.permission_warning(str(path)))
    path.chmod(0o600)
    assert files.permission_warning(str(path)) is None
    assert files.permission_warning("env:X") is None
    assert files.permission_warning("awskms:x") is None
    assert files.permission_warning(str(tmp_path / "none")) is None


# --- keys and documents ----------------------------------------------------------------------


def test_nothing_malformed_gets_a_signature() -> None:
    with pytest.raises(FormatError):
        sign_statement(ALICE, b"{}")


def test_a_faulty_signature_does_not_leave() -> None:
    class Faulty:
        public = ALICE.public

        def sign(self, message: bytes, *, pss: bool = False) -> bytes:
            return MALLORY.sign(message)

    with pytest.raises(UnavailableError, match="does not verify"):
        sign_statement(Faulty(), signature_statement(MODEL.digest))


def test_a_message_signature_is_about_a_file() -> None:
    digest = hashlib.sha256(b"file").digest()
    message = MessageSignature(algorithm="SHA2_256", digest=digest, signature=ALICE.sign(b"file"))
    assert verify_message(Bundle(message=message, hint=""), ALICE.public, digest)
    assert not verify_message(Bundle(message=message, hint=""), MALLORY.public, digest)
    assert not verify_message(Bundle(message=message, hint=""), CAROL.public, digest)
    assert not verify_message(Bundle(message=message, hint=""), ALICE.public, bytes(32))
    assert not verify_message(Bundle(hint=""), ALICE.public, digest)
    statement = Envelope(payload=b"x", signature=ALICE.sign(b"x"))
    assert not opens(ALICE.public, statement), "the signature is over the payload alone, not over the PAE"


def test_names_cost_nothing() -> None:
    code = (
        "import sys, ocimodel.keys.specs, ocimodel.keys.files, ocimodel.keys.passwords, ocimodel.trust.policy;"
        "heavy = ('cryptography', 'nacl', 'pkcs11', 'securesystemslib', 'boto3', 'ctypes');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
