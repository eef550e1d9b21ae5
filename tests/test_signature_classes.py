"""What is wrong with a signature, in every format that is read, by `verify` on a store that carries it."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ocimodel.attest import base64s, legacy, oms
from ocimodel.attest.notary import payload_of
from ocimodel.attest.referrer import attach
from ocimodel.attest.statement import signature_statement
from ocimodel.keys import jose
from ocimodel.keys.sealing import seal, sign_message, sign_statement
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.stores.layout import LayoutStore
from ocimodel.stores.protocol import Source
from ocimodel.trust.claims import format_time
from tests import cose, notary
from tests.certificates import Made, Wish, ca, chain, pem, recent
from tests.commands import run
from tests.test_attest_oms import FILES

DAY = timedelta(days=1)
NOW = datetime.now(UTC).replace(microsecond=0)
ROOT = ca("root", number=1, **recent())
CHAIN = chain(ROOT, Wish(**recent()))  # type: ignore[arg-type]
STRANGER = chain(ca("root", number=9, **recent()), Wish(number=8, **recent()))  # type: ignore[arg-type]
EXPIRED = chain(ROOT, Wish(since=NOW - 9 * DAY, until=NOW - 8 * DAY))
EARLY = chain(ROOT, Wish(since=NOW + 8 * DAY, until=NOW + 9 * DAY))
ROOTS = pem([made[-1] for made in (CHAIN, EXPIRED, EARLY)])


@dataclass(frozen=True)
class Place:
    """A layout with two models, and who is trusted."""

    root: Path
    models: dict[str, Descriptor] = field(default_factory=dict)

    @property
    def store(self) -> LayoutStore:
        return LayoutStore(self.root / "store")

    def put(self, manifest: bytes, *blobs: bytes, tag: str | None = None) -> None:
        with closing(self.store) as store:
            for blob in (media.EMPTY_JSON, *blobs):
                store.put_blob(Source.of(blob))
            store.put_manifest(manifest, media.OCI_MANIFEST, tag=tag)

    def verify(self, *lines: str, threshold: int | None = None) -> int:
        demand = {"from": list(lines)} | ({"threshold": threshold} if threshold else {})
        rules = {"match": "**", "signatures": demand, "formats": {"deny": []}}
        document = {
            "version": 1,
            "keys": {
                name: {"publicKey": made[0].signer.public.to_pem().decode()}
                for name, made in (("them", CHAIN), ("other", STRANGER))
            },
            "certificates": {
                "theirs": {"roots": ROOTS.decode(), "subjects": ["*"]},
                "others": {"roots": STRANGER[-1].pem.decode(), "subjects": ["*"]},
            },
            "scopes": [rules],
        }
        (self.root / "policy.json").write_text(json.dumps(document))
        return run("verify", f"oci:{self.root / 'store'}:v1", "--policy", self.root / "policy.json").code


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("classes")
    for tag in ("v1", "v2"):
        (root / tag).mkdir()
        (root / tag / "config.json").write_text(json.dumps({"tag": tag}))
        assert run("push", root / tag, f"oci:{root / 'store'}:{tag}").code == 0
    return root


@pytest.fixture
def place(pushed: Path, tmp_path: Path) -> Place:
    shutil.copytree(pushed / "store", tmp_path / "store")
    found = Place(tmp_path)
    with closing(found.store) as store:
        found.models.update({tag: store.get_manifest(tag)[0] for tag in ("v1", "v2")})
    return found


# --- how each format is written, and spoilt ----------------------------------------------------------------------

Change = Callable[[dict[str, Any]], Any]
"""Spoils the document; what it returns, if anything, is attached in its place."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """Who signs which model, with which claims, and what is done to the document afterwards."""

    by: tuple[Made, ...] = CHAIN
    about: str = "v1"
    claims: dict[str, str] = field(default_factory=dict)
    change: Change | None = None
    headers: dict[int | str, Any] = field(default_factory=dict)

    def changed(self, document: dict[str, Any]) -> bytes:
        instead = self.change(document) if self.change else None
        return instead if isinstance(instead, bytes) else json.dumps(document).encode()


def sigstore(place: Place, made: Signature) -> None:
    statement = signature_statement(place.models[made.about].digest, made.claims)
    _bundle(place, made.changed(json.loads(sign_statement(made.by[0].signer, statement))), media.COSIGN_SIGN)


def model_signing(place: Place, made: Signature) -> None:
    statement = oms.statement_bytes("m", FILES, place.models[made.about].digest, made.claims)
    signer = made.by[0].signer
    bundle = oms.bundle_of(seal(signer, statement), signer.public.to_pem())
    _bundle(place, made.changed(json.loads(bundle)), media.OMS_SIGNATURE)


def _bundle(place: Place, bundle: bytes, kind: str) -> None:
    keyid = CHAIN[0].signer.public.keyid
    attached = attach(bundle, place.models["v1"], predicate_type=kind, keyid=keyid)
    place.put(attached.manifest, attached.bundle)


def jws(place: Place, made: Signature) -> None:
    expires = datetime.fromisoformat(made.claims["expires"]) if made.claims else None
    about, time = place.models[made.about], NOW - DAY
    _envelope(place, made.changed(json.loads(notary.envelope(made.by, about=about, time=time, expires=expires))))


def cose_sign1(place: Place, made: Signature) -> None:
    expires = int(datetime.fromisoformat(made.claims["expires"]).timestamp()) if made.claims else None
    payload = payload_of(place.models[made.about], {})
    signed = cose.envelope(made.by, payload=payload, expires=expires, protected=made.headers)
    instead = made.change({"": signed}) if made.change else signed
    _envelope(place, instead, media.NOTARY_COSE)


def _envelope(place: Place, blob: bytes, kind: str = media.NOTARY_JWS) -> None:
    names = json.dumps([hashlib.sha256(item.der).hexdigest() for item in CHAIN])
    annotations = {media.NOTARY_THUMBPRINTS: names}
    place.put(notary.manifest(blob, kind=kind, to=place.models["v1"], annotations=annotations), blob)


def cosign_legacy(place: Place, made: Signature) -> None:
    payload = legacy.payload(place.models[made.about].digest, "", made.claims)
    document = {
        "payload": payload,
        "signature": base64.b64encode(sign_message(made.by[0].signer, payload)).decode(),
    }
    if made.change:
        made.change(document)
    data = document["payload"]
    assert isinstance(data, bytes)
    keyid = CHAIN[0].signer.public.keyid
    annotations = {media.COSIGN_SIGNATURE: str(document["signature"]), media.KEY_ID: keyid}
    layer = Descriptor(
        media_type=media.COSIGN_PAYLOAD, digest=Digest.of(data), size=len(data), annotations=annotations
    )
    manifest, config = legacy.appended(None, [layer])
    place.put(manifest, config, data, tag=legacy.tag_of(place.models["v1"].digest, legacy.SIGNATURES))


FORMATS = {
    "sigstore": sigstore,
    "oms": model_signing,
    "jws": jws,
    "cose": cose_sign1,
    "cosign-legacy": cosign_legacy,
}
NOTARY = {"jws", "cose"}
VERSION = "application/vnd.dev.sigstore.bundle.v9.9+json"
ENDED = {"expires": format_time(NOW - timedelta(hours=1))}


def ended(name: str) -> dict[str, str]:
    return ENDED if name in NOTARY else {media.CLAIM_EXPIRES: ENDED["expires"]}


def of(name: str, **members: Any) -> Change:
    """Members replaced; of bundles, in the envelope."""

    def change(document: dict[str, Any]) -> None:
        inner = document["dsseEnvelope"] if name in ("sigstore", "oms") else document
        inner.update({key: value(inner) if callable(value) else value for key, value in members.items()})

    return change


def flipped(encoded: str) -> str:
    """Another text of the same length in the same encoding."""
    return ("B" if encoded[0] != "B" else "C") + encoded[1:]


def signature(name: str, change: Callable[[str], str]) -> Change:
    if name in ("sigstore", "oms"):
        return of(
            name,
            signatures=lambda inner: [{**inner["signatures"][0], "sig": change(inner["signatures"][0]["sig"])}],
        )
    return of(name, signature=lambda inner: change(inner["signature"]))


def cut_off(document: dict[str, Any]) -> bytes:
    """The end of the document is missing."""
    if "" in document:
        return bytes(document[""][:-9])
    if isinstance(document.get("payload"), bytes):
        document["payload"] = document["payload"][:-9]
        return b""
    return json.dumps(document).encode()[:-9]


def protected(**headers: Any) -> Change:
    """Other protected headers of a JWS, rightly signed."""

    def change(document: dict[str, Any]) -> None:
        found = json.loads(base64.urlsafe_b64decode(document["protected"] + "==")) | headers
        document["protected"] = base64s.encode_url(json.dumps(found).encode())
        message = f"{document['protected']}.{document['payload']}".encode()
        document["signature"] = base64s.encode_url(jose.sign(CHAIN[0].signer, message))

    return change


def payload(name: str) -> Change:
    """White space more in what was signed: it says the same, and is not what was signed."""
    if name == "cosign-legacy":
        return of(name, payload=lambda inner: _spaced(inner["payload"]))
    if name == "jws":
        return of(
            name,
            payload=lambda inner: base64s.encode_url(_spaced(base64.urlsafe_b64decode(inner["payload"] + "=="))),
        )
    return of(name, payload=lambda inner: base64.b64encode(_spaced(base64.b64decode(inner["payload"]))).decode())


def _spaced(data: bytes) -> bytes:
    return data[:-1] + b" " + data[-1:]


def cases() -> dict[str, tuple[str, Signature, int]]:
    found: dict[str, tuple[str, Signature, int]] = {}
    for name in FORMATS:
        spoilt: dict[str, tuple[Signature, int]] = {
            "good": (Signature(), 0),
            "by-another-key": (Signature(by=STRANGER), 12 if name in NOTARY else 14),
            "another-artifact": (Signature(about="v2"), 12),
            "expired": (Signature(claims=ended(name)), 15),
            "cut-off": (Signature(change=cut_off), 14),
        }
        if name != "cose":
            spoilt |= {
                "payload": (Signature(change=payload(name)), 14),
                "signature": (Signature(change=signature(name, flipped)), 14),
                "base64": (Signature(change=signature(name, lambda text: "!" + text[1:])), 14),
                "base64-of-nothing": (Signature(change=signature(name, lambda _: "")), 14),
            }
        else:
            spoilt |= {
                "payload": (Signature(change=lambda document: document[""].replace(b"sha256:", b"sha256;")), 14),
                "signature": (
                    Signature(change=lambda document: document[""][:-1] + bytes([document[""][-1] ^ 1])),
                    14,
                ),
            }
        if name in ("sigstore", "oms"):
            twice = of(name, signatures=lambda inner: inner["signatures"] * 2)
            none = of(name, signatures=[])
            spoilt |= {
                "version": (Signature(change=lambda document: document.update(mediaType=VERSION)), 14),
                "two-signatures": (Signature(change=twice), 14),
                "no-signature": (Signature(change=none), 14),
                "unknown-member": (Signature(change=of(name, more=1)), 14),
                "payload-type": (Signature(change=of(name, payloadType="application/json")), 14),
            }
        if name in NOTARY:
            spoilt |= {
                "certificate-expired": (Signature(by=EXPIRED), 15),
                "certificate-early": (Signature(by=EARLY), 15),
            }
        found |= {f"{name}-{what}": (name, *rest) for what, rest in spoilt.items()}
    scheme, alien = "io.cncf.notary.signingScheme", "notary.x509.v9"
    headers: tuple[tuple[str, dict[int | str, Any], dict[str, Any], int], ...] = (
        ("critical", {2: [scheme, "new"], "new": 1}, {"crit": [scheme, "new"], "new": 1}, 12),
        ("version", {scheme: alien}, {scheme: alien}, 12),
        ("content", {3: "application/json"}, {"cty": "application/json"}, 12),
        ("algorithm", {1: -35}, {"alg": "ES384"}, 14),
        ("algorithm-of-rsa", {1: -37}, {"alg": "PS256"}, 14),
        ("no-algorithm", {1: None}, {"alg": "none"}, 14),
    )
    for what, cbor, jose_headers, code in headers:
        found[f"cose-{what}"] = ("cose", Signature(headers=cbor), code)
        found[f"jws-{what}"] = ("jws", Signature(change=protected(**jose_headers)), code)
    return found


CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_each_class_has_its_code(place: Place, name: str) -> None:
    kind, made, code = CASES[name]
    FORMATS[kind](place, made)
    line = "theirs" if kind in NOTARY else "them"
    assert place.verify(line) == code
    if code == 0:
        assert place.verify("others" if kind in NOTARY else "other") == 12, "another key"
        assert place.verify() == 12, "no key"
        sigstore(place, Signature(claims={"once": "more"}))
        assert place.verify("them", "theirs", "other", threshold=2) == 12, "one key, however often, is one signer"
    else:
        sigstore(place, Signature())
        assert place.verify("them") == 0, "a bad one spoils nothing"
