"""Keys behind plugins: the example that we ship, driven by us and by Notation, and programs that misbehave."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from ocimodel.errors import AuthenticationError, NotFoundError, OcimodelError, UnavailableError, UsageError
from ocimodel.keys import backend
from ocimodel.keys.algorithms import Algorithm
from ocimodel.keys.custody import process, remote
from ocimodel.keys.custody.plugin import PROBE, PluginSigner, parse
from ocimodel.keys.public import PublicKey
from ocimodel.keys.signer import LocalSigner
from ocimodel.keys.specs import load_public, load_signer
from tests.commands import events, make_world, run
from tests.real import peers
from tests.real.registry import RealRegistry

EXAMPLE = Path(__file__).resolve().parents[1] / "examples/plugin/example_plugin.py"
MESSAGE = b"what is signed"
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a Python program on PATH under a name."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    monkeypatch.setattr(remote, "PAUSES", (0.0, 0.0))

    def put(name: str, program: str, directory: Path = place) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / name
        path.write_text(f"#!{sys.executable}\n{program}")
        path.chmod(0o755)
        return path

    return put


@pytest.fixture
def keys(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the example plugin's keys; the plugin is on PATH."""
    install("ocimodel-example", EXAMPLE.read_text())
    place = tmp_path / "keys"
    place.mkdir()
    monkeypatch.setenv("EXAMPLE_PLUGIN_KEYS", str(place))
    return place


def make(place: Path, name: str = "release", algorithm: Algorithm = Algorithm.ECDSA_P256) -> PublicKey:
    local = LocalSigner(backend.generate(algorithm))
    (place / f"{name}.key").write_bytes(local.private_pem(None))
    return local.public


# --- the example -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [Algorithm.ECDSA_P256, Algorithm.ECDSA_P384, Algorithm.ECDSA_P521])
def test_a_plugin_signs(keys: Path, algorithm: Algorithm) -> None:
    public = make(keys, algorithm=algorithm)
    signer = load_signer("plugin:example:release")
    assert signer.public == public
    assert public.verify(signer.sign(MESSAGE), MESSAGE)
    assert public.verify(signer.sign(MESSAGE, pss=True), MESSAGE, pss=True)
    assert load_public("plugin://example:release") == public


@pytest.mark.parametrize("algorithm", [Algorithm.RSA_2048, Algorithm.RSA_3072])
def test_rsa_keys_of_plugins_are_for_notations_format(keys: Path, algorithm: Algorithm) -> None:
    public = make(keys, algorithm=algorithm)
    signer = load_signer("plugin:example:release")
    assert public.verify(signer.sign(MESSAGE, pss=True), MESSAGE, pss=True)
    with pytest.raises(UsageError, match="RSASSA-PSS") as caught:
        signer.sign(MESSAGE)
    assert "--format notation" in caught.value.hint


@pytest.mark.parametrize(
    ("key", "code", "said"),
    [
        ("nobody", 11, "there is no key nobody"),
        ("", 11, "a key is called by letters"),
        ("../release", 11, "a key is called by letters"),
        ("edwards", 11, "neither EC nor RSA"),
    ],
)
def test_what_the_example_refuses(keys: Path, key: str, code: int, said: str) -> None:
    make(keys, "edwards", Algorithm.ED25519)
    with pytest.raises(OcimodelError, match=said) as caught:
        load_signer(f"plugin:example:{key}")
    assert caught.value.exit_code == code


def test_a_plugin_may_log_much(puppet: Callable[[str], None]) -> None:
    puppet("sys.stderr.write('x' * 1_000_000); sys.stderr.flush()\n" + answers(describe_key=DESCRIBED))
    assert load_public("plugin:puppet:key") == ONE.public


def test_a_large_statement_goes_through(keys: Path) -> None:
    """More than a pipe holds, in both directions at once."""
    public = make(keys)
    message = os.urandom(3_000_000)
    assert public.verify(load_signer("plugin:example:release").sign(message), message)


def test_commands_take_a_plugin(keys: Path, tmp_path: Path) -> None:
    make(keys)
    world = make_world(tmp_path)
    assert run("key", "public", "plugin:example:release", "-o", tmp_path / "release.pub").code == 0
    ran = run("sign", world.ref, "--key", "plugin:example:release", "--debug")
    assert ran.code == 0, ran.err
    assert run("verify", world.ref, "--key", tmp_path / "release.pub").code == 0
    denied = run("sign", world.ref, "--key", "plugin:example:nobody", "--json")
    assert (denied.code, denied.document["class"]) == (11, "availability")


def certified(place: Path) -> x509.Certificate:
    """A key, its certificate for code, and the authority's, as Notation wants them."""
    authority, private = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("tests CA", "release")]
    now = datetime.now(UTC)

    def certificate(name: x509.Name, key: ec.EllipticCurvePrivateKey, ca: bool) -> x509.Certificate:
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "crl_sign",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = (
            x509.CertificateBuilder(names[0], name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, **usage), critical=True)
        )
        if not ca:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False
            )
        return builder.sign(authority, hashes.SHA256())

    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (place / "release.key").write_bytes(private.private_bytes(serialization.Encoding.PEM, *form))
    chain = [certificate(names[1], private, False), certificate(names[0], authority, True)]
    pem = [one.public_bytes(serialization.Encoding.PEM) for one in chain]
    (place / "release.crt").write_bytes(b"".join(pem))
    (place / "ca.crt").write_bytes(pem[1])
    return chain[0]


@pytest.mark.peer
def test_notation_signs_with_the_example(
    keys: Path, install: Install, distribution: RealRegistry, tmp_path: Path
) -> None:
    """So that what we call the contract is what Notation calls it; and its directory of plugins is found."""
    certified(keys)
    home = Path(os.environ["XDG_CONFIG_HOME"]) / "notation"
    source = EXAMPLE.read_text()
    (tmp_path / "bin/ocimodel-example").unlink()
    install("notation-example", source, home / "plugins/example")
    world = make_world(tmp_path)
    ref = distribution.fresh()
    pushed = run("push", world.model, f"{ref}:v1", "--plain-http", distribution.host)
    assert pushed.code == 0, pushed.err
    pinned = pushed.out.strip().replace(":v1@", "@")
    peers.run("notation", "key", "add", "--plugin", "example", "--id", "release", "mine")
    peers.run("notation", "sign", "--insecure-registry", "--key", "mine", pinned)
    peers.run("notation", "cert", "add", "--type", "ca", "--store", "tests", str(keys / "ca.crt"))
    policy = {
        "name": "tests",
        "registryScopes": ["*"],
        "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:tests"],
        "trustedIdentities": ["*"],
    }
    (tmp_path / "policy.json").write_text(json.dumps({"version": "1.0", "trustPolicies": [policy]}))
    peers.run("notation", "policy", "import", str(tmp_path / "policy.json"))
    peers.run("notation", "verify", "--insecure-registry", pinned)

    signed = run("sign", pinned, "--key", "plugin:example:release", "--plain-http", distribution.host)
    assert signed.code == 0, signed.err
    (keys / "release.pub").write_text(run("key", "public", "plugin:example:release").out)
    verified = run("verify", pinned, "--key", keys / "release.pub", "--plain-http", distribution.host)
    assert verified.code == 0, verified.err


# --- which program -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", "/bin/sh", ".hidden", "-x", "a b", "x" * 200, "a;b", "$(x)", "ends."]
)
def test_names_of_plugins_have_no_path(name: str) -> None:
    with pytest.raises(UsageError, match="not the name of a plugin"):
        load_signer(f"plugin:{name}:key")


def test_keys_may_have_colons() -> None:
    arn = "arn:aws:signer:eu-west-1:123456789012:/signing-profiles/ml"
    assert parse(f"plugin:com.amazonaws.signer:{arn}") == ("com.amazonaws.signer", arn)
    assert parse("plugin:azure-kv:https://v.vault.azure.net/keys/k/1") == (
        "azure-kv",
        "https://v.vault.azure.net/keys/k/1",
    )
    with pytest.raises(UsageError, match="not the name of a key"):
        parse("plugin:x:a\x1b[0m")


def test_there_is_no_such_plugin(install: Install) -> None:
    with pytest.raises(NotFoundError, match="no such plugin") as caught:
        load_signer("plugin:nobody:key")
    assert "ocimodel-nobody" in caught.value.hint


def test_a_link_in_notations_directory_is_not_followed(keys: Path, install: Install, tmp_path: Path) -> None:
    make(keys)
    place = Path(os.environ["XDG_CONFIG_HOME"]) / "notation/plugins/example"
    place.mkdir(parents=True)
    (tmp_path / "bin/ocimodel-example").rename(tmp_path / "elsewhere")
    (place / "notation-example").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotFoundError, match="no such plugin"):
        load_signer("plugin:example:release")
    install("notation-example", EXAMPLE.read_text())
    load_signer("plugin:example:release")


@pytest.mark.parametrize("content", [b"no program", b"#!/nowhere/interpreter\n"])
def test_what_cannot_be_run(install: Install, content: bytes) -> None:
    path = install("ocimodel-broken", "")
    path.write_bytes(content)
    with pytest.raises(UsageError, match="cannot be run"):
        load_signer("plugin:broken:key")


# --- what it gets ------------------------------------------------------------------------------------------------

SPY = """
import json, os, sys
with open(os.environ["SPY"], "a") as log:
    question = json.load(sys.stdin)
    log.write(json.dumps({"argv": sys.argv[1:], "question": question, "env": dict(os.environ)}) + "\\n")
print(json.dumps({"name": "spy", "supportedContractVersions": ["1.0"], "capabilities": []}))
"""


def test_what_a_plugin_is_told(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials of the environment, its configuration, and not what unlocks our own keys."""
    install("ocimodel-spy", SPY)
    monkeypatch.setenv("SPY", str(tmp_path / "seen"))
    monkeypatch.setenv("AWS_PROFILE", "signing")
    monkeypatch.setenv("OCIMODEL_KEY_PASSWORD", "hunter2")
    monkeypatch.setenv("COSIGN_PASSWORD", "hunter2")
    monkeypatch.setenv("OCIMODEL_PIN_FILE", "/hunter2")
    monkeypatch.setenv("OCIMODEL_PLUGIN_CONFIG", '{"credential": "managed"}')
    with pytest.raises(UsageError, match="no raw signatures"):
        load_signer("plugin:spy:key")
    (seen,) = [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()]
    assert seen["argv"] == ["get-plugin-metadata"]
    assert seen["question"] == {"pluginConfig": {"credential": "managed"}}
    assert seen["env"]["AWS_PROFILE"] == "signing"
    assert "hunter2" not in json.dumps(seen)


@pytest.mark.parametrize("config", ["no json", "[]", '{"a": 1}'])
def test_a_configuration_that_is_none(keys: Path, monkeypatch: pytest.MonkeyPatch, config: str) -> None:
    monkeypatch.setenv("OCIMODEL_PLUGIN_CONFIG", config)
    with pytest.raises(UsageError, match="OCIMODEL_PLUGIN_CONFIG is not"):
        load_signer("plugin:example:release")


# --- what it answers ---------------------------------------------------------------------------------------------

PUPPET = """
import json, os, sys, time
sys.stdin.read()
exec(open(os.environ["PUPPET"]).read(), {"command": sys.argv[1]})
"""


@pytest.fixture
def puppet(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A plugin whose behaviour is the Python that it is given, with ``command`` in reach."""
    install("ocimodel-puppet", PUPPET)
    script = tmp_path / "puppet.py"
    monkeypatch.setenv("PUPPET", str(script))
    monkeypatch.setattr(process, "SECONDS", 20.0)

    def behave(text: str) -> None:
        script.write_text("import json, os, subprocess, sys, time\n" + text)

    return behave


def error(code: str, message: str = "said so", exit_code: int = 1) -> str:
    text = json.dumps({"errorCode": code, "errorMessage": message})
    return f"sys.stderr.write({text!r}); sys.exit({exit_code})\n"


METADATA = {"name": "puppet", "supportedContractVersions": ["1.0"], "capabilities": ["SIGNATURE_GENERATOR.RAW"]}


def answers(**by_command: Any) -> str:
    given = {name.replace("_", "-"): answer for name, answer in by_command.items()}
    table = {"get-plugin-metadata": METADATA, **given}
    return f"print(json.dumps(json.loads({json.dumps(json.dumps(table))})[command]))\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ACCESS_DENIED", AuthenticationError),
        ("TIMEOUT", UnavailableError),
        ("THROTTLED", UnavailableError),
        ("VALIDATION_ERROR", UsageError),
        ("UNSUPPORTED_CONTRACT_VERSION", UsageError),
        ("ERROR", UnavailableError),
        ("SOMETHING_NEW", UnavailableError),
    ],
)
def test_errors_of_the_contract(puppet: Callable[[str], None], code: str, expected: type[OcimodelError]) -> None:
    puppet(error(code))
    with pytest.raises(expected, match="said so"):
        load_signer("plugin:puppet:key")


def test_a_throttled_plugin_is_asked_again(puppet: Callable[[str], None], tmp_path: Path, keys: Path) -> None:
    public = make(keys)
    tried = tmp_path / "tried"
    der = b64(public.der)
    puppet(
        f"tries = open({str(tried)!r}, 'a+'); tries.write('x'); tries.flush()\n"
        f"if os.path.getsize({str(tried)!r}) < 3: {error('THROTTLED')}"
        + answers(describe_key={"keyId": "key", "keySpec": "EC-256", "publicKey": der})
    )
    assert load_signer("plugin:puppet:key").public == public
    assert len(tried.read_text()) == 4


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("print('hello')", "not JSON"),
        ("pass", "not JSON"),
        ("print('{}')", "name: is missing"),
        ("print('[]')", "must be an object"),
        ("print('{\"name\": 7}')", "name: must be a string"),
        ("sys.exit(3)", "ended with 3"),
        ("sys.stderr.write('Traceback: token=hunter2'); sys.exit(1)", "ended with 1"),
        ("os.kill(os.getpid(), 9)", "ended with -9"),
        ("while True: print('x' * 65536)", "wrote without end"),
    ],
)
def test_a_plugin_that_misbehaves_is_75(puppet: Callable[[str], None], behaviour: str, said: str) -> None:
    puppet(behaviour)
    with pytest.raises(UnavailableError) as caught:
        load_signer("plugin:puppet:key")
    assert said in caught.value.message
    assert "hunter2" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize(
    "behaviour",
    [
        "time.sleep(600)",
        "while True: sys.stderr.write('x' * 65536)",
        # It answers, and leaves behind a child that holds its output open.
        "subprocess.Popen(['sleep', '600']); print(json.dumps({'name': 'puppet'}))",
    ],
)
def test_a_plugin_that_hangs_is_ended(
    puppet: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, behaviour: str
) -> None:
    puppet(behaviour)
    monkeypatch.setattr(process, "SECONDS", 1.5)
    started = time.monotonic()
    with pytest.raises(UnavailableError, match="did not end within"):
        load_signer("plugin:puppet:key")
    assert time.monotonic() - started < 60  # and not the 600 s that it wanted


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({**METADATA, "name": "other"}, "calls itself otherwise"),
        ({**METADATA, "supportedContractVersions": ["2.0"]}, "version 1"),
        ({**METADATA, "capabilities": ["SIGNATURE_GENERATOR.ENVELOPE"]}, "no raw signatures"),
    ],
)
def test_a_plugin_of_another_kind(puppet: Callable[[str], None], metadata: dict[str, Any], said: str) -> None:
    puppet(answers(**{"get-plugin-metadata": metadata}))
    with pytest.raises(UsageError, match=said):
        load_signer("plugin:puppet:key")


ONE, OTHER = (LocalSigner(backend.generate(Algorithm.ECDSA_P256)) for _ in range(2))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


DESCRIBED = {"keyId": "key", "keySpec": "EC-256", "publicKey": b64(ONE.public.der)}
SIGNED = {"keyId": "key", "signature": b64(ONE.sign(MESSAGE)), "signingAlgorithm": "ECDSA-SHA-256"}


def test_der_is_taken_too_and_a_chain_is_optional(puppet: Callable[[str], None]) -> None:
    puppet(answers(describe_key=DESCRIBED, generate_signature=SIGNED))
    signer = load_signer("plugin:puppet:key")
    assert ONE.public.verify(signer.sign(MESSAGE), MESSAGE)
    assert isinstance(signer, PluginSigner)
    assert signer.certificates == ()


@pytest.mark.parametrize(
    "change",
    [
        {"signature": b64(OTHER.sign(MESSAGE))},
        {"signature": b64(b"x" * 64)},
        {"signature": "not base64!"},
        {"signature": ""},
        {"keyId": "other"},
        {"signingAlgorithm": "RSASSA-PSS-SHA-256"},
        {"signingAlgorithm": None},
        {"certificateChain": "x"},
        {"certificateChain": ["x"]},
        {"certificateChain": [""] * 100},
    ],
)
def test_what_is_no_signature_by_the_key_is_75(puppet: Callable[[str], None], change: dict[str, Any]) -> None:
    puppet(answers(describe_key=DESCRIBED, generate_signature={**SIGNED, **change}))
    signer = load_signer("plugin:puppet:key")
    with pytest.raises(UnavailableError):
        signer.sign(MESSAGE)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"keyId": "other"}, UnavailableError),
        ({"keySpec": "EC-384"}, UsageError),
        ({"keySpec": "ED25519"}, UsageError),
        ({"publicKey": b64(b"no key")}, UsageError),
        ({"publicKey": "!"}, UnavailableError),
    ],
)
def test_a_key_that_is_none(
    puppet: Callable[[str], None], change: dict[str, Any], expected: type[OcimodelError]
) -> None:
    puppet(answers(describe_key={**DESCRIBED, **change}))
    with pytest.raises(expected):
        load_signer("plugin:puppet:key")


def test_without_its_public_key_a_plugin_signs_a_sentence(
    install: Install, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As all plugins that were written for Notation alone: the certificate tells which key it is."""
    leaf = certified(keys)
    old = EXAMPLE.read_text().replace(', "publicKey": text(key.public())', "")
    assert old != EXAMPLE.read_text()
    install("ocimodel-example", old)
    signer = load_signer("plugin:example:release")
    assert isinstance(signer, PluginSigner)
    assert signer.public.der == leaf.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert signer.certificates[0] == leaf.public_bytes(serialization.Encoding.DER)
    assert signer.public.verify(signer.sign(MESSAGE), MESSAGE)
    assert not PROBE.startswith(b"DSSEv1 "), "or somebody could have a statement signed by asking which key it is"
    (keys / "release.crt").unlink()
    with pytest.raises(UsageError, match="neither its public key nor a certificate"):
        load_signer("plugin:example:release")


def test_nothing_of_a_plugins_noise_is_repeated(puppet: Callable[[str], None], tmp_path: Path) -> None:
    world = make_world(tmp_path)
    puppet("sys.stderr.write('Authorization: Bearer hunter2'); sys.exit(1)")
    ran = run("sign", world.ref, "--key", "plugin:puppet:key", "--debug")
    assert ran.code == 75
    assert "hunter2" not in ran.err + json.dumps(events())
