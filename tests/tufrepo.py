"""A repository of The Update Framework, made by python-tuf's own metadata API, and served over loopback HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

ROLES = ("root", "targets", "snapshot", "timestamp")


class TufRepository:
    """``root.json`` is what nodes begin with: two of three root keys; every other role has one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for part in ("metadata", "targets"):
            (directory / part).mkdir(parents=True)
        self.keys = {
            role: [CryptoSigner.generate_ecdsa() for _ in range(3 if role == "root" else 1)] for role in ROLES
        }
        self.root = Root(expires=_in(days=365), consistent_snapshot=True)
        for role in ROLES:
            for signer in self.keys[role]:
                self.root.add_key(signer.public_key, role)
        self.root.roles["root"].threshold = 2
        self.targets = Targets(expires=_in(days=30))
        self.snapshot = Snapshot(expires=_in(days=30))
        self.timestamp = Timestamp(expires=_in(days=1))
        self.publish_root()
        self.publish_targets()

    def policy(self, data: bytes, **ends: datetime) -> None:
        """Publish ``data`` as the policy; ``ends`` by role."""
        target = TargetFile.from_data("policy.json", data, ["sha256"])
        (self.directory / "targets" / f"{target.hashes['sha256']}.policy.json").write_bytes(data)
        self.targets.targets["policy.json"] = target
        self.targets.version += 1
        self.publish_targets(**ends)

    def publish_root(self, signers: int = 3) -> None:
        metadata = Metadata(self.root)
        for signer in self.keys["root"][:signers]:
            metadata.sign(signer, append=True)
        metadata.to_file(str(self.directory / "metadata" / f"{self.root.version}.root.json"))
        if self.root.version == 1:
            metadata.to_file(str(self.directory / "root.json"))

    def publish_targets(self, **ends: datetime) -> None:
        for role in ("targets", "snapshot", "timestamp"):
            if role in ends:
                getattr(self, role).expires = ends[role]
        self._write("targets", self.targets, f"{self.targets.version}.targets.json")
        self.snapshot.meta["targets.json"] = MetaFile(self.targets.version)
        self.snapshot.version += 1
        self._write("snapshot", self.snapshot, f"{self.snapshot.version}.snapshot.json")
        self.timestamp.snapshot_meta = MetaFile(self.snapshot.version)
        self.timestamp.version += 1
        self._write("timestamp", self.timestamp, "timestamp.json")

    def _write(self, role: str, signed: Any, name: str) -> None:
        metadata = Metadata(signed)
        metadata.sign(self.keys[role][0])
        metadata.to_file(str(self.directory / "metadata" / name))


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """``127.0.0.1:PORT`` of a web server over ``directory``."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that has read enough hangs up."""

    with Server(("127.0.0.1", 0), partial(Handler, directory=str(directory))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{httpd.server_address[1]}"
        finally:
            httpd.shutdown()
            thread.join()


def _in(**time: int) -> datetime:
    return (datetime.now(UTC) + timedelta(**time)).replace(microsecond=0)
