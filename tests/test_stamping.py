"""Having signatures dated: what is asked, which answers are taken, and what a token is worth in a policy."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import tsp
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.attest.signed import SignedStatement
from ocimodel.errors import CertificateError, ConfigurationError, FormatError, OcimodelError, UnavailableError
from ocimodel.keys.signer import Signer, StampedSigner
from ocimodel.keys.stamping import Question, is_over, token_of
from ocimodel.keys.timestamps import decode
from ocimodel.oci import media
from ocimodel.stores.http.policy import Patience
from ocimodel.trust.claims import format_time
from ocimodel.trust.evidence import Candidate
from ocimodel.trust.explain import explain
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.stamps import Authority as Witness
from ocimodel.verbs.stamping import Authority
from tests import notary
from tests.certificates import SINCE, TIME_STAMPING, UNTIL, Made, Wish, ca, chain, recent
from tests.commands import run
from tests.policies import document, line, policy, ring, scope
from tests.signers import ALICE, BOB, MALLORY
from tests.test_trust_policies import EVALUATION, NOW, evidence, judge, reasons, said, signature, subject
from tests.tsa import authority, response, serving, stamping, token

TSA, OTHER = authority(), authority(first=40)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
QUICK = Patience(connect=2.0, stall=0.3, tries=2, document=0.5, sleep=lambda _: None)


# --- the request --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_what_is_asked(algorithm: str) -> None:
    question = Question.about(b"signature", algorithm)
    asked = tsp.TimeStampReq.load(question.request, strict=True)
    assert asked.dump(force=True) == question.request
    assert asked["version"].native == "v1"
    assert asked["message_imprint"]["hash_algorithm"]["algorithm"].native == algorithm
    assert asked["message_imprint"]["hashed_message"].native == question.imprint
    assert asked["cert_req"].native is True
    assert asked["nonce"].native == question.nonce != Question.about(b"signature", algorithm).nonce


@given(st.integers(0, 2**64))
def test_numbers_are_der(nonce: int) -> None:
    request = Question(algorithm="sha256", imprint=b"x" * 32, nonce=nonce).request
    assert tsp.TimeStampReq.load(request, strict=True)["nonce"].native == nonce


# --- answers ------------------------------------------------------------------------------------------------------


def fitting(question: Question, by: tuple[Made, ...] = TSA, **how: Any) -> bytes:
    return response(question.request, by, **({"time": NOON} | how))


QUESTION = Question.about(b"signature", "sha256")


@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_an_answer_that_fits(kind: str, algorithm: str) -> None:
    question = Question.about(b"signature", algorithm)
    by = authority(kind=kind)
    answer = fitting(question, by)
    assert question.answer(answer) == answer
    assert is_over(answer, b"signature")
    assert is_over(token_of(answer), b"signature")
    assert not is_over(answer, b"another")


def rejected(status: str) -> bytes:
    """A response without a token."""
    info: bytes = tsp.PKIStatusInfo({"status": status}).dump()
    return b"\x30\x05" + info


def without_attributes(answer: bytes) -> bytes:
    """Signed by nobody knows what: RFC 3161 wants the attributes."""
    found = tsp.TimeStampResp.load(answer)
    del found["time_stamp_token"]["content"]["signer_infos"][0]["signed_attrs"]
    dumped: bytes = found.dump(force=True)
    return dumped


WRONG: dict[str, tuple[bytes, int]] = {
    "without signed attributes": (without_attributes(fitting(QUESTION)), 14),
    "another nonce": (fitting(QUESTION, nonce=1), 14),
    "no nonce": (fitting(QUESTION, nonce=None), 14),
    "another signature": (fitting(QUESTION, hashed=b"x" * 32), 14),
    "another hash": (fitting(QUESTION, digest="sha512", hashed=b"x" * 64), 14),
    "signed by another key": (fitting(QUESTION, signer=OTHER[0]), 14),
    "without its certificate": (fitting(QUESTION, carried=TSA[1:]), 14),
    "rejected": (rejected("rejection"), 75),
    "waiting": (rejected("waiting"), 75),
    "granted, without a token": (rejected("granted"), 14),
    "a token alone": (token_of(fitting(QUESTION)), 14),
    "more than an answer": (fitting(QUESTION) + b"\0", 14),
    "nothing": (b"", 14),
    "a page": (b"<html>", 14),
}


@pytest.mark.parametrize(("data", "code"), WRONG.values(), ids=WRONG)
def test_an_answer_that_does_not(data: bytes, code: int) -> None:
    with pytest.raises(OcimodelError) as raised:
        QUESTION.answer(data)
    assert raised.value.exit_code == code


ANSWER = fitting(QUESTION)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(ANSWER) - 1), st.binary(max_size=6), st.integers(0, 6))
def test_an_altered_answer_is_refused_or_says_the_same(at: int, put: bytes, cut: int) -> None:
    altered = ANSWER[:at] + put + ANSWER[at + cut :]
    try:
        found = decode(QUESTION.answer(altered)).tst_info
    except (FormatError, UnavailableError):
        return
    assert (found.gen_time, found.message_imprint.message) == (NOON, QUESTION.imprint)


@given(st.binary(max_size=300))
def test_anything_may_be_answered(data: bytes) -> None:
    with pytest.raises(OcimodelError):
        QUESTION.answer(data)
    assert not is_over(data, b"signature")


# --- asking -------------------------------------------------------------------------------------------------------


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def present() -> tuple[Made, ...]:
    return authority(20, **recent())


def test_the_root_decides(present: tuple[Made, ...]) -> None:
    with serving(present) as url:
        for root, fine in ((present[-1], True), (OTHER[-1], False)):
            asked = Authority(url=url, roots=frozenset({root.der}))
            if fine:
                assert is_over(asked.stamp(b"signature", "sha384"), b"signature")
            else:
                with pytest.raises(CertificateError, match="does not verify"):
                    asked.stamp(b"signature", "sha384")


@pytest.mark.parametrize("ahead", [-2 * HOUR, HOUR], ids=["before-it-was-certified", "of-the-future"])
def test_a_time_that_cannot_be(present: tuple[Made, ...], ahead: timedelta) -> None:
    with serving(present, lambda asked: (200, response(asked, present, time=now() + ahead))) as url:
        with pytest.raises(CertificateError):
            Authority(url=url, roots=frozenset({present[-1].der})).stamp(b"signature", "sha256")
        Authority(url=url).stamp(b"signature", "sha256")  # nobody knows whose time that is


@pytest.mark.parametrize(
    ("status", "code", "tries"), [(500, 75, 2), (503, 75, 2), (429, 75, 2), (401, 77, 1), (404, 2, 1), (302, 2, 1)]
)
def test_statuses(status: int, code: int, tries: int) -> None:
    asked: list[bytes] = []

    def answer(request: bytes) -> tuple[int, bytes]:
        asked.append(request)
        return status, b"no"

    with serving(TSA, answer) as url, pytest.raises(OcimodelError) as raised:
        Authority(url=url, patience=QUICK).stamp(b"signature", "sha256")
    assert (raised.value.exit_code, len(asked)) == (code, tries)


def test_an_answer_without_end() -> None:
    with serving(TSA, lambda _: (200, b"\x30" * 1_000_000)) as url, pytest.raises(OcimodelError) as raised:
        Authority(url=url, patience=QUICK).stamp(b"signature", "sha256")
    assert raised.value.exit_code == 75


def test_nobody_there() -> None:
    with serving(TSA) as url:
        pass
    with pytest.raises(OcimodelError) as raised:
        Authority(url=url, patience=QUICK).stamp(b"signature", "sha256")
    assert (raised.value.exit_code, raised.value.reason) == (75, "timestamp")
    assert raised.value.message.startswith("the time-stamping authority: POST http://127.0.0.1")
    assert raised.value.message.count("http://") == 1


@pytest.mark.parametrize("url", ["ftp://tsa.example", "tsa.example", "http://", "http://user:secret@tsa.example/"])
def test_no_address(url: str) -> None:
    with pytest.raises(OcimodelError) as raised:
        Authority(url=url)
    assert raised.value.exit_code == 2
    assert "secret" not in str(raised.value)


def test_openssl_as_the_authority(tmp_path: Path, present: tuple[Made, ...]) -> None:
    """Which knows nothing of us."""
    present[0].write_key(tmp_path / "tsa.key")
    (tmp_path / "tsa.crt").write_bytes(present[0].pem)
    (tmp_path / "chain.pem").write_bytes(b"".join(item.pem for item in present[1:]))
    (tmp_path / "serial").write_text("01\n")
    (tmp_path / "tsa.cnf").write_text(
        "[tsa]\ndefault_tsa=a\n[a]\nserial=serial\ncrypto_device=builtin\nsigner_cert=tsa.crt\ncerts=chain.pem\n"
        "signer_key=tsa.key\nsigner_digest=sha256\ndefault_policy=1.2.3.4\ndigests=sha256,sha384,sha512\n"
        "accuracy=secs:1\nordering=no\ntsa_name=no\ness_cert_id_chain=no\ness_cert_id_alg=sha256\n"
    )

    def answer(request: bytes) -> tuple[int, bytes]:
        (tmp_path / "request").write_bytes(request)
        command = ["openssl", "ts", "-reply", "-config", "tsa.cnf", "-section", "a", "-queryfile", "request"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
        return 200, done.stdout

    with serving(present, answer) as url:
        for roots in (frozenset[bytes](), frozenset({present[-1].der})):
            stamped = Authority(url=url, roots=roots).stamp(b"signature", "sha384")
            assert is_over(stamped, b"signature")


# --- commands -----------------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: tuple[Made, ...]) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "tsa.pem").write_bytes(present[-1].pem)
    (tmp_path / "other.pem").write_bytes(OTHER[-1].pem)
    assert run("key", "generate", "own", "--no-password").code == 0
    assert run("push", "model", "oci:store:v1").code == 0
    return tmp_path


def files(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in (place / "store").rglob("*") if path.is_file()}


FORMATS = pytest.mark.parametrize("form", ["sigstore", "cosign-legacy", "oms"])
SIGN = ("sign", "oci:store:v1", "--key", "own.key", "--json")


def created(*words: str) -> bool:
    ran = run(*SIGN, *words)
    assert ran.code == 0, ran.err
    found: bool = ran.document["signature"]["created"]
    return found


@FORMATS
def test_nothing_is_added_to_a_signature_with_a_token(world: Path, present: tuple[Made, ...], form: str) -> None:
    with serving(present) as url:
        stamp = ("--format", form, "--timestamp-url", url, "--timestamp-root", "tsa.pem")
        assert created("--format", form)
        assert created(*stamp), "the one that is there has no token"
        assert not created(*stamp)
        assert created(*stamp, "-a", "team=risk")
        assert created(*stamp, "--expires", "90d")
        assert not created(*stamp, "--expires", "90d")
    assert run("verify", "oci:store:v1", "--key", "own.pub").code == 0


def test_a_strangers_token_is_not_as_good(world: Path, present: tuple[Made, ...]) -> None:
    stranger = authority(70, **recent())
    with serving(present) as url, serving(stranger) as theirs:
        assert created("--timestamp-url", theirs)
        assert not created("--timestamp-url", url), "nobody says whose tokens are good"
        assert created("--timestamp-url", url, "--timestamp-root", "tsa.pem")
        assert not created("--timestamp-url", theirs)


FAULTS: dict[str, tuple[Callable[[bytes, tuple[Made, ...]], tuple[int, bytes]], int]] = {
    "down": (lambda *_: (500, b""), 75),
    "nonsense": (lambda *_: (200, b"<html>"), 14),
    "another nonce": (lambda asked, by: (200, response(asked, by, nonce=1)), 14),
    "a stranger": (lambda asked, _: (200, response(asked, OTHER)), 13),
    "nothing there": (lambda *_: (404, b""), 2),
}


@pytest.mark.parametrize(("answer", "code"), FAULTS.values(), ids=FAULTS)
def test_without_a_token_nothing_is_written(
    world: Path, present: tuple[Made, ...], answer: Callable[..., tuple[int, bytes]], code: int
) -> None:
    before = files(world)
    (world / "predicate.json").write_text("{}")
    with serving(present, lambda asked: answer(asked, present)) as url:
        stamp = ("--timestamp-url", url, "--timestamp-root", "tsa.pem")
        for words in (
            SIGN,
            (*SIGN, "--format", "cosign-legacy"),
            (*SIGN, "--format", "oms"),
            ("approve", "oci:store:v1", "--key", "own.key"),
            ("attest", "oci:store:v1", "--key", "own.key", "--type", EVALUATION, "--predicate", "predicate.json"),
        )[: 5 if code == 14 else 1]:
            ran = run(*words, *stamp)
            assert ran.code == code, ran.err
            assert "Traceback" not in ran.err
    assert files(world) == before


def test_a_push_without_a_token_moves_no_tag(world: Path) -> None:
    with serving(TSA, lambda _: (404, b"")) as url:
        ran = run("push", "model", "oci:new:v1", "--key", "own.key", "--timestamp-url", url)
    assert ran.code == 2
    assert run("verify", "oci:new:v1", "--key", "own.pub").code == 11


def test_statements_get_one_too(world: Path, present: tuple[Made, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    (world / "predicate.json").write_text("{}")
    attest = ("attest", "oci:store:v1", "--key", "own.key", "--type", EVALUATION, "--predicate", "predicate.json")
    with serving(present) as url:
        monkeypatch.setenv("OCIMODEL_TIMESTAMP_URL", url)
        monkeypatch.setenv("OCIMODEL_TIMESTAMP_ROOT", "tsa.pem")
        for words in (attest, ("approve", "oci:store:v1", "--key", "own.key")):
            made = [run(*words, "--json").document["signature"]["created"] for _ in range(2)]
            assert made == [True, False]
        legacy = run(*attest, "--format", "cosign-legacy")
        assert (legacy.code, "no timestamp" in legacy.err) == (2, True)
        assert run("push", "model", "oci:other:v1").code == 0, "it signs nothing"
        assert run("push", "model", "oci:other:v1", "--timestamp-url", "http://localhost").code == 2
    monkeypatch.delenv("OCIMODEL_TIMESTAMP_URL")
    assert run(*SIGN).code == 2, "a root without a URL"
    for no_address in ("", "http://local\thost/", "http://localhost/\x1b[2J", "http://münchen.example/"):
        assert run(*SIGN, "--timestamp-url", no_address).code == 2
    assert run(*SIGN, "--timestamp-url", "http://localhost", "--timestamp-root", "nowhere.pem").code == 3
    assert run(*SIGN, "--timestamp-url", "http://localhost", "--timestamp-root", "own.pub").code == 2


def test_signing_again_gets_one(world: Path, present: tuple[Made, ...]) -> None:
    assert run("key", "generate", "new", "--no-password").code == 0
    assert run("sign", "oci:store:v1", "--key", "own.key").code == 0
    again = ("resign", "oci:store", "--old-key", "own.pub", "--key", "new.key", "--json")
    with serving(present) as url:
        stamp = ("--timestamp-url", url, "--timestamp-root", "tsa.pem")
        counts = [len(run(*again, *more).document["artifacts"][0]["signatures"]) for more in ((), (), stamp, stamp)]
    assert counts == [1, 0, 1, 0]


# --- in a policy --------------------------------------------------------------------------------------------------


class Fixed:
    """Stamps at a time of its own; a `ocimodel.keys.signer.Stamper`."""

    def __init__(self, time: datetime, by: tuple[Made, ...] = TSA, **how: Any) -> None:
        self.time, self.by, self.how = time, by, how

    def stamp(self, signature: bytes, hash_name: str) -> bytes:
        message = self.how.get("message", signature)
        rest = {key: value for key, value in self.how.items() if key != "message"}
        granted = b"\x30\x03\x02\x01\x00" + token(message, self.by, self.time, digest=hash_name, **rest)
        return b"\x30\x82" + len(granted).to_bytes(2, "big") + granted

    def has_stamped(self, signed: object) -> bool:
        return False


def by_token(time: datetime, maker: Signer = ALICE, by: tuple[Made, ...] = TSA, **how: Any) -> Candidate:
    """A signature of the model, with a token from ``time``."""
    return signature(StampedSigner(maker, Fixed(time, by, **how)))


AUTHORITIES = {"tsa": {"roots": TSA[-1].pem.decode()}}
END = NOW - timedelta(days=9)


def trusting(authorities: Any = AUTHORITIES, rules: dict[str, Any] | None = None, **standing: Any) -> TrustPolicy:
    """A policy in which Alice's key has ended in some way."""
    lines = ring(alice=line(ALICE, "builder", **standing))
    return policy(document(scope(**(rules or {})), keys=lines, timestampAuthorities=authorities))


RETIRED: dict[str, Any] = {"status": "retired", "retiredAt": format_time(END)}
STOLEN: dict[str, Any] = {"status": "revoked", "compromisedSince": format_time(END)}
ENDED: dict[str, Any] = {"validUntil": format_time(END)}


@pytest.mark.parametrize(
    ("standing", "since", "code"),
    [(RETIRED, SECOND, 15), (STOLEN, timedelta(0), 16), (ENDED, timedelta(seconds=60), 15)],
    ids=["retired", "stolen", "ended"],
)
def test_a_token_from_before_the_end_of_a_key(standing: dict[str, Any], since: timedelta, code: int) -> None:
    """``since``: from when on after its end the key's signatures do not count; an end has a minute of leeway."""
    found = trusting(**standing)
    assert judge(found, by_token(END + since - SECOND)).outcome == "pass"
    for late in (by_token(END + since), signature(), by_token(END + since - SECOND, accuracy=2 * SECOND)):
        assert [item for item, _ in reasons(judge(found, late))] == [code]


def test_the_policy_is_shown_with_its_authorities(world: Path) -> None:
    (world / "policy.json").write_text(
        json.dumps(document(id="prod", serial=1, timestampAuthorities={"acme-tsa": {"rootsFile": "tsa.pem"}}))
    )
    assert "acme-tsa" in run("policy", "check", "policy.json").out
    assert run("policy", "check", "policy.json", "--json").document["timestampAuthorities"] == ["acme-tsa"]
    assert run("policy", "push", "policy.json", "oci:trust:current", "--key", "own.key").code == 0
    published = [path.read_bytes() for path in (world / "trust/blobs/sha256").iterdir()]
    assert any(b"timestampAuthorities" in item and b"rootsFile" not in item for item in published)


def test_a_key_that_is_revoked_for_good_stays_so() -> None:
    assert reasons(judge(trusting(status="revoked"), by_token(END))) == [(16, "revoked-key")]


EARLY = END - HOUR
STRANGER = chain(ca("time", number=41), stamping(number=40))
NO_HELP = {
    "of the future": by_token(NOW + 2 * HOUR),
    "of another signature": by_token(EARLY, message=b"another"),
    "by a stranger": by_token(EARLY, by=OTHER),
    "by a stranger who claims to be ours": by_token(EARLY, by=(STRANGER[0], *TSA[1:])),
    "by another key": by_token(EARLY, signer=OTHER[0]),
    "from before the authority was": by_token(SINCE - SECOND),
    "from after it was": by_token(UNTIL + SECOND),
    "by who must not stamp": by_token(
        EARLY, by=chain(ca("root", number=21), stamping(purposes=(TIME_STAMPING, "1.3.6.1.5.5.7.3.3")))
    ),
}


@pytest.mark.parametrize("found", NO_HELP.values(), ids=NO_HELP)
def test_a_token_that_does_not_help(found: Candidate) -> None:
    """And that spoils nothing."""
    assert reasons(judge(trusting(**RETIRED), found)) == [(15, "retired-key")]
    assert reasons(judge(trusting(**STOLEN), found)) == [(16, "revoked-key")]
    assert judge(trusting(), found).outcome == "pass"


def test_an_authority_outlives_its_certificate() -> None:
    lasting = trusting(rules={"freshness": {"clockLeeway": "0s"}}, **RETIRED)
    assert judge(lasting, by_token(EARLY), now=UNTIL + timedelta(days=900)).outcome == "pass"


def carrying(*tokens: bytes) -> Candidate:
    """A signature with these timestamps, whatever they are."""
    plain = signature()
    assert isinstance(plain.signed, SignedStatement)
    return replace(plain, signed=replace(plain.signed, timestamps=tokens))


def over(time: datetime, by: tuple[Made, ...] = TSA) -> bytes:
    signed = signature().signed
    assert signed is not None
    return token(signed.signature, by, time)


def test_the_earliest_good_one_of_several_counts() -> None:
    authorities = AUTHORITIES | {"other": {"roots": OTHER[-1].pem.decode()}}
    found = carrying(b"", b"x", over(NOW), over(EARLY, OTHER), over(END + HOUR), over(NOW + HOUR))
    assert judge(trusting(authorities, **RETIRED), found).outcome == "pass"
    assert judge(trusting(**RETIRED), found).exit_code == 15
    told = explain(trusting(authorities, **RETIRED), evidence(found), NOW, {})
    (line_,) = (item.found for item in told if item.check == "signature")
    assert f"timestamped {format_time(EARLY)} by other" in line_


def test_no_more_are_looked_at_than_a_bundle_may_carry() -> None:
    noise = tuple(b"%d" % number for number in range(32))
    assert judge(trusting(**RETIRED), carrying(*noise[1:], over(EARLY))).outcome == "pass"
    assert judge(trusting(**RETIRED), carrying(*noise, over(EARLY))).exit_code == 15


def test_what_strangers_sign_costs_no_look_at_their_tokens() -> None:
    class Watched:
        id = "watched"
        asked = 0

        def time_of(self, signed: object, now: datetime, leeway: timedelta) -> datetime | None:
            Watched.asked += 1
            return None

    found = trusting()
    watched = replace(found, ring=replace(found.ring, witnesses=(Watched(),)))
    judge(watched, *[by_token(EARLY, MALLORY)] * 9, by_token(EARLY))
    assert Watched.asked == 1


GATE = {"predicateType": EVALUATION, "from": ["bob"], "maxAge": "30d", "time": "at"}


@pytest.mark.parametrize(
    ("at", "time", "passes"),
    [
        (NOW - timedelta(days=3), NOW - timedelta(days=2), True),
        (NOW - timedelta(days=99), NOW - timedelta(days=2), False),
        (None, NOW - timedelta(days=2), False),
        (NOW, NOW - timedelta(days=99), False),
    ],
    ids=["young", "old-and-stamped-anew", "says-nothing", "claims-to-be-younger"],
)
def test_no_token_makes_a_statement_younger(at: datetime | None, time: datetime, passes: bool) -> None:
    """Whoever may push can have an old statement stamped again, and attach it."""
    predicate = {} if at is None else {"at": format_time(at)}
    found = trusting(rules={"attestations": [GATE]})
    evaluated = said(StampedSigner(BOB, Fixed(time)), predicate)
    assert (judge(found, signature(), evaluated).outcome == "pass") is passes


LONG: dict[str, Any] = {"since": SINCE - timedelta(days=99), "until": UNTIL + timedelta(days=99)}
LASTING = chain(ca("lasting", number=61, **LONG), stamping(number=60, **LONG))


def test_a_notary_signature_by_a_plain_key() -> None:
    signers = chain(ca("root", number=1), Wish())
    about = subject()
    unstamped = notary.candidate(notary.envelope(signers, about=about), to=about).signed
    assert unstamped is not None
    stamp = token(unstamped.signature, TSA, EARLY, digest="sha256")
    plain = notary.candidate(notary.envelope(signers, about=about), to=about)
    dated = notary.candidate(notary.envelope(signers, about=about, token=stamp), to=about)
    lines = ring(alice=line(signers[0].signer, "builder", **RETIRED))
    found = policy(document(keys=lines, timestampAuthorities=AUTHORITIES))
    assert [judge(found, item).exit_code for item in (dated, plain)] == [0, 15]
    # The chain may end after the token, and not before.
    late = UNTIL + timedelta(days=30)
    assert [judge(found, item, now=late).exit_code for item in (dated, plain)] == [0, 15]
    after = token(unstamped.signature, LASTING, UNTIL + timedelta(days=1))
    dated_late = notary.candidate(notary.envelope(signers, about=about, token=after), to=about)
    lines = ring(alice=line(signers[0].signer, "builder"))
    lasting = {"tsa": {"roots": LASTING[-1].pem.decode() + TSA[-1].pem.decode()}}
    active = policy(document(keys=lines, timestampAuthorities=lasting))
    assert [judge(active, item, now=late).exit_code for item in (dated, dated_late, plain)] == [0, 15, 15]
    assert [judge(active, item).exit_code for item in (dated, dated_late, plain)] == [0, 0, 0]


@given(st.lists(st.binary(max_size=80), max_size=40), st.datetimes(timezones=st.just(UTC)))
@settings(deadline=None)
def test_witnesses_never_raise(tokens: list[bytes], now: datetime) -> None:
    signed = carrying(*tokens).signed
    assert signed is not None
    assert Witness(id="tsa", roots=frozenset({TSA[-1].der})).time_of(signed, now, timedelta(days=1)) is None


@given(st.integers(0, 1500), st.binary(max_size=4), st.integers(0, 4))
@settings(max_examples=120, deadline=None)
def test_an_altered_token_says_the_same_or_nothing(at: int, put: bytes, cut: int) -> None:
    whole = over(EARLY)
    signed = carrying(whole[:at] + put + whole[at + cut :]).signed
    assert signed is not None
    witness = Witness(id="tsa", roots=frozenset({TSA[-1].der}))
    assert witness.time_of(signed, NOW, timedelta(0)) in (EARLY, None)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"tsa": {}}, "timestampAuthorities.tsa"),
        ({"tsa": {"roots": "x"}}, "timestampAuthorities.tsa.roots"),
        ({"tsa": {"roots": TSA[0].pem.decode()}}, "timestampAuthorities.tsa.roots"),
        ({"tsa": {"roots": TSA[-1].pem.decode(), "rootsFile": "x"}}, "timestampAuthorities.tsa"),
        ({"tsa": {"roots": TSA[-1].pem.decode(), "url": "http://tsa"}}, "timestampAuthorities.tsa.url"),
        ({"a tsa": {"roots": TSA[-1].pem.decode()}}, "timestampAuthorities.a tsa"),
        ({f"t{number}": {"roots": TSA[-1].pem.decode()} for number in range(17)}, "timestampAuthorities"),
        ([], "timestampAuthorities"),
    ],
)
def test_a_section_that_is_malformed(value: object, path: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        trusting(value)
    assert path in raised.value.message.replace("'", "").replace('"', "").replace("[", ".").replace("]", "")


def test_a_promoter_who_retired(world: Path, present: tuple[Made, ...]) -> None:
    """The summary counts until it ends; without an authority nothing is promoted."""
    assert run("key", "generate", "promoter", "--no-password").code == 0
    assert run("sign", "oci:store:v1", "--key", "own.key").code == 0

    def write(**standing: str) -> None:
        keys = {
            "own": {"publicKeyFile": "own.pub", "roles": ["builder"]},
            "promoter": {"publicKeyFile": "promoter.pub", "roles": ["promoter"], **standing},
        }
        gate = {"predicateType": media.SLSA_SUMMARY, "from": ["promoter"]}
        trusted = {"from": ["own"]}
        scopes = [
            {"match": f"oci:{world}/store", "signatures": trusted},
            {"match": f"oci:{world}/prod", "environment": "prod", "signatures": trusted, "attestations": [gate]},
        ]
        named = {"acme-tsa": {"rootsFile": "tsa.pem"}}
        text = {"version": 1, "keys": keys, "timestampAuthorities": named, "scopes": scopes}
        (world / "policy.json").write_text(json.dumps(text))

    write()
    words = ("promote", "oci:store:v1", "oci:prod:stable", "--policy", "policy.json", "--key", "promoter.key")
    with serving(present, lambda _: (404, b"")) as url:
        assert run(*words, "--timestamp-url", url).code == 2
    assert run("verify", "oci:prod:stable", "--key", "own.pub").code == 11
    with serving(present) as url:
        ran = run(*words, "--timestamp-url", url, "--timestamp-root", "tsa.pem")
    assert ran.code == 0, ran.err
    for end, code in ((now() + HOUR, 0), (now() - HOUR, 15)):
        write(status="retired", retiredAt=format_time(end))
        assert run("verify", "oci:prod:stable", "--policy", "policy.json").code == code
