"""One answer of a registry: bounded reading, streaming, and the error that a status means.

Guarantees: no more than the stated limit is ever kept; a body that is shorter than announced, or pauses longer
than the time-out, is an `UnavailableError`, and so is a document that takes longer than `Patience.watch` allows;
content encodings, which nobody asked for, are refused; a message carries method, redacted URL, status, and the
specification's error code and message, bounded and printable.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self, TypeVar, cast

import urllib3
from urllib3.response import BaseHTTPResponse

from ocimodel.errors import (
    AuthenticationError,
    FormatError,
    NotFoundError,
    OcimodelError,
    RejectedError,
    UnavailableError,
)
from ocimodel.stores.http.origins import Origin, printable, redacted
from ocimodel.stores.http.policy import ERROR_BYTES, RETRYABLE

_BLOCK = 64 * 1024
_T = TypeVar("_T")


class Answer:
    """The status and headers of an answer, and its body, still on the wire."""

    def __init__(
        self,
        method: str,
        url: str,
        response: BaseHTTPResponse,
        *,
        drips: Callable[[int], bool] = lambda _received: False,
        secret: str = "",
    ) -> None:
        self.method = method
        self.url = url
        self.status = response.status
        self._response = response
        # The body is read from http.client itself: urllib3's own readinto copies every block twice.
        self._body = cast(http.client.HTTPResponse, cast(Any, response)._fp)
        self._drips = drips
        self._received = 0
        self._secret = secret
        length = "" if self.header("transfer-encoding") else self.header("content-length")
        self.length = int(length) if length.isascii() and length.isdigit() and len(length) < 19 else None
        # What is still to come; None where only the end of the body tells.
        self._left = 0 if method == "HEAD" or self.status in (204, 304) else self.length

    def __repr__(self) -> str:
        return f"Answer({self.method} {redacted(self.url)}: {self.status})"

    @property
    def origin(self) -> Origin:
        return Origin.of(self.url)

    @property
    def media_type(self) -> str:
        """Content-Type without its parameters, in lower case as registries compare it; '' where there is none."""
        return self.header("content-type").partition(";")[0].strip()

    def header(self, name: str) -> str:
        return str(self._response.headers.get(name, ""))

    def headers(self, name: str) -> list[str]:
        return list(self._response.headers.getlist(name))

    def readinto(self, buffer: memoryview) -> int:
        """Fill ``buffer``; 0 at the end of the body. Raises UnavailableError where it breaks off or stalls."""
        if self._left is not None and self._left < len(buffer):
            buffer = buffer[: self._left]
        return self._moved(self._on_the_wire(lambda: self._body.readinto(buffer))) if buffer else 0

    def read(self, limit: int, what: str) -> bytes:
        """The whole body, at most ``limit`` bytes. Raises FormatError where it is larger."""
        self.refuse_encodings()
        if self._left is not None and self._left > limit:
            raise FormatError(f"{what} has {self._left} bytes, more than {limit}")
        data = bytearray()
        while self._left != 0:
            data += self.read_some(_BLOCK)
            if len(data) > limit:
                raise FormatError(f"{what} has more than {limit} bytes")
        return bytes(data)

    def read_some(self, most: int) -> bytes:
        """What is there of a document, 1 to ``most`` bytes; none at its end. UnavailableError where it drips."""
        if self._left == 0:
            return b""
        # Not a full block: a body that drips must come back here to be timed.
        block = self._on_the_wire(lambda: self._body.read1(most))
        self._moved(len(block))
        if block and self._drips(self._received):
            raise UnavailableError(f"{self._where}: the body takes too long")
        return block

    def _on_the_wire(self, step: Callable[[], _T]) -> _T:
        try:
            return step()
        except TimeoutError:
            raise UnavailableError(f"{self._where}: the stream stalled") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UnavailableError(f"{self._where}: the stream broke off ({_why(error)})") from None

    def _moved(self, count: int) -> int:
        self._received += count
        if self._left is not None:
            if not count:
                raise UnavailableError(f"{self._where}: the body is shorter than announced")
            self._left -= count
        elif not count:
            self._left = 0
        return count

    def refuse_encodings(self) -> None:
        encoding = self.header("content-encoding").strip().lower()
        if encoding not in ("", "identity"):
            raise FormatError(f"{self._where}: the body is encoded ({printable(encoding, 40)}), unasked")

    def close(self) -> None:
        """Give the connection back if the body was read, else close it. A short rest is read for that."""
        with suppress(UnavailableError):
            while self._left is not None and 0 < self._left <= _BLOCK:
                self.read_some(_BLOCK)  # which is timed
        if self._left == 0:
            with suppress(OSError, http.client.HTTPException, ValueError):
                self._body.read()  # nothing comes; http.client wants to be told that it ended
                self._response.release_conn()
                return
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def error(self, hint: str | None = None) -> OcimodelError:
        """What this status means. Reads the body for the registry's own words and closes."""
        said = self._said()
        message = f"{self._where}: {self.status}{f' {said}' if said else ''}"
        if self.status in (401, 403):
            return AuthenticationError(message, hint=hint)
        if self.status == 404:
            return NotFoundError(message, hint=hint)
        if self.status in RETRYABLE or self.status >= 500:
            return UnavailableError(message, hint=hint)
        return RejectedError(message, hint=hint)

    def _said(self) -> str:
        """``CODE: message`` of the first error (distribution-spec v1.1, "Error Codes"), or ''."""
        try:
            with self:
                raw = self.read(ERROR_BYTES, "the error")
            first = json.loads(raw)["errors"][0]
            words = [str(first[key]) for key in ("code", "message") if isinstance(first.get(key), str)]
        except (OcimodelError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return ""
        said = ": ".join(words)
        # A registry may echo what it was sent.
        return printable(said.replace(self._secret, "***") if self._secret else said)

    @property
    def _where(self) -> str:
        return f"{self.method} {redacted(self.url)}"


def broken(method: str, url: str, error: Exception) -> UnavailableError:
    """The error for an exchange that brought no answer."""
    hint = None
    if is_certificate_error(error):
        hint = "Give the registry's certificate authority with --ca-file FILE."
    return UnavailableError(f"{method} {redacted(url)}: {_why(error)}", hint=hint)


def is_certificate_error(error: Exception) -> bool:
    """Another try would find the same certificate."""
    return isinstance(error, urllib3.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)


def _why(error: BaseException) -> str:
    """A reason in a few words. urllib3's own text names objects and whole URLs."""
    for known, words in _REASONS:
        if isinstance(error, known):
            return words
    cause = error.args[-1] if error.args else None
    if isinstance(cause, BaseException):
        return _why(cause)
    if isinstance(error, OSError) and error.strerror:
        return printable(error.strerror, 100)
    return type(error).__name__


_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (urllib3.exceptions.NameResolutionError, "the host's name cannot be resolved"),
    (urllib3.exceptions.ReadTimeoutError, "no answer in time"),
    (urllib3.exceptions.NewConnectionError, "cannot connect"),
    (urllib3.exceptions.ConnectTimeoutError, "no connection in time"),
    (urllib3.exceptions.ProxyError, "the proxy refuses or does not answer"),
    (ConnectionRefusedError, "connection refused"),
    (ConnectionResetError, "connection reset"),
    (BrokenPipeError, "connection closed"),
    (http.client.RemoteDisconnected, "connection closed without an answer"),
    (TimeoutError, "no progress in time"),
)
