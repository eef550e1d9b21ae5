"""From a reference to the store that holds it. The registry's code is imported only when a registry is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ocimodel.oci.reference import DEFAULT_TAG, Reference
from ocimodel.stores.protocol import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How stores may be reached: hosts that are spoken to in plain HTTP, an additional authority's certificate.

    ``hasty``: what does not answer at once is given up, since the caller has something else to go by.
    """

    plain_http: frozenset[str] = frozenset()
    ca_file: Path | None = None
    hasty: bool = False


@contextmanager
def open_store(reference: Reference, access: Access, *, create: bool = False) -> Iterator[Store]:
    """The store of ``reference``, closed at the end.

    Args:
        create: make a layout that does not exist yet; a registry makes repositories by itself.
    """
    store: Store
    if reference.is_layout:
        from ocimodel.stores.layout import LayoutStore

        store = LayoutStore(Path(reference.path), create=create)
    else:
        from ocimodel.stores.http.policy import HASTY, Patience
        from ocimodel.stores.registry import open_registry

        patience = HASTY if access.hasty else Patience()
        store = open_registry(reference, plain_http=access.plain_http, ca_file=access.ca_file, patience=patience)
    try:
        yield store
    finally:
        store.close()


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
