"""From a reference to the store that holds it. The registry's code is imported only when a registry is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ocimodel.oci.reference import DEFAULT_TAG, Reference
from ocimodel.stores.protocol import Store


def _unheard(_text: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How stores may be reached: hosts that are spoken to in plain HTTP, an additional authority's certificate.

    hasty: what does not answer at once is given up, since the caller has something else to go by.
    registry_config: the directory in which containerd's ``HOST/hosts.toml`` stand; none is read where it is None.
    tell: is called with what is good to know of mirrors and their files.
    """

    plain_http: frozenset[str] = frozenset()
    ca_file: Path | None = None
    hasty: bool = False
    registry_config: Path | None = None
    tell: Callable[[str], None] = field(default=_unheard, compare=False, repr=False)


@contextmanager
def open_store(
    reference: Reference, access: Access, *, create: bool = False, mirrors: bool = False
) -> Iterator[Store]:
    """The store of ``reference``, closed at the end.

    Args:
        create: make a layout that does not exist yet; a registry makes repositories by itself.
        mirrors: ask the mirrors that `Access.registry_config` names first: for those who only read. Who writes must
            know what is in the registry itself.

    Raises:
        ConfigurationError: a ``hosts.toml`` is malformed.
    """
    store: Store
    if reference.is_layout:
        from ocimodel.stores.layout import LayoutStore

        store = LayoutStore(Path(reference.path), create=create)
    else:
        store = _open_registry(reference, access, mirrors=mirrors)
    try:
        yield store
    finally:
        store.close()


def _open_registry(reference: Reference, access: Access, *, mirrors: bool) -> Store:
    from ocimodel.stores.http.policy import HASTY, Patience
    from ocimodel.stores.registry import open_registry

    patience = HASTY if access.hasty else Patience()
    if access.registry_config is not None:
        from ocimodel.stores.http import hosts
        from ocimodel.stores.http import mirrors as by_host

        found = hosts.read(access.registry_config, reference.registry)
        if found is not None:
            for warning in found.warnings:
                access.tell(warning)
            means = by_host.Means(plain_http=access.plain_http, ca_file=access.ca_file, patience=patience)
            if mirrors:
                return by_host.open_mirrored(reference, found, means, access.tell)
            return by_host.open_registry(reference, found, means)
    return open_registry(reference, plain_http=access.plain_http, ca_file=access.ca_file, patience=patience)


def target_of(reference: Reference, store: Store) -> str:
    """The tag or digest to ask the store for: the digest if there is one, else the tag, else the default tag."""
    if reference.digest:
        return str(reference.digest)
    if reference.tag:
        return reference.tag
    if reference.is_layout:
        from ocimodel.stores.layout import default_tag

        return default_tag(store)
    return DEFAULT_TAG


def mount_source(source: Reference, target: Reference) -> str | None:
    """The repository from which ``target``'s store can mount blobs (`Store.mount_blob`); None: there is none."""
    if source.is_layout or target.is_layout:
        return None
    from ocimodel.stores.registry import api_name

    *here, repository = api_name(source.registry, source.repository)
    *there, _ = api_name(target.registry, target.repository)
    return repository if here == there else None
