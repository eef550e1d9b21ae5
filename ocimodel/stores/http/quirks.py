"""How registries want blobs sent, where they differ: one table.

A row stands for what cannot be found out in time, by asking or by trying: what a registry refuses only after
gigabytes, or breaks without a word. Everything else is found out, whoever runs the registry:

    keeps what came before a cut         distribution 3              its answer to GET of the upload
    keeps it up to the last whole piece  distribution 2.8, Harbor,   the same; where it is 404, the blob begins anew
                                         GitLab
    loses the upload with a cut          zot                         the same
    wants pieces of a least length       any                         OCI-Chunk-Min-Length
    says 0-0 of no byte and of one       distribution, zot           what it acknowledged counts as well
    says a stale Range                   ECR                         the same
    says 201 to a PATCH                  ECR                         any success is one
    refuses large bodies (413, 416)      what stands behind a proxy  smaller ones are tried
    is content with the last piece       Artifactory                 the blob's size is asked for afterwards
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_KIB, _MIB, _GIB = 1024, 1024**2, 1024**3
PIECE = 64 * _MIB
"""Bytes in a PATCH where connections were seen to break: so much is sent twice at most, by a registry that keeps
whole pieces. Each costs a round trip and what the registry does to end it: a few hundredths of the time against
docker-registry over loopback."""
SMALLER = (8 * _MIB, 4 * _MIB)
"""What is tried where that, or a whole blob, is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """What is known of a registry beforehand.

    hosts: a regular expression for the names of its hosts.
    whole: a blob of any size goes in one PUT, and has to be hashed before if its digest is not known.
    longest: bytes of a blob that may go in one request; a longer one goes in pieces from the start.
    most: bytes of a PATCH with a Content-Range; 0: it must not be sent any.
    least: bytes of each of them but the last.
    count: so many of them may make up a blob.
    """

    hosts: str = ""
    whole: bool = False
    longest: int | None = None
    most: int = PIECE
    least: int = 0
    count: int | None = None

    def piece(self, size: int, wanted: int, least: int = 0) -> int:
        """The length of pieces for a blob of ``size`` bytes; 0 where it cannot go in pieces.

        Args:
            wanted: what we would take.
            least: what the registry demands of this upload.
        """
        by_count = -(-size // self.count) if self.count else 0
        length = max(min(wanted, self.most), least, self.least, by_count)
        return length if length <= max(self.most, least) and self.most else 0


TABLE = (
    # PATCH over 4 MiB: 416 "request body is too large"; one PUT takes any size.
    Quirks(hosts=r"ghcr\.io", whole=True, most=4 * _MIB),
    # Google's documentation: no chunked uploads.
    Quirks(hosts=r"gcr\.io|.*\.gcr\.io|.*\.pkg\.dev", whole=True, most=0),
    # Amazon's quotas of layer parts: 5 to 10 MiB, 4,200 of them in private and 1,000 in public repositories.
    Quirks(
        hosts=r"[0-9]{12}\.dkr\.ecr(-fips)?\.[a-z0-9-]+\.amazonaws\.com(\.cn)?",
        most=10 * _MIB,
        least=5 * _MIB,
        count=4200,
    ),
    Quirks(hosts=r"public\.ecr\.aws", most=10 * _MIB, least=5 * _MIB, count=1000),
    # Artifactory was seen to keep the last piece alone.
    Quirks(hosts=r".*\.jfrog\.io", most=0),
    # A PUT of more than 20 GB was refused.
    Quirks(hosts=r"quay\.io", longest=16 * _GIB),
)
DEFAULT = Quirks()


def of(host: str) -> Quirks:
    """The row for a host's name, in lower case and without a port."""
    return next((row for row in TABLE if re.fullmatch(row.hosts, host)), DEFAULT)
