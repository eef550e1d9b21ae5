"""What authorities say of certificates: CRLs and OCSP responses, and a server that hands them out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from tests.certificates import Made
from tests.notary import NOW

DER = serialization.Encoding.DER
HOUR = timedelta(hours=1)
GOOD, REVOKED, UNKNOWN = (
    ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN
)  # fmt: skip


def crl(
    issuer: Made,
    *revoked: Made,
    since: datetime = NOW - HOUR,
    until: datetime = NOW + HOUR,
    number: int | None = 7,
    reason: x509.ReasonFlags | None = None,
    invalid: datetime | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    entry_extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    signer: Made | None = None,
) -> bytes:
    """A CRL of ``issuer``; ``signer`` signs in its place."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject).last_update(since)
    builder = builder.next_update(until)
    for item in revoked:
        entry = (
            x509.RevokedCertificateBuilder().serial_number(item.certificate.serial_number).revocation_date(since)
        )
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        if invalid is not None:
            entry = entry.add_extension(x509.InvalidityDate(invalid.replace(tzinfo=None)), critical=False)
        for extension, critical in entry_extensions:
            entry = entry.add_extension(extension, critical=critical)
        builder = builder.add_revoked_certificate(entry.build())
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign((signer or issuer).key, hashes.SHA256()).public_bytes(DER)


def response(
    issuer: Made,
    about: Made,
    status: ocsp.OCSPCertStatus = GOOD,
    *,
    since: datetime = NOW - HOUR,
    until: datetime | None = NOW + HOUR,
    by: Made | None = None,
    carried: Sequence[Made] = (),
    of: Made | None = None,
    algorithm: hashes.HashAlgorithm | None = None,
    digest: hashes.HashAlgorithm | None = None,
) -> bytes:
    """An OCSP response about a certificate.

    Args:
        by: who signs in place of ``issuer``.
        of: the issuer that the response names, in place of ``issuer``.
        digest: by which the certificate is named.
    """
    signer = by or issuer
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=about.certificate,
        issuer=(of or issuer).certificate,
        algorithm=digest or hashes.SHA1(),  # noqa: S303
        cert_status=status,
        this_update=since,
        next_update=until,
        revocation_time=since if status is REVOKED else None,
        revocation_reason=x509.ReasonFlags.key_compromise if status is REVOKED else None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
    if carried:
        builder = builder.certificates([item.certificate for item in carried])
    return builder.sign(signer.key, algorithm or hashes.SHA256()).public_bytes(DER)


@dataclass
class Service:
    """Answers by path; what was asked is in ``asked``."""

    answers: dict[str, Callable[[bytes], tuple[int, bytes]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        return self.answers[path](body) if path in self.answers else (404, b"")

    def says(self, path: str, document: bytes | Callable[[], bytes], status: int = 200) -> str:
        """From now on ``path`` answers this; its URL."""
        self.answers[path] = lambda _: (status, document if isinstance(document, bytes) else document())
        return f"{self.url}{path}"


@contextmanager
def serving() -> Iterator[Service]:
    """A service on loopback."""
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, body: bytes) -> None:
            path = "/" + self.path.split("/")[1]
            service.asked.append(f"{self.command} {path}")
            status, document = service.answer(path, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(document)))
            self.end_headers()
            self.wfile.write(document)

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
