"""Keyless identities: recognised by issuer and subject, offline, and by nothing less than all proofs together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.attest import oms
from ocimodel.attest.referrer import attach
from ocimodel.attest.statement import attestation_statement, signature_statement
from ocimodel.errors import ConfigurationError, FormatError
from ocimodel.keys.keyless import TrustedRoot
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.manifest import Manifest, manifest_bytes
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import open_store
from ocimodel.trust.document import parse
from ocimodel.trust.evidence import Candidate, Evidence, read_candidate
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.verdict import Verdict
from ocimodel.verbs.attaching import store_attachment
from ocimodel.verbs.push import push
from tests.attacks.scene import write_model
from tests.commands import run
from tests.documents import problems
from tests.fulcio import ALICE, BEGIN, END, ISSUER, SIGNED, Sigstore, b64, log_id, new_key
from tests.signers import ALICE as KEY
from tests.signers import OTHER, attachment
from tests.test_sign import ACCESS

OURS = Sigstore()
THEIRS = Sigstore()
WORKFLOW = "https://github.example.org/acme/models/.github/workflows/release.yml@refs/tags/v1"
NOW = SIGNED + timedelta(days=400)
"""Long after every certificate has expired."""

RAW = manifest_bytes(config=OTHER, layers=[])
MODEL = Manifest.from_bytes(RAW).descriptor
APPROVAL = signature_statement(MODEL.digest)


def policy(root: bytes | None = None, threshold: int = 1, **identities: dict[str, Any]) -> TrustPolicy:
    """A policy file with these identities, whose trusted root is ours."""
    found = document(threshold, **identities or {"alice": {"subject": ALICE}})
    return parse(json.dumps(found).encode(), lambda _name: root or OURS.trusted_root())


def document(threshold: int, **identities: dict[str, Any]) -> dict[str, Any]:
    lines = {name: {"issuer": ISSUER, "trustedRootFile": "root.json", **line} for name, line in identities.items()}
    return {
        "version": 1,
        "identities": lines,
        "scopes": [{"match": "**", "signatures": {"threshold": threshold, "from": sorted(lines)}}],
    }


def candidate(bundle: bytes, predicate_type: str = media.COSIGN_SIGN) -> Candidate:
    made = attach(bundle, MODEL, predicate_type=predicate_type, keyid="")
    return read_candidate(made.descriptor, made.manifest, bundle)


def evidence(*candidates: Candidate) -> Evidence:
    return Evidence(subject=MODEL, name="registry.example.org/model", candidates=candidates, manifest=RAW)


def judged(*bundles: bytes, by: TrustPolicy | None = None, now: datetime = NOW) -> Verdict:
    return (by or policy()).evaluate(evidence(*map(candidate, bundles)), now)


def outcome(*bundles: bytes, by: TrustPolicy | None = None, now: datetime = NOW) -> tuple[int, str]:
    found = judged(*bundles, by=by, now=now)
    return found.exit_code, found.reasons[0].reason if found.reasons else ""


UNTRUSTED = (12, "untrusted-signer")
CERTIFICATE = (13, "certificate")


def test_a_good_one() -> None:
    found = judged(OURS.sign(APPROVAL))
    assert found.exit_code == 0, found.reasons
    (signer,) = found.signers
    assert (signer.identity, signer.format, signer.status) == (f"alice: {ALICE} by {ISSUER}", "sigstore", "good")
    assert signer.keyid.startswith("sha256:")


def test_the_older_way_of_naming_the_issuer() -> None:
    assert outcome(OURS.sign(APPROVAL, old_issuer=True)) == (0, "")


@pytest.mark.parametrize(
    "identity",
    [
        {"subject": "bob@example.org"},
        {"subject": ALICE.upper()},
        {"issuer": "https://login.example.com"},
        {"issuer": f"{ISSUER}/"},
        {"subjects": 2},
    ],
    ids=str,
)
def test_another_identity(identity: dict[str, Any]) -> None:
    assert outcome(OURS.sign(APPROVAL, **identity)) == UNTRUSTED


def test_a_workflow_by_a_glob() -> None:
    signed = OURS.sign(APPROVAL, subject=WORKFLOW)
    stem = WORKFLOW.partition("@")[0]
    for glob, code in {
        f"{stem}@refs/tags/*": 0,
        f"{stem}@refs/heads/*": 12,
        "https://github.example.org/acme/**": 0,
        "https://github.example.org/acme/*": 12,
        WORKFLOW: 0,
    }.items():
        assert outcome(signed, by=policy(release={"subjectGlob": glob}))[0] == code, glob


def test_another_root() -> None:
    assert outcome(THEIRS.sign(APPROVAL)) == UNTRUSTED
    assert outcome(OURS.sign(APPROVAL), by=policy(THEIRS.trusted_root())) == UNTRUSTED


def test_an_attestation_is_no_signature_and_another_artifact_is_another() -> None:
    said = attestation_statement(MODEL.digest, "x:y", b"{}")
    assert outcome(OURS.sign(said)) == (10, "unsigned")
    assert outcome(OURS.sign(signature_statement(OTHER.digest))) == (12, "other-subject")


def test_claims_and_expiry_are_those_of_any_signature() -> None:
    def signed(**claims: str) -> bytes:
        return OURS.sign(
            signature_statement(MODEL.digest, {f"{media.PREFIX}{key}": value for key, value in claims.items()})
        )

    assert outcome(signed(expires="2027-01-01T00:00:00Z"), now=SIGNED) == (0, "")
    assert outcome(signed(expires="2027-01-01T00:00:00Z")) == (15, "expired")


def test_one_identity_is_one_signer() -> None:
    """Each signature has a key of its own, and still counts for the one who was recognised."""
    two = policy(threshold=2, alice={"subject": ALICE}, bob={"subject": "bob@example.org"})
    mine, again = OURS.sign(APPROVAL), OURS.sign(APPROVAL)
    assert outcome(mine, again, by=two) == (12, "too-few")
    assert outcome(mine, OURS.sign(APPROVAL, subject="bob@example.org"), by=two) == (0, "")
    same = policy(threshold=2, alice={"subject": ALICE}, anybody={"subjectGlob": "alice@**"})
    assert outcome(mine, by=same) == (12, "too-few"), "one signature, two lines"


def test_beside_a_plain_key() -> None:
    """A certificate says nothing to a line that is a key, and the other way round."""
    bundle = OURS.sign(APPROVAL)
    assert TrustPolicy.of_keys([KEY.public]).evaluate(evidence(candidate(bundle)), NOW).exit_code == 12
    made = attachment(KEY, about=MODEL, to=MODEL)
    plain = read_candidate(made.descriptor, made.manifest, made.bundle)
    assert policy().evaluate(evidence(plain), NOW).exit_code == 12


def test_an_oms_bundle_by_an_identity() -> None:
    statement = oms.statement_bytes("m", {"a": "0" * 64}, MODEL.digest, {})
    found = candidate(OURS.sign(statement), media.OMS_SIGNATURE)
    assert policy().evaluate(evidence(found), NOW).exit_code == 0


# --- proofs that are missing or wrong --------------------------------------------------------


def entry(bundle: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = bundle["verificationMaterial"]["tlogEntries"][0]
    return found


def material(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    return {"changed": change}


def spec(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    return {"logged": lambda body: change(body["spec"])}


OTHER_ENTRY = entry(json.loads(OURS.sign(signature_statement(OTHER.digest))))

WRONG: dict[str, dict[str, Any]] = {
    "no log entry": material(lambda bundle: bundle["verificationMaterial"].pop("tlogEntries")),
    "two log entries": material(lambda bundle: bundle["verificationMaterial"]["tlogEntries"].append(entry(bundle))),
    "no promise": material(lambda bundle: entry(bundle).pop("inclusionPromise")),
    "no proof": material(lambda bundle: entry(bundle).pop("inclusionProof")),
    "no head": material(lambda bundle: entry(bundle)["inclusionProof"].pop("checkpoint")),
    "another time than was promised": material(
        lambda bundle: entry(bundle).update(integratedTime=str(int(SIGNED.timestamp()) + 1))
    ),
    "a time without a promise": material(
        lambda bundle: (entry(bundle).pop("inclusionPromise"), entry(bundle).update(integratedTime="1"))
    ),
    "the entry of another signature": material(lambda bundle: entry(bundle).update(OTHER_ENTRY)),
    "a longer proof": material(lambda bundle: entry(bundle)["inclusionProof"]["hashes"].append(b64(b"\0" * 32))),
    "another head": material(lambda bundle: entry(bundle)["inclusionProof"].update(rootHash=b64(b"\0" * 32))),
    "another kind": material(lambda bundle: entry(bundle)["kindVersion"].update(kind="intoto")),
    "another version": material(lambda bundle: entry(bundle)["kindVersion"].update(version="0.0.3")),
    "an entry of another payload": spec(lambda body: body["payloadHash"].update(value="0" * 64)),
    "an entry of another signature over it": spec(lambda body: body["signatures"][0].update(signature="c2ln")),
    "an entry of another certificate": spec(lambda body: body["signatures"][0].update(verifier="c2ln")),
    "an entry with two signatures": spec(lambda body: body["signatures"].append(body["signatures"][0])),
    "somebody else's head": {"log_key": new_key()},
    "somebody else's promise": {"promise_key": new_key()},
    "before the certificate": {"at": SIGNED - timedelta(minutes=2)},
    "after the certificate": {"at": SIGNED + timedelta(minutes=10)},
    "no certificate log": {"sct_key": new_key()},
    "a certificate for servers": {"usage": ExtendedKeyUsageOID.SERVER_AUTH},
    "a time stamp that is none": material(
        lambda bundle: bundle["verificationMaterial"].update(
            timestampVerificationData={"rfc3161Timestamps": [{"signedTimestamp": "c2ln"}]}
        )
    ),
    "a log's name in another spelling": material(
        lambda bundle: entry(bundle)["logId"].update(keyId=b64(log_id(OURS.log_key)).rstrip("="))
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_a_certificate_that_is_recognised(what: str) -> None:
    bundle = OURS.sign(APPROVAL, **WRONG[what])
    assert outcome(bundle) == CERTIFICATE, judged(bundle).reasons
    assert outcome(bundle, OURS.sign(APPROVAL)) == (0, ""), "it spoils nothing"


def test_the_times_of_the_root_count() -> None:
    later = (SIGNED + timedelta(days=1), END)
    earlier = (BEGIN, SIGNED - timedelta(days=1))
    bundle = OURS.sign(APPROVAL)
    for times in (later, earlier):
        assert outcome(bundle, by=policy(OURS.trusted_root(authority=times))) == CERTIFICATE
        assert outcome(bundle, by=policy(OURS.trusted_root(log=times))) == CERTIFICATE


def test_a_signature_that_the_certificates_key_did_not_make() -> None:
    """The certificate of somebody else's signature is public; whoever copies it is not that somebody."""
    leaf = OURS.certificate(new_key())
    assert outcome(OURS.sign(APPROVAL, key=new_key(), certificate=leaf)) == UNTRUSTED
    moved = json.loads(OURS.sign(signature_statement(OTHER.digest)))
    moved["dsseEnvelope"]["payload"] = b64(APPROVAL)
    assert outcome(json.dumps(moved).encode()) == UNTRUSTED


def test_a_certificate_that_only_says_so() -> None:
    """The same names and another authority's key behind them."""
    forger = Sigstore(ct_key=OURS.ct_key, log_key=OURS.log_key)
    assert outcome(forger.sign(APPROVAL)) == UNTRUSTED


def test_a_chain_in_the_bundle_is_not_looked_at() -> None:
    bundle = json.loads(OURS.sign(APPROVAL))
    leaf = bundle["verificationMaterial"].pop("certificate")
    bundle["verificationMaterial"]["x509CertificateChain"] = {"certificates": [leaf, leaf]}
    assert outcome(json.dumps(bundle).encode()) == UNTRUSTED


def test_the_logs_time_decides_about_a_line_that_ended() -> None:
    """Of an identity that was retired or revoked only what is provably older counts."""
    day = timedelta(days=1)

    def line(**standing: str) -> TrustPolicy:
        return policy(alice={"subject": ALICE, **standing})

    def at(time: datetime) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ")

    bundle = OURS.sign(APPROVAL)
    assert outcome(bundle, by=line(status="retired", retiredAt=at(SIGNED + day))) == (0, "")
    assert outcome(bundle, by=line(status="retired", retiredAt=at(SIGNED - day))) == (15, "retired-key")
    assert outcome(bundle, by=line(status="revoked", compromisedSince=at(SIGNED + day))) == (0, "")
    assert outcome(bundle, by=line(status="revoked", compromisedSince=at(SIGNED - day))) == (16, "revoked-key")
    assert outcome(bundle, by=line(validUntil=at(SIGNED - day))) == (15, "key-expired")
    assert outcome(bundle, by=line(validUntil=at(SIGNED + day))) == (0, "")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_change_of_a_bundle_is_judged(data: st.DataObject) -> None:
    """Members replaced, removed, or of another kind: never an error, and never good with another proof."""
    bundle = json.loads(GOOD)
    here: Any = bundle
    parent: Any = bundle
    path: list[Any] = []
    while isinstance(here, dict | list) and here and (not path or data.draw(st.booleans())):
        key = data.draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
        path.append(key)
        parent, here = here, here[key]
    empty: list[Any] = [None, [], {}]
    values: st.SearchStrategy[Any] = st.sampled_from(empty) | st.booleans() | st.integers() | st.text()
    values |= st.binary().map(b64)
    parent[path[-1]] = data.draw(values)
    raw = json.dumps(bundle).encode()
    found = judged(raw)
    if found.exit_code == 0:
        harmless = {"keyid", "logIndex", "origin", "treeSize"}
        assert json.loads(raw) == json.loads(GOOD) or harmless & {str(part) for part in path}, path


GOOD = OURS.sign(APPROVAL)


# --- the trusted root, and the policy --------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: root.update(mediaType="application/json"), "not a trusted root"),
        (lambda root: root.pop("tlogs"), "tlogs"),
        (lambda root: root.update(tlogs=[]), "no transparency log"),
        (lambda root: root.update(certificateAuthorities=[]), "no certificate authority"),
        (lambda root: root["tlogs"][0]["publicKey"].pop("validFor"), "validFor"),
        (lambda root: root["tlogs"][0]["publicKey"]["validFor"].update(start="yesterday"), "time"),
        (lambda root: root["tlogs"][0]["publicKey"]["validFor"].update(start="2026-01-01T00:00:00"), "zone"),
        (
            lambda root: root["certificateAuthorities"][0]["certChain"].update(certificates=[{"rawBytes": "eA=="}]),
            "cert",
        ),
    ],
)
def test_a_root_that_is_none(change: Callable[[dict[str, Any]], object], message: str) -> None:
    root = json.loads(OURS.trusted_root())
    change(root)
    with pytest.raises(FormatError, match=message):
        TrustedRoot.from_bytes(json.dumps(root).encode())
    with pytest.raises(ConfigurationError, match="trustedRootFile"):
        policy(json.dumps(root).encode())


def test_a_root_that_only_the_package_finds_fault_with() -> None:
    root = json.loads(OURS.trusted_root())
    root["ctlogs"] = "none"
    with pytest.raises(ConfigurationError, match="trusted root"):
        outcome(GOOD, by=policy(json.dumps(root).encode()))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"subject": ALICE, "subjectGlob": "a*"}, "either subject or subjectGlob"),
        ({}, "either subject or subjectGlob"),
        ({"subject": ""}, "empty"),
        ({"subject": ALICE, "issuer": ""}, "empty"),
        ({"subject": ALICE, "trustedRoot": "{}"}, "either trustedRoot"),
        ({"subject": ALICE, "more": 1}, "more"),
        ({"subjectGlob": "**"}, "before its first star"),
        ({"subjectGlob": "a***"}, "three stars"),
        ({"subject": "a\nb"}, "one line"),
    ],
    ids=str,
)
def test_a_line_that_is_none(line: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        policy(alice=line)
    beyond = message in ("three stars", "one line")
    assert bool(problems(document(1, alice=line), "policy")) != beyond


def test_the_schema_takes_what_is_one() -> None:
    for line in ({"subject": ALICE}, {"subjectGlob": "a*", "roles": ["builder"], "status": "active"}):
        assert problems(document(1, alice=line), "policy") == []


# --- as a user does it -----------------------------------------------------------------------


@pytest.fixture
def attached(tmp_path: Path) -> Path:
    """A layout with a model that a keyless identity signed, a policy and a trusted root beside it."""
    reference = Reference.parse(f"oci:{tmp_path / 'layout'}:v1")
    push(write_model(tmp_path / "model"), reference, access=ACCESS)
    with open_store(reference, ACCESS) as store:
        subject: Descriptor = store.resolve("v1")
        bundle = OURS.sign(signature_statement(subject.digest), subject=WORKFLOW)
        made = attach(bundle, subject, predicate_type=media.COSIGN_SIGN, keyid="")
        store_attachment(store, subject, made)
    (tmp_path / "root.json").write_bytes(OURS.trusted_root())
    document = {
        "version": 1,
        "identities": {"release": {"issuer": ISSUER, "subject": WORKFLOW, "trustedRootFile": "root.json"}},
        "scopes": [{"match": "oci:**", "signatures": {"threshold": 1, "from": ["release"]}}],
    }
    (tmp_path / "policy.json").write_text(json.dumps(document))
    return tmp_path


def test_pull_and_verify_later(attached: Path) -> None:
    words = ("--policy", attached / "policy.json")
    pulled = run("pull", f"oci:{attached}/layout:v1", "-o", attached / "out", *words)
    assert pulled.code == 0, pulled.err
    again = run("verify", attached / "out", *words, "--as", f"oci:{attached}/layout", "--json")
    assert again.code == 0, again.err
    assert WORKFLOW in again.document["signers"][0]["identity"]


_CUT = """
import sys
def cut(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        raise RuntimeError(f"{event} {arguments}")
sys.addaudithook(cut)
sys.argv[0] = "ocimodel"
from ocimodel.cli import main
main()
"""


def test_nothing_is_fetched(attached: Path) -> None:
    """Not even looked for: a process that may open no connection decides the same."""
    words = ["verify", f"oci:{attached}/layout:v1", "--policy", str(attached / "policy.json")]
    ran = subprocess.run(
        [sys.executable, "-c", _CUT, *words], capture_output=True, text=True, env=dict(os.environ), timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert "VERIFIED" in ran.stdout
    assert ran.stderr == ""


def test_without_a_certificate_that_is_recognised_the_package_is_not_imported() -> None:
    script = (
        "import sys\n"
        "from tests.test_keyless import THEIRS, APPROVAL, outcome\n"
        "before = 'sigstore' in sys.modules\n"
        "assert outcome(THEIRS.sign(APPROVAL)) == (12, 'untrusted-signer')\n"
        "print(before, 'sigstore.verify' in sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ran.stdout.split() == ["False", "False"], ran.stderr
