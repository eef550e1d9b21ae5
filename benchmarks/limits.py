"""What this machine can do at all, in bytes a second: the marks beside which the figures stand."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from blake3 import blake3

from benchmarks.servers import Registry

_BLOCK = 1024 * 1024


def limits(directory: Path, registry: Registry, size: int, times: int = 3) -> dict[str, float]:
    """Medians of ``times``: one pass of each hash, a copy through a socket, a file written and read, registry."""
    block = os.urandom(_BLOCK)
    hasher = hashlib.sha256()
    for _ in range(size // _BLOCK):
        hasher.update(block)
    digest = f"sha256:{hasher.hexdigest()}"
    ways: dict[str, Callable[[], None]] = {
        "sha256": lambda: _hash(hashlib.sha256(), size),
        "blake3": lambda: _hash(blake3(), size),
        "socket": lambda: _socket(size),
        "write": lambda: _write(directory, size, sync=False),
        "write and sync": lambda: _write(directory, size, sync=True),
        "read": lambda: _read(directory, size),
        "registry takes": lambda: _put(registry, block, size, digest),
        "registry gives": lambda: _get(registry, digest),
    }
    return {name: size / statistics.median(_timed(way) for _ in range(times)) for name, way in ways.items()}


def _timed(way: Callable[[], None]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began


def _hash(hasher: hashlib._Hash | blake3, size: int) -> None:
    block = os.urandom(_BLOCK)
    for _ in range(size // _BLOCK):
        hasher.update(block)


def _socket(size: int) -> None:
    """Sent by one thread and received by another over loopback, with nothing done to the bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def send() -> None:
            with socket.create_connection(listener.getsockname()) as sender:
                block = bytes(_BLOCK)
                for _ in range(size // _BLOCK):
                    sender.sendall(block)

        thread = threading.Thread(target=send)
        thread.start()
        receiver, _ = listener.accept()
        with receiver:
            buffer = bytearray(_BLOCK)
            while receiver.recv_into(buffer):
                pass
        thread.join()


def _write(directory: Path, size: int, *, sync: bool) -> None:
    block = os.urandom(_BLOCK)
    path = directory / "written"
    path.unlink(missing_ok=True)
    with path.open("wb", buffering=0) as file:
        for _ in range(size // _BLOCK):
            file.write(block)
        if sync:
            os.fsync(file.fileno())


def _read(directory: Path, size: int) -> None:
    """What has just been written, so from memory."""
    buffer = bytearray(_BLOCK)
    with (directory / "written").open("rb", buffering=0) as file:
        for _ in range(size // _BLOCK):
            file.readinto(buffer)


def _put(registry: Registry, block: bytes, size: int, digest: str) -> None:
    """A client that does nothing but send: the digest is known, the bytes are in its memory."""
    registry.forget()
    connection = http.client.HTTPConnection(registry.host)
    connection.request("POST", "/v2/limit/blobs/uploads/", headers={"Content-Length": "0"})
    answer = connection.getresponse()
    answer.read()
    parts = urlsplit(answer.headers["Location"])
    blocks = (block for _ in range(size // _BLOCK))
    target = f"{parts.path}?{parts.query}&digest={digest}"
    connection.request("PUT", target, body=blocks, headers={"Content-Length": str(size)})
    if connection.getresponse().status != 201:
        raise OSError(f"{registry.host} did not take the blob")
    connection.close()


def _get(registry: Registry, digest: str) -> None:
    """A client that does nothing but receive, over one connection."""
    connection = http.client.HTTPConnection(registry.host)
    connection.request("GET", f"/v2/limit/blobs/{digest}")
    answer = connection.getresponse()
    buffer = bytearray(_BLOCK)
    while answer.readinto(buffer):
        pass
    connection.close()
