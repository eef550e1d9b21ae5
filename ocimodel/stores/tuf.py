"""Files from a repository of The Update Framework; the only importer of ``tuf`` (python-tuf's ngclient).

Guarantees: what comes back was checked by that client's workflow (TUF specification, section 5): thresholds, ends,
versions against those that were seen, lengths and hashes. What it has seen it keeps in the directory that it is
given, one process at a time: locking is the caller's part. Bytes come through our own transport, with its limits
and its credentials; plain HTTP only from loopback hosts and those that were named. Offline, the same workflow runs
over what was kept, so that nothing is believed which an online run would not believe at that time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tuf.api import exceptions as tuf_errors
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from ocimodel.errors import (
    IntegrityError,
    NotFoundError,
    OcimodelError,
    RollbackError,
    StaleTrustError,
    StorageError,
    UnavailableError,
    UntrustedError,
    UsageError,
)
from ocimodel.stores.http.origins import Origin, is_loopback
from ocimodel.stores.http.policy import HASTY, Patience
from ocimodel.stores.http.transport import Request, Transport
from ocimodel.stores.opening import Access

# securesystemslib prints by a handler of its own, which it adds when it is imported.
for _handler in list(logging.getLogger("securesystemslib").handlers):
    if type(_handler) is logging.StreamHandler:
        logging.getLogger("securesystemslib").removeHandler(_handler)
for _library in ("securesystemslib", "tuf"):
    logging.getLogger(_library).addHandler(logging.NullHandler())

METADATA = "metadata"
TARGETS = "targets"
_BLOCK = 64 * 1024
_GONE = frozenset({403, 404})


def fetch_target(
    url: str, target: str, root: bytes, directory: Path, *, limit: int, access: Access, offline: bool
) -> bytes:
    """The target's bytes.

    Args:
        url: ``https://…`` or ``file:/…``, above ``metadata/`` and ``targets/``.
        root: the root metadata that trust begins with.
        directory: where the client keeps what it has seen.
        limit: bytes that the target may have.
        offline: nothing is fetched; what was kept decides.

    Raises:
        StaleTrustError: metadata has expired.
        RollbackError: a version is lower than one that was seen.
        UntrustedError: metadata is not signed as its role asks for.
        IntegrityError: a length or a hash differs, or metadata is malformed.
        NotFoundError: there is no such target.
        UnavailableError, AuthenticationError: the repository cannot be reached.
        StorageError: the directory cannot be used.
    """
    kept = directory / TARGETS
    fetcher = _Kept(directory) if offline else _Fetcher(access)
    try:
        (directory / METADATA).mkdir(mode=0o700, parents=True, exist_ok=True)
        kept.mkdir(mode=0o700, exist_ok=True)
        updater = Updater(
            metadata_dir=str(directory / METADATA),
            metadata_base_url=f"{url}/{METADATA}/",
            target_dir=str(kept),
            target_base_url=f"{url}/{TARGETS}/",
            fetcher=fetcher,
            config=UpdaterConfig(),
            bootstrap=root,
        )
        updater.refresh()
        info = updater.get_targetinfo(target)
        if info is None:
            raise NotFoundError(f"{url} has no target {target}", hint="Check the trust source's target.")
        if info.length > limit:
            raise IntegrityError(f"{url}: {target} has {info.length} bytes, more than {limit}")
        path = updater.find_cached_target(info) or updater.download_target(info)
        data = Path(path).read_bytes()
        info.verify_length_and_hashes(data)
        return data
    except tuf_errors.RepositoryError as error:
        raise _refusal(url, error) from None
    except tuf_errors.DownloadLengthMismatchError as error:
        raise IntegrityError(f"{url}: {error}") from None
    except tuf_errors.DownloadError as error:
        raise fetcher.failure or UnavailableError(f"{url}: {error}") from None
    except OSError as error:
        raise StorageError(f"cannot use {directory}: {error.strerror or error}") from None
    finally:
        fetcher.close()


def _refusal(url: str, error: tuf_errors.RepositoryError) -> OcimodelError:
    said = f"{url}: {error}"
    if isinstance(error, tuf_errors.ExpiredMetadataError):
        return StaleTrustError(said, reason="stale-policy")
    if isinstance(error, tuf_errors.BadVersionNumberError):
        return RollbackError(said, hint="Older metadata was put back. Tell whoever keeps the repository.")
    if isinstance(error, tuf_errors.UnsignedMetadataError):
        return UntrustedError(said, hint="Tell whoever keeps the repository; nothing was decided.")
    return IntegrityError(said)


class _Source(FetcherInterface):
    """``failure`` is what went wrong last, as an error of ours: the client passes on only that something did."""

    failure: OcimodelError | None = None

    def close(self) -> None: ...


class _Fetcher(_Source):
    """From https, http or a directory."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._transport: Transport | None = None

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            if url.startswith("file:"):
                yield _file(Path(unquote(urlsplit(url).path)), url)
            else:
                yield from self._over_http(url)
        except OcimodelError as error:
            self.failure = error
            raise tuf_errors.DownloadError(error.message) from None

    def _over_http(self, url: str) -> Iterator[bytes]:
        if self._transport is None:
            self._transport = Transport(
                plain_http=self._access.plain_http,
                ca_file=self._access.ca_file,
                patience=HASTY if self._access.hasty else Patience(),
            )
        origin = Origin.of(url)
        plain = is_loopback(origin.host) or self._transport.rules.names(origin.host, origin.port)
        if origin.scheme == "http" and not plain:
            raise UsageError(
                f"{origin} is plain HTTP", hint=f"Use tuf+https://, or add --plain-http {origin.netloc}."
            )
        with self._transport.request(Request(method="GET", url=url, accept=frozenset({200, *_GONE}))) as answer:
            if answer.status in _GONE:
                raise tuf_errors.DownloadHTTPError(f"{url}: {answer.status}", answer.status)
            answer.refuse_encodings()
            while block := answer.read_some(_BLOCK):
                yield block

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class _Kept(_Source):
    """What the client itself kept, under the names by which it asks for it."""

    def __init__(self, directory: Path) -> None:
        self._metadata = directory / METADATA

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = urlsplit(url).path.rpartition("/")[2]
        if name != "timestamp.json":
            # Newer roots: there are none. Everything else lies where the client has looked already.
            raise tuf_errors.DownloadHTTPError(f"{name} was not kept", 404)
        yield _file(self._metadata / name, url)


def _file(path: Path, url: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise tuf_errors.DownloadHTTPError(f"{url}: no such file", 404) from None
