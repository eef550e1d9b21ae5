"""A server that speaks what is needed of Vault's transit engine (https://developer.hashicorp.com/vault/api-docs/secret/transit).

It is no Vault: it was written by the documentation, for the tests and their faults. Its keys are real ones.
"""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import unquote

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
Answer = tuple[int, dict[str, Any]]

TOKEN = "hvs.the-token-of-the-tests"
HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha2-256": hashes.SHA256(),
    "sha2-384": hashes.SHA384(),
    "sha2-512": hashes.SHA512(),
}
MAKERS: dict[str, Callable[[], Key]] = {
    "ecdsa-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ecdsa-p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "rsa-2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa-3072": lambda: rsa.generate_private_key(65537, 3072),
}


class Transit:
    """``url`` is for VAULT_ADDR. ``asked`` is what was asked for; ``fail`` holds answers to give first."""

    def __init__(self, mount: str = "transit") -> None:
        self.mount = mount
        self.keys: dict[str, tuple[str, list[Key]]] = {}
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.namespaces: set[str | None] = set()
        self.fail: list[Answer] = []
        self.change: Callable[[dict[str, Any]], dict[str, Any]] = dict
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def make(self, name: str, kind: str = "ecdsa-p256") -> None:
        """A key, or another version of it."""
        self.keys.setdefault(name, (kind, []))[1].append(MAKERS[kind]())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, method: str, path: str, token: str | None, body: dict[str, Any]) -> Answer:
        self.asked.append((method, path, body))
        if self.fail:
            return self.fail.pop(0)
        if token != TOKEN:
            return 403, {"errors": ["permission denied"]}
        engine, _, name = path.removeprefix("/v1/").rpartition("/")
        if engine not in (f"{self.mount}/keys", f"{self.mount}/sign") or name not in self.keys:
            return 404, {"errors": []}
        kind, versions = self.keys[name]
        if engine.endswith("/keys"):
            shown = {str(n): {"public_key": public(key)} for n, key in enumerate(versions, 1)}
            return 200, {"data": self.change({"type": kind, "latest_version": len(versions), "keys": shown})}
        version = body.get("key_version") or len(versions)
        signature = base64.b64encode(sign(versions[version - 1], body)).decode()
        return 200, {"data": self.change({"signature": f"vault:v{version}:{signature}"})}

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def respond(self) -> None:
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.namespaces.add(self.headers.get("X-Vault-Namespace"))
                token = self.headers.get("X-Vault-Token")
                status, body = outer.answer(self.command, unquote(self.path), token, json.loads(sent or b"{}"))
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                if "location" in body:
                    self.send_header("Location", body["location"])
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = respond  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def public(key: Key) -> str:
    """As Vault shows it: PEM, but for Ed25519 the raw bytes in base64."""
    shown = key.public_key()
    if isinstance(shown, ed25519.Ed25519PublicKey):
        return base64.b64encode(shown.public_bytes_raw()).decode()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return shown.public_bytes(serialization.Encoding.PEM, form).decode()


def sign(key: Key, body: dict[str, Any]) -> bytes:
    data = base64.b64decode(body["input"], validate=True)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    algorithm = HASHES[body.get("hash_algorithm", "sha2-256")]
    how: Any = utils.Prehashed(algorithm) if body.get("prehashed") else algorithm
    if isinstance(key, ec.EllipticCurvePrivateKey):
        assert body.get("marshaling_algorithm", "asn1") == "asn1"
        return key.sign(data, ec.ECDSA(how))
    if body.get("signature_algorithm", "pss") == "pkcs1v15":
        return key.sign(data, padding.PKCS1v15(), how)
    salt = algorithm.digest_size if body.get("salt_length") == "hash" else padding.PSS.MAX_LENGTH
    return key.sign(data, padding.PSS(padding.MGF1(algorithm), salt), how)
