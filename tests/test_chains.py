"""Chains of certificates by the rules of the Notary Project, and subjects as policies name them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509 as made
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.errors import FormatError, UsageError
from ocimodel.keys import x509
from ocimodel.trust import chains, subjects
from tests.certificates import (
    CODE_SIGNING,
    SINCE,
    TIME_STAMPING,
    UNTIL,
    USAGES,
    Made,
    Wish,
    ca,
    chain,
    good,
    make,
    pem,
)

SERVER_AUTH, OCSP, ANY = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.9", "2.5.29.37.0"


def broken(*certificates: Made, purpose: chains.Purpose = "signing") -> str:
    return chains.broken(chains.read([item.der for item in certificates]), purpose)


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096"])
def test_a_chain_and_one_that_stands_for_itself(kind: str) -> None:
    assert broken(*good(kind)) == ""
    assert broken(*chain(Wish(kind=kind))) == ""
    assert broken(*chain(ca("root", number=1), Wish(kind=kind))) == ""


ROOT, BETWEEN = ca("root", number=1), ca("intermediate", number=2)
LEAVES = {
    "an authority's": (Wish(authority=True), "authority"),
    "no keyUsage": (Wish(usage=None), "no keyUsage"),
    "not critical": (Wish(usage_critical=False), "critical"),
    "no signatures": (Wish(usage=frozenset({"content_commitment"})), "digital signatures"),
    **{
        f"{use} too": (Wish(usage=frozenset({"digital_signature", use, *more})), "more than")
        for use in USAGES[2:]
        for more in [["key_agreement"] if use.endswith("only") else []]
    },
    "for servers": (Wish(purposes=(CODE_SIGNING, SERVER_AUTH)), "TLS servers"),
    "for timestamps": (Wish(purposes=(TIME_STAMPING,)), "timestamps"),
    "for OCSP": (Wish(purposes=(CODE_SIGNING, OCSP)), "OCSP"),
    "for anything": (Wish(purposes=(ANY,)), "any purpose"),
    "a small RSA key": (Wish(kind="rsa1024"), "1024 bits"),
    "a small curve": (Wish(kind="p192"), "192 bits"),
}


@pytest.mark.parametrize(("wish", "reason"), LEAVES.values(), ids=LEAVES)
def test_a_leaf_that_must_not_sign(wish: Wish, reason: str) -> None:
    assert reason in broken(*chain(ROOT, BETWEEN, wish))
    assert reason in broken(*chain(wish))


FINE = {
    "other purposes": Wish(purposes=("1.2.3.4",)),
    "no purposes": Wish(purposes=None),
    "not an authority's, and says so": Wish(authority=False),
    "content commitment too": Wish(usage=frozenset({"digital_signature", "content_commitment"})),
    "critical purposes": Wish(purposes_critical=True),
    "an extension that nobody knows": Wish(
        more=((made.UnrecognizedExtension(made.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),)
    ),
}


@pytest.mark.parametrize("wish", FINE.values(), ids=FINE)
def test_a_leaf_that_may_sign(wish: Wish) -> None:
    assert broken(*chain(ROOT, BETWEEN, wish)) == ""


AUTHORITIES = {
    "none": (ca("x", number=2, authority=None), "no authority's"),
    "no authority's": (ca("x", number=2, authority=False), "no authority's"),
    "no keyUsage": (ca("x", number=2, usage=None), "no keyUsage"),
    "not critical": (ca("x", number=2, usage_critical=False), "critical"),
    "not for certificates": (ca("x", number=2, usage=frozenset({"crl_sign"})), "issuing"),
    "a small key": (ca("x", number=2, kind="rsa1024"), "1024 bits"),
}


@pytest.mark.parametrize(("wish", "reason"), AUTHORITIES.values(), ids=AUTHORITIES)
def test_an_authority_that_must_not_issue(wish: Wish, reason: str) -> None:
    assert reason in broken(*chain(ROOT, wish, Wish()))
    assert reason in broken(*chain(wish, Wish()))


def test_sha1() -> None:
    """At each place of the chain. Some builds of the library do not even check such a signature."""
    kinds = {"kind": "rsa2048"}
    for position in range(3):
        wishes = [ca("root", number=1, **kinds), ca("intermediate", number=2, **kinds), Wish(**kinds)]  # type: ignore[arg-type]
        assert broken(*chain(*wishes)) == ""
        wishes[position] = replace(wishes[position], sha1=True)
        certificates = chain(*wishes)
        assert any("sha1" in item.weak for item in chains.read([item.der for item in certificates]))
        assert broken(*certificates)


def test_the_depth_that_an_authority_allows() -> None:
    leaf = Wish()
    for allowed, fine in ((None, True), (1, True), (0, False)):
        assert (broken(*chain(replace(ROOT, depth=allowed), BETWEEN, leaf)) == "") == fine
    assert broken(*chain(ROOT, replace(BETWEEN, depth=0), leaf)) == ""


def test_an_authority_with_an_edwards_key() -> None:
    assert broken(*chain(ca("root", kind="ed25519"), Wish())) == ""


def test_the_order_of_a_chain() -> None:
    leaf, between, root = good()
    assert "does not end in a root" in broken(leaf, between)
    assert "does not end in a root" in broken(leaf)
    assert "was not issued by" in broken(leaf, root)
    assert "is not the last" in broken(leaf, between, root, root)
    assert broken(leaf, root, between)
    assert broken(between, leaf, root)
    assert "certificate" in broken()


def test_who_has_the_name_but_not_the_key() -> None:
    """An authority of the same name, and one that stands beside the chain."""
    leaf, between, root = good()
    impostor = make(replace(ROOT, number=7))
    assert "was not issued by" in broken(leaf, between, impostor)
    assert "is not the last" in broken(*chain(Wish()), root)
    other = chain(ca("another", number=8), Wish(number=3))
    assert "was not issued by" in broken(other[0], between, root)


def test_leaf_and_root_of_one_name() -> None:
    """As the vectors of notation have it."""
    name = (("C", "US"), ("ST", "WA"), ("O", "Notary"), ("CN", "Notation Test Root"))
    assert broken(*chain(replace(ROOT, subject=name), Wish(subject=name))) == ""


STAMPING = Wish(purposes=(TIME_STAMPING,), purposes_critical=True)


def test_who_may_stamp() -> None:
    assert broken(*chain(ROOT, STAMPING), purpose="timestamping") == ""
    assert broken(*chain(ROOT, replace(STAMPING, usage_critical=False)), purpose="timestamping") == ""
    for wish in (
        Wish(),
        replace(STAMPING, purposes_critical=False),
        replace(STAMPING, purposes=(TIME_STAMPING, CODE_SIGNING)),
        replace(STAMPING, purposes=None),
    ):
        assert broken(*chain(ROOT, wish), purpose="timestamping")


def test_every_certificate_has_to_be_valid() -> None:
    day = timedelta(days=1)
    for position in range(3):
        wishes = [ROOT, BETWEEN, Wish()]
        wishes[position] = replace(wishes[position], since=SINCE + day, until=UNTIL - day)
        read = chains.read([item.der for item in chain(*wishes)])
        assert chains.outside(read, SINCE + day, UNTIL - day) == ""
        assert "valid only from" in chains.outside(read, SINCE + day - timedelta(seconds=1), UNTIL - day)
        assert "was valid until" in chains.outside(read, SINCE + day, UNTIL - day + timedelta(seconds=1))
        assert chains.outside(read, SINCE, SINCE, leeway=day) == ""
        early = chains.expired(read, SINCE, timedelta(0))
        late = chains.expired(read, UNTIL, timedelta(0))
        assert early is not None
        assert late is not None
        assert (early.exit_code, early.reason) == (15, "certificate-not-yet-valid")
        assert (late.exit_code, late.reason) == (15, "certificate-expired")


def test_the_end_of_time() -> None:
    read = chains.read([item.der for item in good()])
    for moment in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        assert chains.outside(read, moment, moment, timedelta(hours=1))


DER = good()[0].der


@settings(max_examples=300)
@given(st.integers(0, len(DER) * 8 - 1))
def test_no_bit_of_a_certificate_can_be_flipped(bit: int) -> None:
    _, between, root = good()
    changed = bytearray(DER)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        read = chains.read([bytes(changed), between.der, root.der])
    except FormatError:
        return
    assert chains.broken(read)


@given(st.binary(max_size=100))
def test_anything_may_stand_for_a_certificate(data: bytes) -> None:
    with pytest.raises(FormatError):
        x509.parse(data)


def test_files_of_certificates() -> None:
    made_ = good()
    assert x509.read_pem(b"# a comment\n" + pem(made_), "f") == tuple(item.der for item in made_)
    assert x509.read_pem(DER, "f") == (DER,)
    for data, why in (
        (b"", "no certificate"),
        (b"\x30\x82" + b"x" * 9, "damaged"),
        (pem(made_).replace(b"MII", b"MIJ"), "damaged"),
        (pem(made_) + b"-----BEGIN PRIVATE KEY-----\nMII=\n-----END PRIVATE KEY-----\n", "private key"),
        (b" " * (1024 * 1024 + 1), "bytes"),
    ):
        with pytest.raises(UsageError, match=why):
            x509.read_pem(data, "f")


# --- subjects ---------------------------------------------------------------------------------------------


def subject(*parts: tuple[str, str]) -> x509.Certificate:
    return x509.parse(make(Wish(subject=parts)).der)


ACME = (("C", "US"), ("ST", "WA"), ("O", "acme, inc."), ("CN", "models"))


@pytest.mark.parametrize(
    "text",
    [
        r"C=US, ST=WA, O=acme\, inc.",
        r"x509.subject: O=acme\, inc.,ST=WA,C=US",
        r"c=US,s=WA,o=acme\, inc.,cn=models",
    ],
)
def test_a_subject_that_matches(text: str) -> None:
    assert subjects.matches(subjects.parse(text), subject(*ACME))


def test_a_name_that_the_library_warns_of() -> None:
    """Here each warning would be an error, and a user would see it among the lines of a verdict."""
    odd = bytearray(make(Wish(subject=(("O", "x" * 64),))).der)
    for place in (position for position in range(len(odd)) if odd[position : position + 5] == b"\x06\x03U\x04\n"):
        odd[place + 4] = 6  # says that it is a country
    found = x509.parse(bytes(odd))
    assert found.subject == (("C", "x" * 64),)
    assert x509.issued(found, found) is False


def test_what_a_certificate_is_called() -> None:
    """Nothing in it draws on a terminal, or looks like a part that it has not."""
    assert subject(*ACME).name == r"C=US, ST=WA, O=acme\, inc., CN=models"
    assert subject(("O", "evil, O=acme")).name == r"O=evil\, O\=acme"
    for nasty in ("a\nb", "a\x1b[2Jb", "a\u202eb"):
        shown = subject(("O", nasty)).name
        assert shown.isprintable()
        assert shown.startswith("O=a\\")
    assert len(subject(*[("OU", "x" * 60)] * 40).name) <= 257
    assert subject().name == "(no name)"


@pytest.mark.parametrize(
    "text",
    [
        "C=US,ST=WA,O=acme",
        r"C=US,ST=WA,O=ACME\, inc.",
        r"C=US,ST=WA,O=acme\, inc.,OU=models",
        r"C=US,ST=WA,O=acme\, inc.,CN=model",
        r"C=CA,ST=WA,O=acme\, inc.",
    ],
)
def test_a_subject_that_does_not_match(text: str) -> None:
    assert not subjects.matches(subjects.parse(text), subject(*ACME))


def test_a_subject_in_which_a_name_stands_twice_matches_nothing() -> None:
    pattern = subjects.parse("C=US,ST=WA,O=acme")
    assert not subjects.matches(pattern, subject(("C", "US"), ("ST", "WA"), ("O", "acme"), ("O", "evil")))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "C=US",
        "C=US,ST=WA",
        "C=US,ST=WA,O=",
        "C=US,ST=WA,O=acme,",
        "C=US,ST=WA,O=acme,O=other",
        "C=US,ST=WA,S=WA,O=acme",
        "C=US,ST=WA,O=#04024869",
        "C=US,ST=WA,O= #04024869",
        "C=US,ST=WA,O=acme+OU=x",
        'C=US,ST=WA,O="acme"',
        "C=US;ST=WA;O=acme",
        "C=US,ST=WA,O=acme\\",
        "C=US,ST=WA,O=ac\\me",
        "C=US,ST=WA,O=acme\n",
        "C=US,ST=WA,O=a,=b",
        "C=US,ST=WA,O=a,1..2=b",
        "C=US,ST=WA,O=" + "a" * 4096,
    ],
)
def test_a_subject_that_is_none(text: str) -> None:
    with pytest.raises(FormatError):
        subjects.parse(text)


@given(st.text(max_size=60))
def test_a_subject_is_read_or_refused(text: str) -> None:
    try:
        found = subjects.parse(f"C=US,ST=WA,O={text}")
    except FormatError:
        return
    assert {"C", "ST", "O"} <= {name for name, _ in found}
    assert all(value for _, value in found)


def test_subjects_that_overlap() -> None:
    one, two = subjects.parse("C=US,ST=WA,O=a"), subjects.parse("C=US,ST=WA,O=a,CN=b")
    assert subjects.overlap([two, one])
    assert not subjects.overlap([two, subjects.parse("C=US,ST=WA,O=a,CN=c")])
