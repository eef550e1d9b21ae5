"""``--timestamp-url`` and ``--timestamp-root``, of all commands that sign.

Guarantees: nothing is imported, and nobody asked, where no URL was given.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ocimodel.cli.options import option
from ocimodel.cli.run import Run
from ocimodel.errors import UsageError

if TYPE_CHECKING:
    from ocimodel.keys.signer import Signer

VARIABLE = "OCIMODEL_TIMESTAMP_URL"

Url = Annotated[
    str | None,
    option(
        "--timestamp-url",
        metavar="URL",
        help="Have a time-stamping authority (RFC 3161) date the signature; none is written without its token.",
    ),
]
Root = Annotated[
    Path | None,
    option(
        "--timestamp-root",
        metavar="FILE",
        help="The roots of that authority (PEM): its token is verified before anything is written.",
    ),
]


def typed(url: str | None) -> bool:
    """Whether the URL was given to this very command. That of the environment is for all that is signed."""
    return url is not None and url != os.environ.get(VARIABLE)


def stamped(run: Run, signer: Signer, url: str | None, root: Path | None) -> Signer:
    """``signer``, whose signatures get a timestamp where a URL was given.

    Raises:
        UsageError: the URL is none, the file holds no certificate, or it is a root without a URL.
        ConfigurationError: there is no such file, or the package that verifies timestamps is not installed.
    """
    if url is None or not url.strip():
        if url is not None or root is not None:
            raise UsageError(
                "--timestamp-url is empty" if url is not None else "--timestamp-root says nothing by itself",
                hint="Give the address of the time-stamping authority: --timestamp-url URL.",
            )
        return signer
    from ocimodel.keys import x509
    from ocimodel.keys.signer import StampedSigner
    from ocimodel.trust.files import MAX_MATERIAL, read
    from ocimodel.verbs.stamping import Authority

    pem = read(root, MAX_MATERIAL, "file of roots") if root is not None else None
    roots = frozenset(x509.read_pem(pem, str(root))) if pem is not None else frozenset()
    return StampedSigner(signer, Authority(url=url.strip(), roots=roots, ca_file=run.access.ca_file))
