"""An authorization service for registries: it issues signed tokens, on loopback, in this process.

It speaks what the Docker token specification and its OAuth2 form say: GET with Basic credentials
or none, POST with a password or a refresh token. Each request is kept, so that a test can say what
was asked, by whom and how often.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Iterator

ISSUER = "test-issuer"
SERVICE = "test-registry"
LEEWAY = 60
"""How many seconds longer than it says docker-registry lets a token live."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """One request for a token: ``account`` is None where nobody was named."""

    method: str
    account: str | None
    service: str
    scopes: tuple[str, ...]
    grant: str
    status: int
    headers: dict[str, str] = field(repr=False)


@dataclass(slots=True)
class TokenIssuer:
    """Issues tokens. A test may change the attributes while it runs."""

    accounts: dict[str, str]
    readers: set[str] = field(default_factory=set)
    """Accounts that are granted no more than ``pull``."""
    lifetime: int = 300
    """Seconds after which the registry refuses a token, and what ``expires_in`` says."""
    announce_expiry: bool = True
    accepts_post: bool = True
    anonymous_pull: bool = False
    requests: list[TokenRequest] = field(default_factory=list)
    refresh_tokens: dict[str, str] = field(default_factory=dict)
    realm: str = ""
    _key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, SHA256())
        )

    @property
    def root_certificate(self) -> bytes:
        """What the registry has to trust, in PEM."""
        return self._certificate.public_bytes(Encoding.PEM)

    def reset(self) -> None:
        """As it was at the start, with nothing remembered."""
        with self._lock:
            self.lifetime, self.announce_expiry = 300, True
            self.accepts_post, self.anonymous_pull = True, False
            self.requests.clear()
            self.refresh_tokens.clear()

    def refresh_token(self, account: str) -> str:
        """A refresh token (`identitytoken` in a Docker configuration) for an account."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self.refresh_tokens[token] = account
        return token

    def token(self, account: str | None, scopes: tuple[str, ...], service: str = SERVICE) -> str:
        """A token that grants what ``account`` may have of ``scopes``."""
        now = int(time.time())
        # The registry forgives LEEWAY seconds: issue it that much earlier, and it ends in time.
        claims = {
            "iss": ISSUER,
            "sub": account or "",
            "aud": service,
            "iat": now - LEEWAY,
            "nbf": now - LEEWAY,
            "exp": now + self.lifetime - LEEWAY,
            "jti": secrets.token_hex(8),
            "access": [access for scope in scopes if (access := self._granted(account, scope))],
        }
        chain = [base64.b64encode(self._certificate.public_bytes(Encoding.DER)).decode()]
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"x5c": chain})

    def answer(
        self, method: str, query: dict[str, list[str]], headers: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        """Status and document for one request; ``query`` is the form of a POST."""
        scopes = tuple(scope for line in query.get("scope", []) for scope in line.split())
        service = query.get("service", [""])[0]
        grant = query.get("grant_type", [""])[0]
        account, known = self._who(method, query, headers)
        status = 200 if known else 401
        if method == "POST" and not self.accepts_post:
            status = 404
        with self._lock:
            self.requests.append(TokenRequest(method, account, service, scopes, grant, status, headers))
        if status != 200:
            return status, {"errors": [{"code": "UNAUTHORIZED", "message": "refused"}]}
        token = self.token(account, scopes, service)
        document: dict[str, Any] = {"access_token": token}
        if method == "GET":
            document["token"] = token
        if self.announce_expiry:
            document["expires_in"] = self.lifetime
            document["issued_at"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        offline = query.get("access_type", [""])[0] == "offline" or query.get("offline_token") == ["true"]
        if account and offline:
            document["refresh_token"] = self.refresh_token(account)
        return 200, document

    def _who(self, method: str, query: dict[str, list[str]], headers: dict[str, str]) -> tuple[str | None, bool]:
        if method == "POST" and query.get("grant_type") == ["refresh_token"]:
            account = self.refresh_tokens.get(query.get("refresh_token", [""])[0])
            return account, account is not None
        if method == "POST":
            name, password = query.get("username", [""])[0], query.get("password", [""])[0]
            return name, self._matches(name, password)
        scheme, _, encoded = headers.get("authorization", "").partition(" ")
        if not scheme:
            return None, True
        try:
            name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            return None, False
        return name, scheme.lower() == "basic" and self._matches(name, password)

    def _matches(self, name: str, password: str) -> bool:
        return secrets.compare_digest(self.accounts.get(name, "").encode(), password.encode()) and bool(password)

    def _granted(self, account: str | None, scope: str) -> dict[str, Any] | None:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        wanted = [action for action in actions.split(",") if action]
        if account is None and not self.anonymous_pull:
            return None
        if account is None or account in self.readers:
            wanted = [action for action in wanted if action == "pull"]
        return {"type": kind, "name": name, "actions": wanted}


class _Server(ThreadingHTTPServer):
    issuer: TokenIssuer
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        self._answer(parse_qs(urlsplit(self.path).query))

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length") or 0), 65536)
        self._answer(parse_qs(self.rfile.read(length).decode()))

    def _answer(self, query: dict[str, list[str]]) -> None:
        issuer = cast("_Server", self.server).issuer
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, document = issuer.answer(self.command, query, headers)
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Silent: the requests are in the issuer."""


@contextmanager
def serving(issuer: TokenIssuer) -> Iterator[TokenIssuer]:
    """Serve ``issuer`` on a free loopback port until the block is left; sets its ``realm``."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.issuer = issuer
        issuer.realm = f"http://127.0.0.1:{server.server_port}/token"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join(10)
