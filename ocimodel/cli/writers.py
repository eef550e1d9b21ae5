"""Which format a signature is written in: ``--format`` and ``--certificate``, of all commands that have them.

Guarantees: nothing is imported for a format that was not asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ocimodel.cli.run import Run
from ocimodel.errors import UsageError

if TYPE_CHECKING:
    from ocimodel.verbs.sign import Writer

DEFAULT = "sigstore"
FORMATS = (DEFAULT, "notation", "cosign-legacy", "oms")


def writer(run: Run, name: str, certificate: Path | None) -> Writer:
    """Whoever writes signatures of the format ``name``.

    Raises:
        UsageError: an unknown format, or a certificate too many or too few.
    """
    if name not in FORMATS:
        raise UsageError(f"--format {name[:40]!r} is not known", hint=f"Choose one of {', '.join(FORMATS)}.")
    if name == "notation":
        return _notation(run, certificate)
    if certificate is not None:
        raise UsageError(f"--format {name} takes no --certificate", hint="Add --format notation, or leave it out.")
    if name == "cosign-legacy":
        from ocimodel.verbs.legacy_writing import LegacyWriter

        return LegacyWriter()
    if name == "oms":
        from ocimodel.verbs.oms import OmsWriter

        return OmsWriter()
    from ocimodel.verbs.sign import SIGSTORE

    return SIGSTORE


def _notation(run: Run, certificate: Path | None) -> Writer:
    if certificate is None:
        raise UsageError(
            "--format notation needs the certificate of the key",
            hint="Give --certificate CHAIN.pem: the key's own first, then those above it, the root last.",
        )
    from ocimodel.keys import x509
    from ocimodel.keys.specs import read
    from ocimodel.verbs.notation import NotationWriter

    chain = x509.read_pem(read(str(certificate)), str(certificate))
    return NotationWriter(certificates=chain, now=run.now)
