"""A policy from a repository of The Update Framework.

Guarantees: as of `ocimodel.verbs.policy_source`; who may publish, what is too old and what is a step back is that
framework's to say. Where the repository does not answer, or answers with half of a version, the client judges what
was trusted whole, by the same rules and now: the timestamp's end bounds how long, and ``maxAge`` after the
repository last answered, whichever is sooner. What its client has seen, it has seen: also of a version that was not
whole.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ocimodel.errors import (
    AuthenticationError,
    NotFoundError,
    OcimodelError,
    StorageError,
    UnavailableError,
    UntrustedError,
    UsageError,
)
from ocimodel.stores.opening import Access
from ocimodel.transfer import keptpolicy
from ocimodel.transfer.alone import alone
from ocimodel.transfer.digests import why_ignored
from ocimodel.transfer.places import state_dir
from ocimodel.transfer.staging import storage_errors
from ocimodel.trust.claims import format_time
from ocimodel.trust.document import MAX_BYTES
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.source import TufSource
from ocimodel.verbs.policy_source import Loaded, aged, noting, read_policy

_WORK = "tuf"


def load_tuf(found: TufSource, access: Access, now: datetime, *, offline: bool) -> Loaded:
    """The policy that the repository publishes.

    Raises:
        Refusal: metadata that its roles have not signed, or that is older than what was seen, or has ended.
        UnavailableError, AuthenticationError, NotFoundError: it cannot be had, and none was kept.
        UsageError: python-tuf is not installed.
    """
    if importlib.util.find_spec("tuf") is None:
        raise UsageError(
            f"{found.place} needs python-tuf, which is not installed", hint="pip install 'ocimodel[tuf]'"
        )
    warnings: list[str] = []
    with _place(found, warnings) as directory:
        return _load(found, directory, access, now, offline, warnings)


def _load(
    found: TufSource, directory: Path, access: Access, now: datetime, offline: bool, warnings: list[str]
) -> Loaded:
    noted = keptpolicy.read_noted(directory)
    work = directory / _WORK
    try:
        if offline:
            raise UnavailableError("the network is not to be used")
        policy = _policy(found, work, replace(access, hasty=noted is not None), offline=False)
    except (UnavailableError, AuthenticationError, NotFoundError) as error:
        if noted is None:
            raise _unheard(error) from None
        with _copied(directory / noted.name) as copy:
            policy = _policy(found, copy, access, offline=True)
        warnings.append(
            f"{found.place} cannot be asked ({error.message}): deciding with serial number {policy.serial}, "
            f"confirmed {noted.checked}"
        )
        return Loaded(policy=aged(policy, found, noted.checked, now), warnings=tuple(warnings))
    noting(lambda: keptpolicy.write_noted(directory, work, format_time(now)), warnings)
    return Loaded(policy=policy, warnings=tuple(warnings))


@contextmanager
def _place(found: TufSource, warnings: list[str]) -> Iterator[Path]:
    """Where the client keeps what it has seen, for one process at a time; elsewhere, if it cannot be written."""
    directory = keptpolicy.folder(state_dir(), found.place)
    if why := why_ignored(directory):
        raise StorageError(f"{directory} is not used: {why}", hint="Make it this user's alone, of mode 0700.")
    with ExitStack() as stack:
        try:
            keptpolicy.prepare(directory)
            stack.enter_context(alone(directory / "tuf"))
        except StorageError as error:
            warnings.append(f"this node cannot remember which policy it trusted: {error.message}")
            directory = stack.enter_context(_copied(directory))
        yield directory


@contextmanager
def _copied(directory: Path) -> Iterator[Path]:
    """A place that passes, with what was kept: the client writes even where nothing is new."""
    with tempfile.TemporaryDirectory(prefix="ocimodel-tuf-") as passing, storage_errors(f"cannot read {directory}"):
        copy = Path(passing) / "kept"
        if directory.is_dir():
            shutil.copytree(directory, copy, symlinks=True, ignore=shutil.ignore_patterns(".*"))
        yield copy


def _policy(found: TufSource, directory: Path, access: Access, *, offline: bool) -> TrustPolicy:
    from ocimodel.stores.tuf import fetch_target

    data = fetch_target(
        found.url, found.target, found.root, directory, limit=MAX_BYTES, access=access, offline=offline
    )
    policy = read_policy(data, f"the policy of {found.place}")
    if found.id and policy.id != found.id:
        raise UntrustedError(
            f"{found.place} has the policy {policy.id!r}, and {found.id!r} is asked for", reason="other-policy"
        )
    return policy


def _unheard(error: OcimodelError) -> OcimodelError:
    message = f"the policy cannot be had, and this node has kept none: {error.message}"
    return type(error)(message, hint=error.hint, reason=error.reason)
