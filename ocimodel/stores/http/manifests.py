"""Manifests under tags and digests (distribution-spec v1.1, "Pulling manifests", "Pushing Manifests").

Guarantees: what is returned was hashed here; under a digest it is what the digest says, under a tag it agrees
with the Docker-Content-Digest that came along. What is stored are the very bytes given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ocimodel.errors import DigestMismatchError, FormatError, RejectedError
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.stores.facts import sniff
from ocimodel.stores.http.answers import Answer
from ocimodel.stores.http.policy import MANIFEST_BYTES
from ocimodel.stores.http.repository import Repository
from ocimodel.stores.http.transport import Body, Request

_STUMBLES = 5
"""So often a manifest is put where the registry trips."""
ACCEPT = ", ".join((media.OCI_MANIFEST, media.OCI_INDEX, media.DOCKER_MANIFEST, media.DOCKER_LIST))


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest as it arrived, checked."""

    descriptor: Descriptor
    raw: bytes
    etag: str


def get(repository: Repository, target: str | Digest, *, limit: int = MANIFEST_BYTES) -> Found:
    """Raises NotFoundError, DigestMismatchError, FormatError (larger than ``limit``), and `Transport.request`'s."""
    what = f"manifest {target} of {repository.host}/{repository.path}"
    with repository.send(_request(repository, "GET", target)) as answer:
        raw = answer.read(limit, what)
    promised = target if isinstance(target, Digest) else promised_digest(answer)
    if promised is not None:
        actual = promised.hasher()
        actual.update(raw)
        if actual.hexdigest() != promised.hex:
            raise DigestMismatchError(
                what, expected=str(promised), actual=f"{promised.algorithm}:{actual.hexdigest()}"
            )
    digest = target if isinstance(target, Digest) else Digest.of(raw)
    descriptor = Descriptor(
        media_type=answer.media_type or sniff(raw) or media.OCI_MANIFEST, digest=digest, size=len(raw)
    )
    return Found(descriptor, raw, answer.header("etag"))


def resolve(repository: Repository, target: str | Digest) -> Descriptor:
    """By HEAD where its headers suffice to name a digest, a type and a size; else by GET."""
    request = _request(repository, "HEAD", target, accept=frozenset({200, 400, 401, 403, 405, 501}))
    with repository.send(request) as answer:
        pass
    promised = promised_digest(answer)
    if isinstance(target, Digest) and promised is not None and promised != target:
        if promised.algorithm == target.algorithm:
            raise DigestMismatchError(f"manifest {target}", expected=str(target), actual=str(promised))
        promised = None
    if answer.status == 200 and promised is not None and answer.media_type and answer.length:
        return Descriptor(media_type=answer.media_type, digest=promised, size=answer.length)
    # Answers to HEAD have no body, so a refusal is asked for again, for the registry's own words.
    return get(repository, target).descriptor


def put(
    repository: Repository,
    raw: bytes,
    media_type: str,
    target: str | Digest,
    *,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Store ``raw`` under ``target``. 412 (If-Match) is an answer, everything else but success an error.

    Puts again where docker-registry trips over somebody who puts the same just now: it reads what that one is
    writing, and calls a digest invalid.
    """
    request = Request(
        method="PUT",
        url=repository.manifest(target),
        scopes=repository.writing,
        headers={"Content-Type": media_type, **(headers or {})},
        body=Body.of(raw),
        accept=frozenset({200, 201, 202, 204, 412} if headers else {200, 201, 202, 204}),
    )
    answer = _put(repository, request)
    promised = promised_digest(answer)
    if answer.status != 412 and promised is not None:
        actual = promised.hasher()
        actual.update(raw)
        if actual.hexdigest() != promised.hex:
            raise DigestMismatchError(
                f"manifest stored in {repository.host}/{repository.path}",
                expected=f"{promised.algorithm}:{actual.hexdigest()}",
                actual=str(promised),
            )
    return answer


def _put(repository: Repository, request: Request) -> Answer:
    patience, left = repository.transport.patience, _STUMBLES
    while True:
        try:
            with repository.send(request) as answer:
                return answer
        except RejectedError as error:
            left -= 1
            if not left or "DIGEST_INVALID" not in error.message:
                raise
        patience.sleep(patience.settle)


def _request(
    repository: Repository, method: str, target: str | Digest, accept: frozenset[int] = frozenset({200})
) -> Request:
    return Request(
        method=method,
        url=repository.manifest(target),
        scopes=repository.reading,
        headers={"Accept": ACCEPT},
        accept=accept,
    )


def promised_digest(answer: Answer) -> Digest | None:
    """The digest that the registry names, if it is of a kind that can be checked."""
    try:
        return Digest.parse(answer.header("docker-content-digest").strip())
    except FormatError:
        return None
