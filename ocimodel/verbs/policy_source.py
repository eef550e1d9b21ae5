"""The policy of this node: from a file, or from where a trust source says.

Guarantees: of what is fetched nothing is believed before the pinned roots vouch for it, and it is judged anew each
time, from what the node kept as well. Once a version was trusted, no older one is taken (18), nor another of the
same serial number, nor one that calls itself otherwise (12). A source that does not answer is no refusal while
there is a version that was trusted: that one decides, until its own end or until ``maxAge`` after the source last
confirmed it (21). A source that answers with something bad refuses, and what was kept stays.

It does not look at models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from ocimodel import jsonio
from ocimodel.errors import (
    AuthenticationError,
    ConfigurationError,
    FormatError,
    NotFoundError,
    OcimodelError,
    Refusal,
    RollbackError,
    StaleTrustError,
    StorageError,
    UnavailableError,
    UntrustedError,
)
from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.manifest import Manifest
from ocimodel.stores.opening import Access, open_store, target_of
from ocimodel.stores.protocol import Store, read_blob
from ocimodel.transfer import keptpolicy
from ocimodel.transfer.alone import alone
from ocimodel.transfer.digests import why_ignored
from ocimodel.transfer.keptpolicy import KeptPolicy
from ocimodel.transfer.places import state_dir
from ocimodel.trust import document, files, source
from ocimodel.trust.claims import format_time, parse_time
from ocimodel.trust.policy import TrustPolicy
from ocimodel.trust.sections import MAX_LEEWAY
from ocimodel.trust.source import OciSource, TrustSource
from ocimodel.trust.verdict import Verdict
from ocimodel.verbs.evidence import again, gather

AHEAD = timedelta(minutes=5)
"""By how much a time that this node noted may seem to lie in the future."""
_FRESH = timedelta(minutes=1)
"""A confirmation that is younger than this is not written down again."""
_HINT = "Nothing was decided. Tell whoever keeps the policy; ocimodel policy push FILE REF --key KEY publishes it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A policy to decide with, and what the user is to be told about it."""

    policy: TrustPolicy
    warnings: tuple[str, ...] = ()


def load(path: Path, *, access: Access, now: datetime, offline: bool = False) -> Loaded:
    """The policy in the file ``path``, or the one that the trust source there leads to.

    Args:
        offline: ask nobody; decide with what was kept.

    Raises:
        ConfigurationError: the file, or the policy, is not valid.
        Refusal: the policy is not signed by the roots, or older than what this node has seen.
        UnavailableError, AuthenticationError, NotFoundError: it cannot be had, and none was kept.
        StorageError: what was kept cannot be read.
    """
    found = read_source(path)
    if found is None:
        return Loaded(policy=files.load(path))
    if isinstance(found, OciSource):
        return _Oci(found, access, now).load(offline=offline)
    from ocimodel.verbs.policy_tuf import load_tuf

    return load_tuf(found, access, now, offline=offline)


def read_source(path: Path) -> source.OciSource | source.TufSource | None:
    """The trust source in the file ``path``; None where it holds something else. Raises `ConfigurationError`."""
    data = files.read(path, document.MAX_BYTES, "policy")
    if b"source" not in data:
        return None
    if path.suffix.lower() in files.YAML:
        from ocimodel.yamlio import to_json

        data = to_json(data, str(path))
    try:
        if not source.is_source(jsonio.loads(data, limit=document.MAX_BYTES)):
            return None
    except FormatError:
        return None  # as a policy it is no better, and its reader says so
    return source.parse(
        data, lambda name: files.read(path.parent / name, files.MAX_MATERIAL, "file"), what=str(path)
    )


def read_policy(data: bytes, what: str) -> TrustPolicy:
    """A policy that is whole by itself. Raises `ConfigurationError`."""

    def nothing(name: str) -> bytes:
        raise ConfigurationError(f"needs the file {name}, and a policy that is distributed is whole by itself")

    return replace(document.parse(data, nothing, what=what), digest=f"sha256:{hashlib.sha256(data).hexdigest()}")


def judged(found: OciSource, kept: KeptPolicy, now: datetime) -> Verdict:
    """What the roots of ``found`` say of a policy artifact."""
    roots = TrustPolicy.of_keys(found.roots, found.threshold)
    return roots.evaluate(again(kept.subject, found.place, kept.referrers, kept.manifest), now)


def check(found: OciSource, kept: KeptPolicy, now: datetime) -> Verdict:
    """As `judged`, where they must vouch for it. Raises the refusal, as one of the policy."""
    verdict = judged(found, kept, now)
    try:
        if verdict.raise_if_refused().files_only:
            raise UntrustedError("only its files are signed")
    except Refusal as error:
        # One that has expired is stale trust (21): it says nothing of the model.
        kind = StaleTrustError if error.exit_code == 15 else type(error)
        message = f"the policy {named(found, kept)}: {error.message}"
        raise kind(message, reason=error.reason, hint=_HINT) from None
    return verdict


def vouched_for(store: Store, found: OciSource, subject: Descriptor, raw: bytes, now: datetime) -> KeptPolicy:
    """A policy artifact with the signatures of the roots that count, but for its layer. Raises `Refusal`."""
    roots = frozenset(key.keyid for key in found.roots)
    _, documents = gather(store, subject, found.place, roots)
    kept = KeptPolicy(
        place=found.place,
        media_type=subject.media_type,
        manifest=raw,
        policy=b"",
        referrers=documents,
        checked=format_time(now),
    )
    good = {report.digest for report in check(found, kept, now).signers if report.status == "good"}
    return replace(kept, referrers=tuple(item for item in documents if item.descriptor.digest in good))


def named(found: OciSource, kept: KeptPolicy) -> str:
    """``REF@DIGEST``, for messages."""
    return str(found.reference.at(kept.subject.digest))


def layer_of(raw: bytes, media_type: str, what: str) -> Descriptor:
    """The policy in a policy artifact. Raises `FormatError`."""
    manifest = Manifest.from_bytes(raw, media_type)
    if manifest.artifact_type != media.POLICY or [item.media_type for item in manifest.layers] != [media.POLICY]:
        raise FormatError(f"{what} is no policy", hint="Check the source; ocimodel policy push makes policies.")
    return manifest.layers[0]


class _Oci:
    """One loading from an artifact that roots have signed."""

    def __init__(self, found: OciSource, access: Access, now: datetime) -> None:
        self._source = found
        self._access = access
        self._now = now
        self._state = state_dir()
        self._warnings: list[str] = []

    def load(self, *, offline: bool) -> Loaded:
        kept = self._kept()
        try:
            if offline:
                raise UnavailableError("the network is not to be used")
            fetched = self._fetch(kept)
        except (UnavailableError, AuthenticationError, NotFoundError) as error:
            if kept is None:
                raise self._unheard(error) from None
            return self._from_memory(kept, error)
        policy = self._trusted(fetched)
        if kept is not None:
            self._check_order(policy, self._policy(kept))
        self._keep(fetched, policy)
        return Loaded(policy=policy, warnings=tuple(self._warnings))

    def _kept(self) -> KeptPolicy | None:
        """What was kept, if the roots still vouch for it, were it only that they did once."""
        folder = keptpolicy.folder(self._state, self._source.place)
        if why := why_ignored(folder):
            raise StorageError(f"{folder} is not used: {why}", hint="Make it this user's alone, of mode 0700.")
        kept = keptpolicy.read(self._state, self._source.place)
        if kept is None:
            return None
        verdict = judged(self._source, kept, self._now)
        if any(finding.exit_code != 15 for finding in verdict.findings):
            self._warnings.append(
                f"what this node kept of {self._source.place} is not signed by its roots; it starts anew"
            )
            return None
        if self._source.id and self._policy(kept).id != self._source.id:
            return None
        return kept

    def _fetch(self, kept: KeptPolicy | None) -> KeptPolicy:
        hasty = replace(self._access, hasty=kept is not None)
        with open_store(self._source.reference, hasty) as store:
            subject, raw = store.get_manifest(target_of(self._source.reference, store))
            if kept is not None and kept.subject == subject and not judged(self._source, kept, self._now).findings:
                return replace(kept, checked=format_time(self._now))
            return self._read(store, subject, raw)

    def _read(self, store: Store, subject: Descriptor, raw: bytes) -> KeptPolicy:
        found = vouched_for(store, self._source, subject, raw, self._now)
        layer = layer_of(raw, subject.media_type, self._named(found))
        return replace(found, policy=read_blob(store, layer, limit=document.MAX_BYTES, what="policy"))

    def _trusted(self, found: KeptPolicy) -> TrustPolicy:
        check(self._source, found, self._now)
        policy = self._policy(found)
        if self._source.id and policy.id != self._source.id:
            detail = f"{self._named(found)} is the policy {policy.id!r}, and {self._source.id!r} is asked for"
            raise UntrustedError(detail, reason="other-policy", hint=_HINT)
        return policy

    def _policy(self, found: KeptPolicy) -> TrustPolicy:
        layer = layer_of(found.manifest, found.media_type, self._named(found))
        layer.digest.check(found.policy, f"the policy of {self._named(found)}")
        return read_policy(found.policy, f"the policy {self._named(found)}")

    def _check_order(self, policy: TrustPolicy, seen: TrustPolicy) -> None:
        if policy.digest == seen.digest:
            return
        if policy.id != seen.id:
            detail = f"{self._source.place} was the policy {seen.id!r}, and is {policy.id!r} now"
            hint = f'If that is meant, say "id": "{policy.id}" in the trust source.'
            raise UntrustedError(detail, reason="other-policy", hint=hint)
        if policy.serial <= seen.serial:
            detail = f"{self._source.place} has the serial number {policy.serial}, "
            detail += "as another one that" if policy.serial == seen.serial else f"and {seen.serial} is what"
            raise RollbackError(f"{detail} this node has seen", hint="An older policy was put back. " + _HINT)

    def _from_memory(self, kept: KeptPolicy, why: OcimodelError) -> Loaded:
        check(self._source, kept, self._now)
        policy = self._policy(kept)
        self._warnings.append(
            f"{self._source.place} cannot be asked ({why.message}): deciding with serial number {policy.serial}, "
            f"confirmed {kept.checked}"
        )
        return Loaded(policy=aged(policy, self._source, kept.checked, self._now), warnings=tuple(self._warnings))

    def _keep(self, found: KeptPolicy, policy: TrustPolicy) -> None:
        path = keptpolicy.folder(self._state, self._source.place)

        def step() -> None:
            keptpolicy.prepare(path)
            with alone(path / "policy.json"):
                now = keptpolicy.read(self._state, self._source.place)
                if now is None or self._is_news(found, policy, now):
                    keptpolicy.write(self._state, found)

        noting(step, self._warnings)

    def _is_news(self, found: KeptPolicy, policy: TrustPolicy, now: KeptPolicy) -> bool:
        """Whether it is to take the place of what another process may have written meanwhile."""
        if now.policy != found.policy:
            newer = judged(self._source, now, self._now).verified is not None
            return not (newer and self._policy(now).serial > policy.serial)
        return (now.referrers, now.manifest) != (found.referrers, found.manifest) or not is_recent(
            now.checked, self._now
        )

    def _named(self, found: KeptPolicy) -> str:
        return named(self._source, found)

    def _unheard(self, error: OcimodelError) -> OcimodelError:
        message = f"the policy cannot be had, and this node has kept none that counts: {error.message}"
        return type(error)(message, hint=error.hint, reason=error.reason)


def aged(policy: TrustPolicy, found: TrustSource, checked: str, now: datetime) -> TrustPolicy:
    """``policy``, which ends where ``maxAge`` after its last confirmation is over."""
    if found.max_age is None:
        return policy
    try:
        confirmed = parse_time(checked)
    except FormatError:
        confirmed = None
    # A time that is still to come says nothing of how old it is; whatever the leeway, that is too old.
    known = confirmed is not None and confirmed - now <= AHEAD
    end = confirmed + found.max_age if confirmed is not None and known else now - MAX_LEEWAY
    return replace(policy, expires=min(end, policy.expires) if policy.expires else end)


def is_recent(checked: str, now: datetime) -> bool:
    """Whether it is not worth writing down again that a source was heard."""
    try:
        return timedelta(0) <= now - parse_time(checked) < _FRESH
    except FormatError:
        return False


def noting(step: Callable[[], None], warnings: list[str]) -> None:
    """Remember something; where the disk refuses, that is a warning: the decision does not hang on it."""
    try:
        step()
    except StorageError as error:
        warnings.append(f"this node cannot remember which policy it trusted: {error.message}")
