"""Trust material that travels in a bundle: policies and public keys, each a file by itself.

Guarantees: only what can be used goes in: a private key never does (2), and neither does a policy that needs a file
which is not given along. What comes out is used by whoever knows its digest from elsewhere, and by nobody else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from ocimodel.errors import ConfigurationError, FormatError, NotFoundError, UsageError
from ocimodel.keys.public import PublicKey
from ocimodel.oci.digest import Digest
from ocimodel.transfer.bundle import MAX_TRUST_BYTES, MAX_TRUST_FILES, check_trust_name
from ocimodel.trust.document import parse
from ocimodel.trust.files import YAML
from ocimodel.trust.policy import TrustPolicy

_POLICIES = YAML | {".json"}


def read(paths: Collection[Path]) -> dict[str, bytes]:
    """The files by their names, each one checked for what it is.

    Raises:
        UsageError: a private key, no key at all, a file that is too large, or two of one name.
        ConfigurationError: a policy that is not valid, or that is not whole by itself.
    """
    found: dict[str, bytes] = {}
    for path in paths:
        try:
            check_trust_name(path.name)
            with path.open("rb") as file:
                data = file.read(MAX_TRUST_BYTES + 1)
        except FormatError as error:
            raise UsageError(f"--trust {path}: {error.message}", hint="Give the file a plain name.") from None
        except OSError as error:
            why = error.strerror or error
            raise UsageError(f"cannot read --trust {path}: {why}", hint="Check the path.") from None
        if len(data) > MAX_TRUST_BYTES:
            raise UsageError(f"--trust {path} has more than 1 MiB", hint="Give policies and public keys.")
        if path.name in found:
            raise UsageError(f"--trust names two files {path.name}", hint="Rename one of them.")
        found[path.name] = data
    if len(found) > MAX_TRUST_FILES:
        raise UsageError(f"--trust names more than {MAX_TRUST_FILES} files", hint="Put the keys into the policy.")
    for name in found:
        _load(name, found)
    return found


def chosen(files: Mapping[str, bytes], digests: Collection[Digest]) -> TrustPolicy:
    """The policy of these digests: one policy, or one of several keys.

    Raises:
        NotFoundError: there is no such file.
        UsageError: more than one policy, or a policy and keys.
        ConfigurationError: the policy is not valid.
    """
    by_digest = {Digest.of(data): name for name, data in files.items()}
    loaded: list[TrustPolicy | PublicKey] = []
    for digest in digests:
        if digest not in by_digest:
            there = ", ".join(f"{name} {found}" for found, name in by_digest.items())
            raise NotFoundError(
                f"the bundle has no trust material {digest}",
                hint=f"It has: {there}." if there else "It carries none; give --policy FILE or --key PUB.",
            )
        loaded.append(_load(by_digest[digest], files))
    policies = [item for item in loaded if isinstance(item, TrustPolicy)]
    if policies and len(loaded) > 1:
        raise UsageError("--trust names a policy and something else", hint="Name one policy, or keys.")
    return policies[0] if policies else TrustPolicy.of_keys(x for x in loaded if isinstance(x, PublicKey))


def _load(name: str, files: Mapping[str, bytes]) -> TrustPolicy | PublicKey:
    data = files[name]
    suffix = Path(name).suffix.lower()
    if suffix not in _POLICIES:
        return PublicKey.from_pem(data, label=name)
    text = data
    if suffix in YAML:
        from ocimodel.yamlio import to_json

        text = to_json(data, name)

    def beside(other: str) -> bytes:
        if other not in files:
            raise ConfigurationError(
                f"{name} needs {other}",
                hint="Give that file with --trust as well, or put it into the policy.",
            )
        return files[other]

    return replace(parse(text, beside, what=name), digest=f"sha256:{hashlib.sha256(data).hexdigest()}")
