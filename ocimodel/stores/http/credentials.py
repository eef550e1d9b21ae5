"""Where credentials come from: Docker's configuration file and its helper programs.

For a host, as Docker does: ``credHelpers[host]``, else ``credsStore``, else ``auths``. The file is
``$DOCKER_CONFIG/config.json``, else ``~/.docker/config.json``; without a home directory there is none.

Guarantees: secrets never appear in a repr or an error; the file is replaced atomically, with mode 0600, and what
it says of other things is kept; a helper that does not answer in time is given up. Helpers are run directly: the
``docker`` package would bring ``requests`` along and wait for ever.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ocimodel.errors import AuthenticationError, ConfigurationError, StorageError
from ocimodel.stores.http.origins import printable

HUB_KEY = "https://index.docker.io/v1/"
HUB_HOSTS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
TOKEN_USER = "<token>"  # noqa: S105
"""A helper answers with this user name where the secret is an identity token."""
_LIMIT = 1024 * 1024
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HELPER_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A user and a password, or an identity token (OAuth 2 refresh token)."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        user = self.username or TOKEN_USER
        pair = f"{user}:{self.password or self.identity_token}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


class Credentials(Protocol):
    """Where credentials are looked up."""

    def find(self, host: str) -> Credential | None:
        """What to show to the registry ``host`` (with its port, as in references); None: nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Given:
    """Credentials for one host, from the command line or a test."""

    host: str
    credential: Credential

    def find(self, host: str) -> Credential | None:
        return self.credential if _host(host) == _host(self.host) else None


class DockerConfig:
    """Docker's configuration file. Read anew for each question, since another program may write it."""

    def __init__(self, path: Path | None, *, helper_timeout: float = _HELPER_TIMEOUT) -> None:
        self.path = path
        self._timeout = helper_timeout

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> DockerConfig:
        environment = os.environ if environment is None else environment
        if directory := environment.get("DOCKER_CONFIG"):
            return cls(Path(directory) / "config.json")
        try:
            return cls(Path.home() / ".docker" / "config.json")
        except RuntimeError:
            return cls(None)

    def find(self, host: str) -> Credential | None:
        """Raises ConfigurationError where the file or a helper is broken."""
        config = self._load()
        if helper := self._helper(config, host):
            return self._ask(helper, _key(host))
        for name, entry in _object(config, "auths").items():
            if _host(name) == _host(host) and isinstance(entry, dict):
                return self._entry(entry)
        return None

    def store(self, host: str, credential: Credential) -> str:
        """Keep it for ``host``; answers where it is kept now, for people."""
        config = self._load()
        key = _key(host)
        helper = self._helper(config, host)
        auths = dict(_object(config, "auths"))
        for name in [name for name in auths if _host(name) == _host(host)]:
            del auths[name]
        if helper:
            secret = credential.identity_token or credential.password
            user = TOKEN_USER if credential.identity_token else credential.username
            self._run(helper, "store", json.dumps({"ServerURL": key, "Username": user, "Secret": secret}))
            auths[key] = {}
        elif credential.identity_token:
            auths[key] = {
                "auth": _encode(credential.username, ""),
                "identitytoken": credential.identity_token,
            }
        else:
            auths[key] = {"auth": _encode(credential.username, credential.password)}
        self._save({**config, "auths": auths})
        return f"docker-credential-{helper}" if helper else str(self.path)

    def erase(self, host: str) -> bool:
        """Forget ``host``; answers whether anything was known."""
        config = self._load()
        known = False
        if helper := self._helper(config, host):
            known = self._ask(helper, _key(host)) is not None
            if known:
                self._run(helper, "erase", _key(host))
        auths = dict(_object(config, "auths"))
        names = [name for name in auths if _host(name) == _host(host)]
        for name in names:
            del auths[name]
        if names:
            self._save({**config, "auths": auths})
        return known or bool(names)

    def _load(self) -> dict[str, Any]:
        if self.path is None:
            return {}
        try:
            with self.path.open("rb") as file:
                raw = file.read(_LIMIT + 1)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise ConfigurationError(f"cannot read {self.path}: {error.strerror}") from None
        try:
            config = json.loads(raw) if raw.strip() else {}
        except (ValueError, RecursionError):
            config = None
        if not isinstance(config, dict) or len(raw) > _LIMIT:
            raise ConfigurationError(f"{self.path} is not a Docker configuration file")
        return config

    def _helper(self, config: Mapping[str, Any], host: str) -> str:
        for name, helper in _object(config, "credHelpers").items():
            if _host(name) == _host(host) and helper:
                return self._program(helper)
        return self._program(config.get("credsStore") or "")

    def _program(self, name: Any) -> str:
        if name and (not isinstance(name, str) or _HELPER.fullmatch(name) is None):
            raise ConfigurationError(f"{self.path} names a credential helper that cannot be one")
        return name or ""

    def _entry(self, entry: Mapping[str, Any]) -> Credential | None:
        def text(key: str) -> str:
            value = entry.get(key)
            return value if isinstance(value, str) else ""

        username, password = text("username"), text("password")
        if text("auth"):
            try:
                pair = base64.b64decode(text("auth"), validate=False).decode("utf-8")
            except (binascii.Error, UnicodeDecodeError):
                raise ConfigurationError(f"{self.path} holds an auth entry that is not base64") from None
            username, colon, password = pair.partition(":")
            if not colon:
                raise ConfigurationError(f"{self.path} holds an auth entry without a colon")
            password = password.strip("\0")
        return _credential(username, password, text("identitytoken"))

    def _ask(self, helper: str, key: str) -> Credential | None:
        answer = self._run(helper, "get", key)
        if answer is None:
            return None
        try:
            found = json.loads(answer)
            user, secret = str(found.get("Username") or ""), str(found.get("Secret") or "")
        except (ValueError, AttributeError, RecursionError):
            raise ConfigurationError(f"docker-credential-{helper} did not answer with JSON") from None
        return _credential(user, secret, "")

    def _run(self, helper: str, action: str, text: str) -> str | None:
        """What the helper prints; None where it knows no such credentials."""
        program = f"docker-credential-{helper}"
        try:
            done = subprocess.run(
                [program, action],
                input=text.encode(),
                capture_output=True,
                timeout=self._timeout,
                check=False,
            )
        except OSError:
            raise ConfigurationError(
                f"{self.path} asks for {program}, which cannot be run",
                hint="Install it, or take credsStore and credHelpers out of the file.",
            ) from None
        except subprocess.TimeoutExpired:
            raise AuthenticationError(f"{program} did not answer in {self._timeout:.0f} s") from None
        output = done.stdout[:_LIMIT].decode("utf-8", "replace")
        if done.returncode == 0:
            return output
        if "credentials not found" in output.lower():
            return None
        # Never the output of a get: it might hold the secret. Failing helpers explain themselves on one line.
        said = printable(output, 160) if action == "get" and "{" not in output else ""
        raise AuthenticationError(f"{program} {action} failed with status {done.returncode}. {said}".strip())

    def _save(self, config: Mapping[str, Any]) -> None:
        if self.path is None:
            raise StorageError("this user has no home directory", hint="Set DOCKER_CONFIG to a directory.")
        path = Path(os.path.realpath(self.path))  # a link into a repository of dot-files stays one
        text = json.dumps(config, ensure_ascii=False, indent="\t") + "\n"
        temporary = ""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # mkstemp makes it with mode 0600.
            descriptor, temporary = tempfile.mkstemp(prefix=".config.json.", dir=path.parent)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            with suppress(OSError):
                os.unlink(temporary)
            raise StorageError(f"cannot write {path}: {error.strerror}") from None


def _credential(username: str, secret: str, identity_token: str) -> Credential | None:
    if username == TOKEN_USER:
        return Credential(identity_token=identity_token or secret)
    if identity_token:
        return Credential(username=username, identity_token=identity_token)
    return Credential(username=username, password=secret) if username or secret else None


def _encode(username: str, password: str) -> str:
    return base64.b64encode(f"{username}:{password}".encode()).decode()


def _object(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def _key(host: str) -> str:
    """How Docker calls the host in its file and to its helpers."""
    return HUB_KEY if host.lower() in HUB_HOSTS else host


def _host(name: str) -> str:
    """The host that a key of the file means: keys may have a scheme, and the path of an API's version."""
    host = name.strip().lower().partition("://")[2] or name.strip().lower()
    host = re.sub(r"(/v[12])?/*$", "", host).removesuffix(":443")
    return "docker.io" if host in HUB_HOSTS else host
