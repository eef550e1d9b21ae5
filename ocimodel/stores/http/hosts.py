"""Mirrors by host, as containerd keeps them: ``DIR/HOST/hosts.toml`` (containerd, docs/hosts.md).

    DIR/registry.example_5000_/hosts.toml    the first of these that exists; ``_default`` is for all others
    DIR/registry.example:5000/hosts.toml
    DIR/_default/hosts.toml

    server = "https://registry.example:5000"     where the registry is; without it, where its name says
    [host."http://127.0.0.1:30020"]              a mirror; they are asked in this order, and before the registry
      capabilities = ["pull", "resolve"]

Guarantees: what cannot be meant is an error (3), so that nobody talks to another host than was written; a key that
is not known is left out with a warning, as containerd does. ``skip_verify`` is not obeyed, with a warning:
certificates are always verified. Without a hosts.toml, Docker's certificate files in the directory count
(``*.crt``, and ``*.cert`` with ``*.key``). Nothing is read but what the caller names.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from ocimodel.errors import ConfigurationError
from ocimodel.stores.http.credentials import HUB_HOSTS
from ocimodel.stores.http.origins import Origin, printable
from ocimodel.stores.http.route import DIRECT, Route

Capability = Literal["pull", "resolve", "push"]
ALL: frozenset[Capability] = frozenset(get_args(Capability))

FILE = "hosts.toml"
DEFAULT = "_default"
_MAX_BYTES = 256 * 1024
_MAX_HOSTS = 32
_KEYS = frozenset(
    {"capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout", "proxy"}
)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = frozenset(
    {"accept-encoding", "connection", "content-length", "host", "range", "te", "trailer", "transfer-encoding"}
)
"""Headers that say how this very message is framed, or what is asked for."""
_DURATION = re.compile(r"(\d+(?:\.\d*)?)(ns|us|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One entry. ``origin`` None: the registry itself, wherever its name says that it is.

    root: the path below which the API is, as in ``/v2``.
    connect: seconds that a connection attempt may take; None: as usual.
    """

    origin: Origin | None
    root: str = "/v2"
    capabilities: frozenset[Capability] = ALL
    route: Route = DIRECT
    connect: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """What is said of one registry. ``namespace`` is what containerd calls it in ``?ns=``."""

    namespace: str
    server: Host
    mirrors: tuple[Host, ...] = ()
    warnings: tuple[str, ...] = ()


def namespace(registry: str) -> str:
    """What a reference's registry is called in directories and in ``?ns=``."""
    name = registry.lower()
    return "docker.io" if name in HUB_HOSTS else name


def read(directory: Path, registry: str) -> Hosts | None:
    """What ``directory`` says of a reference's registry; None where it says nothing.

    Raises:
        ConfigurationError: there is no such directory, or a file in it is malformed or cannot be read.
    """
    name = namespace(registry)
    if not directory.is_dir():
        raise ConfigurationError(
            f"there is no directory {directory}", hint="Name the directory that holds HOST/hosts.toml."
        )
    for folder in _folders(directory, name):
        if folder.is_dir():
            return _read_folder(folder, name)
    return None


def _folders(directory: Path, name: str) -> list[Path]:
    host, colon, port = name.rpartition(":")
    first = [directory / f"{host}_{port}_"] if colon and not port.endswith("]") else []
    return [*first, directory / name, directory / DEFAULT]


def _read_folder(folder: Path, name: str) -> Hosts:
    path = folder / FILE
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return Hosts(namespace=name, server=Host(origin=None, route=_docker_files(folder)))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from None
    if len(raw) > _MAX_BYTES:
        raise ConfigurationError(f"{path} has more than {_MAX_BYTES} bytes")
    try:
        document = tomllib.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not TOML: {printable(str(error))}") from None
    return _Reader(path, folder).hosts(document, name)


def _docker_files(folder: Path) -> Route:
    try:
        names = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise ConfigurationError(f"cannot read {folder}: {error.strerror or error}") from None
    pairs = [(path, path.with_suffix(".key")) for path in names if path.suffix == ".cert"]
    return Route(
        ca_files=tuple(path for path in names if path.suffix == ".crt"),
        client=tuple((certificate, key if key in names else None) for certificate, key in pairs),
    )


class _Reader:
    """One file."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._warnings: list[str] = []

    def hosts(self, document: Mapping[str, Any], name: str) -> Hosts:
        listed = document.get("host", {})
        if not isinstance(listed, dict) or len(listed) > _MAX_HOSTS:
            raise self._wrong("host", f"must be at most {_MAX_HOSTS} tables")
        mirrors = [self._host(url, table, f'host."{printable(url, 100)}"') for url, table in listed.items()]
        root = {key: value for key, value in document.items() if key not in ("host", "server")}
        server = document.get("server", "")
        if not isinstance(server, str):
            raise self._wrong("server", "must be a URL")
        return Hosts(
            namespace=name,
            server=self._host(server, root, ""),
            mirrors=tuple(mirrors),
            warnings=tuple(self._warnings),
        )

    def _host(self, url: str, table: Any, where: str) -> Host:
        if not isinstance(table, dict):
            raise self._wrong(where, "must be a table")
        for key in table:
            if key not in _KEYS:
                self._warnings.append(f"{self._path}: {_at(where, printable(key, 60))} is not known: left out")
        if self._flag(table, "skip_verify", where) and not url.startswith("http://"):
            self._warnings.append(
                f"{self._path}: {_at(where, 'skip_verify')} is not obeyed: certificates are always verified; "
                "name the authority with ca"
            )
        origin, root = (None, "/v2") if not url else self._address(url, table, where)
        return Host(
            origin=origin,
            root=root,
            capabilities=self._capabilities(table, where),
            route=Route(
                ca_files=tuple(self._paths(table, "ca", where)),
                client=tuple(self._client(table, where)),
                headers=self._headers(table, where),
                proxy=self._proxy(table, where),
            ),
            connect=self._timeout(table, where),
        )

    def _address(self, url: str, table: Mapping[str, Any], where: str) -> tuple[Origin, str]:
        text = url if "://" in url else f"https://{url}"
        try:
            origin, parts = Origin.of(text), urlsplit(text)
        except ValueError:
            # It may hold a password.
            raise self._wrong(where or "server", "is no http or https URL without user information") from None
        if parts.query or parts.fragment:
            raise self._wrong(where or "server", "must be a URL without a query")
        path = posixpath.normpath(parts.path).rstrip("/") if parts.path.strip("/") else ""
        path = "/" + path.lstrip("/") if path else ""
        if not path.endswith("/v2") and not self._flag(table, "override_path", where):
            path += "/v2"
        return origin, path

    def _capabilities(self, table: Mapping[str, Any], where: str) -> frozenset[Capability]:
        listed = table.get("capabilities", [])
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            raise self._wrong(_at(where, "capabilities"), "must be a list of strings")
        known: dict[str, Capability] = {item: item for item in ALL}
        for item in listed:
            if item.lower() not in known:
                raise self._wrong(
                    _at(where, "capabilities"), f"{printable(item, 40)!r} is not pull, resolve or push"
                )
        return frozenset(known[item.lower()] for item in listed) or ALL

    def _paths(self, table: Mapping[str, Any], key: str, where: str) -> list[Path]:
        value = table.get(key, [])
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(item, str) and item for item in listed):
            raise self._wrong(_at(where, key), "must be a path or a list of paths")
        return [self._folder / item for item in listed]

    def _client(self, table: Mapping[str, Any], where: str) -> list[tuple[Path, Path | None]]:
        value = table.get("client", [])
        pairs: list[tuple[Path, Path | None]] = []
        for item in [value] if isinstance(value, str) else value if isinstance(value, list) else [None]:
            pair = [item, ""] if isinstance(item, str) else item
            if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
                raise self._wrong(_at(where, "client"), "must be a path, or a list of paths or of pairs of paths")
            pairs.append((self._folder / pair[0], self._folder / pair[1] if pair[1] else None))
        return pairs

    def _headers(self, table: Mapping[str, Any], where: str) -> dict[str, str]:
        listed = table.get("header", {})
        if not isinstance(listed, dict):
            raise self._wrong(_at(where, "header"), "must be a table")
        found: dict[str, str] = {}
        for name, value in listed.items():
            values = [value] if isinstance(value, str) else value
            place = _at(where, f"header.{printable(name, 60)}")
            if _HEADER.fullmatch(name) is None or name.lower() in _OURS:
                raise self._wrong(place, "is no header that can be set")
            if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
                raise self._wrong(place, "must be a string or a list of strings")
            joined = ", ".join(values)
            if not joined.isascii() or not all(" " <= char <= "~" or char == "\t" for char in joined):
                raise self._wrong(place, "must be printable ASCII")
            found["-".join(part.capitalize() for part in name.split("-"))] = joined
        return found

    def _proxy(self, table: Mapping[str, Any], where: str) -> str:
        value = table.get("proxy", "")
        if value == "":
            return ""
        with suppress(ValueError, TypeError, AttributeError):
            parts = urlsplit(value)
            bare = not (parts.path.strip("/") or parts.query or parts.fragment)
            if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and bare:
                return str(value)
        raise self._wrong(_at(where, "proxy"), "must be an http or https URL without a path")

    def _timeout(self, table: Mapping[str, Any], where: str) -> float | None:
        value = table.get("dial_timeout", "")
        if value == "":
            return None
        parts = _DURATION.findall(value) if isinstance(value, str) else []
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        if not parts or "".join(number + unit for number, unit in parts) != value or not 0 < seconds <= 3600:
            raise self._wrong(_at(where, "dial_timeout"), 'must be a duration, as in "1s" or "500ms"')
        return seconds

    def _flag(self, table: Mapping[str, Any], key: str, where: str) -> bool:
        value = table.get(key, False)
        if not isinstance(value, bool):
            raise self._wrong(_at(where, key), "must be true or false")
        return value

    def _wrong(self, where: str, why: str) -> ConfigurationError:
        return ConfigurationError(f"{self._path}: {where} {why}")


def _at(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
