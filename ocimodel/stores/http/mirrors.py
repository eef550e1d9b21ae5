"""From what a hosts.toml says of a registry to stores: the registry's own, and one for each mirror.

Guarantees: each host has connections, credentials and headers of its own, so that nothing of one goes to another.
A mirror is waited for less than a registry, since there is somebody else to ask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from ocimodel.errors import ConfigurationError
from ocimodel.oci.reference import Reference
from ocimodel.stores.http.credentials import Credentials
from ocimodel.stores.http.hosts import FILE, Host, Hosts
from ocimodel.stores.http.policy import Patience
from ocimodel.stores.http.repository import Repository
from ocimodel.stores.http.transport import Transport
from ocimodel.stores.mirrored import Mirror, MirroredStore
from ocimodel.stores.protocol import Store
from ocimodel.stores.registry import RegistryStore, api_name, split_host


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What all hosts are reached with."""

    plain_http: frozenset[str] = frozenset()
    ca_file: Path | None = None
    credentials: Credentials | None = None
    patience: Patience = Patience()  # noqa: RUF009 - it is frozen


def open_registry(reference: Reference, hosts: Hosts, means: Means) -> RegistryStore:
    """The registry that ``reference`` names, where ``hosts`` says that it is."""
    host = hosts.server
    patience = replace(means.patience, connect=host.connect) if host.connect else means.patience
    kind = RegistryStore if "push" in host.capabilities else _ReadOnly
    return _store(kind, reference, hosts, host, means, patience)


def open_mirrored(reference: Reference, hosts: Hosts, means: Means, tell: Callable[[str], None]) -> Store:
    """The registry with its mirrors before it, for reading; the registry alone where none may ``pull``."""
    registry = open_registry(reference, hosts, means)
    mirrors = [
        _mirror(reference, hosts, host, means, tell) for host in hosts.mirrors if "pull" in host.capabilities
    ]
    return MirroredStore(mirrors, registry) if mirrors else registry


def _mirror(reference: Reference, hosts: Hosts, host: Host, means: Means, tell: Callable[[str], None]) -> Mirror:
    usual = means.patience
    patience = replace(
        usual,
        connect=host.connect or min(usual.connect, 3.0),
        stall=min(usual.stall, 20.0),
        tries=min(usual.tries, 2),
        wall=min(usual.wall, 60.0),
        document=min(usual.document, 20.0),
    )
    store = _store(RegistryStore, reference, hosts, host, means, patience)
    return Mirror(str(host.origin), store, resolves="resolve" in host.capabilities, patience=patience, tell=tell)


def _store(
    kind: type[RegistryStore], reference: Reference, hosts: Hosts, host: Host, means: Means, patience: Patience
) -> RegistryStore:
    transport = Transport(
        plain_http=means.plain_http,
        ca_file=means.ca_file,
        credentials=means.credentials,
        patience=patience,
        route=host.route,
    )
    at = _repository(transport, reference, hosts, host)
    return kind(reference.registry, reference.repository, transport, owned=True, at=at)


def _repository(transport: Transport, reference: Reference, hosts: Hosts, host: Host) -> Repository | None:
    origin = host.origin
    if origin is None:
        return None
    name, port, path = api_name(reference.registry, reference.repository)
    itself = (name, port or (80 if origin.scheme == "http" else 443)) == (origin.host, origin.port)
    same_name = split_host(hosts.namespace) in ((origin.host, origin.port), (origin.host, None))
    return Repository(
        transport,
        origin.host,
        origin.port,
        path,
        scheme=origin.scheme,
        root=host.root,
        namespace="" if itself or same_name else hosts.namespace,
    )


class _ReadOnly(RegistryStore):
    """A registry to which nothing is to be pushed."""

    def _refuse(self, *_given: object, **_more: object) -> NoReturn:
        raise ConfigurationError(
            f"the {FILE} of {self.name.partition('/')[0]} does not let anything be pushed there",
            hint='Add "push" to its capabilities, or push without --registry-config.',
        )

    put_manifest = put_blob = mount_blob = _refuse
