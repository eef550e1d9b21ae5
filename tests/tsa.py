"""A time-stamping authority: tokens of RFC 3161 for any time, right and wrong ones."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.certificates import TIME_STAMPING, Made, Wish, ca, chain

BASELINE = "0.4.0.2023.1.1"
_HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}


def stamping(**wishes: object) -> Wish:
    defaults: dict[str, object] = {
        "subject": (("C", "US"), ("ST", "WA"), ("O", "time"), ("CN", "stamps")),
        "kind": "rsa2048",
        "number": 20,
        "purposes": (TIME_STAMPING,),
        "purposes_critical": True,
    }
    return Wish(**{**defaults, **wishes})  # type: ignore[arg-type]


def authority(first: int = 20, **wishes: object) -> tuple[Made, ...]:
    """Who stamps, an intermediate and the root, with keys from ``first`` on."""
    root, between = (
        ca(name, number=number, subject=(("C", "US"), ("ST", "WA"), ("O", "time"), ("CN", name)))
        for name, number in (("root", first + 1), ("intermediate", first + 2))
    )
    return chain(root, between, stamping(number=first, **wishes))


def token(
    message: bytes,
    by: Sequence[Made],
    time: datetime,
    *,
    accuracy: timedelta | None = None,
    digest: str = "sha256",
    policy: str = "1.2.3.4",
    carried: Sequence[Made] | None = None,
    signer: Made | None = None,
    nonce: int | None = None,
    hashed: bytes | None = None,
) -> bytes:
    """A TimeStampToken over ``message``.

    Args:
        carried: certificates in it; ``by`` but for the root unless given.
        signer: who signs in place of the first of ``by``.
        hashed: the message's hash, where the message is not known.
    """
    info = tsp.TSTInfo(
        {
            "version": "v1",
            "policy": policy,
            "message_imprint": {
                "hash_algorithm": {"algorithm": digest},
                "hashed_message": hashed or hashlib.new(digest, message).digest(),
            },
            "serial_number": 7,
            "gen_time": time,
            **({"nonce": nonce} if nonce is not None else {}),
            **({"accuracy": _accuracy(accuracy)} if accuracy is not None else {}),
        }
    )
    content = info.dump()
    mine = asn1.Certificate.load(by[0].der)
    attributes = cms.CMSAttributes(
        [
            cms.CMSAttribute({"type": "content_type", "values": ["tst_info"]}),
            cms.CMSAttribute({"type": "message_digest", "values": [hashlib.sha256(content).digest()]}),
            cms.CMSAttribute(
                {
                    "type": "signing_certificate_v2",
                    "values": [{"certs": [{"cert_hash": hashlib.sha256(by[0].der).digest()}]}],
                }
            ),
        ]
    )
    signed = cms.SignedData(
        {
            "version": "v3",
            "digest_algorithms": [{"algorithm": "sha256"}],
            "encap_content_info": {"content_type": "tst_info", "content": core.ParsableOctetString(content)},
            "certificates": [asn1.Certificate.load(item.der) for item in (by[:-1] if carried is None else carried)],
            "signer_infos": [
                {
                    "version": "v1",
                    "sid": cms.IssuerAndSerialNumber({"issuer": mine.issuer, "serial_number": mine.serial_number}),
                    "digest_algorithm": {"algorithm": "sha256"},
                    "signed_attrs": attributes,
                    "signature_algorithm": _algorithm(by[0]),
                    "signature": _sign(signer or by[0], attributes.dump()),
                }
            ],
        }
    )
    data: bytes = cms.ContentInfo({"content_type": "signed_data", "content": signed}).dump()
    return data


def response(request: bytes, by: Sequence[Made], **how: Any) -> bytes:
    """The TimeStampResp to a TimeStampReq, but for what ``how`` says of its token."""
    asked = tsp.TimeStampReq.load(request)
    imprint = asked["message_imprint"]
    fitting = {
        "time": datetime.now(UTC).replace(microsecond=0),
        "digest": imprint["hash_algorithm"]["algorithm"].native,
        "hashed": imprint["hashed_message"].native,
        "nonce": asked["nonce"].native,
        "accuracy": timedelta(seconds=1),
    }
    stamp = token(b"", by, **(fitting | how))
    granted = {"status": {"status": "granted"}, "time_stamp_token": cms.ContentInfo.load(stamp)}
    data: bytes = tsp.TimeStampResp(granted).dump()
    return data


@contextmanager
def serving(by: Sequence[Made], answer: Callable[[bytes], tuple[int, bytes]] | None = None) -> Iterator[str]:
    """An authority that stamps whatever it is asked for; its URL.

    Args:
        answer: what it says to a request instead, status and body.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/timestamp-query"
            request = self.rfile.read(int(self.headers["Content-Length"]))
            status, body = answer(request) if answer is not None else (200, response(request, by))
            self.send_response(status)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _accuracy(value: timedelta) -> dict[str, int]:
    seconds, micros = divmod(value // timedelta(microseconds=1), 1_000_000)
    parts = {"seconds": seconds, "millis": micros // 1000, "micros": micros % 1000}
    return {name: part for name, part in parts.items() if part or name == "seconds"}


def _algorithm(by: Made) -> algos.SignedDigestAlgorithm:
    return algos.SignedDigestAlgorithm(
        {"algorithm": "sha256_rsa" if isinstance(by.key, rsa.RSAPrivateKey) else "sha256_ecdsa"}
    )


def _sign(by: Made, data: bytes) -> bytes:
    if isinstance(by.key, rsa.RSAPrivateKey):
        return by.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    assert isinstance(by.key, ec.EllipticCurvePrivateKey)
    return by.key.sign(data, ec.ECDSA(hashes.SHA256()))
