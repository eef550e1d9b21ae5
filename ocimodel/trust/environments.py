"""The chain of environments: which repository, policy and promoter each has, and which comes after which.

One file (``environments.yaml``, `schemas/environments.schema.json`) that promotions and people read, so that
``promote fraud --from staging --to prod`` means the same wherever it is typed.

Guarantees: unknown members, a repository without ``{model}``, two environments of one name and a key that is none
are each a `ConfigurationError` with the path of the field. Paths are relative to the file. It says where things
are; who is believed is said by the policies, and no environment is skipped on the way.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ocimodel import jsonio
from ocimodel.errors import ConfigurationError, FormatError, UsageError
from ocimodel.jsonio import Node
from ocimodel.keys.public import PublicKey
from ocimodel.oci.reference import DEFAULT_TAG, LAYOUT_PREFIX, Reference
from ocimodel.trust import files
from ocimodel.trust.fields import name, strings, text

FILE: Final = "environments.yaml"
MAX_BYTES: Final = 1024 * 1024
MAX_ENVIRONMENTS: Final = 64
VERSION: Final = 1
MODEL: Final = "{model}"
HINT: Final = "Correct the file; see docs/reference/environments-yaml.md. Nothing was done."
_MEMBERS = ("name", "repository", "channel", "policy", "promoter", "key")
_URI = re.compile(r"[a-z][a-z0-9+.-]{1,31}:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One step of the chain.

    Attributes:
        repository: ``HOST/REPOSITORY`` or ``oci:PATH``, with ``{model}`` in it.
        channel: the tag that says what runs there.
        policy: the file of the policy, or of a trust source; empty where nothing is judged there.
        promoter: whose summaries count; None: whom the policy names.
        key: the private key to promote with, as ``--key`` takes it; empty: it is given to the command.
    """

    name: str
    repository: str
    channel: str
    policy: str = ""
    promoter: PublicKey | None = None
    key: str = ""

    def of(self, model: str) -> Reference:
        """The channel of ``model`` here. Raises `UsageError` where that is no name."""
        return Reference.parse(self.repository.replace(MODEL, model)).tagged(self.channel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """All environments, the first one first. ``what`` is how messages call the file."""

    environments: tuple[Environment, ...]
    models: tuple[str, ...]
    what: str

    def named(self, given: str) -> Environment:
        """Raises `UsageError`."""
        found = next((item for item in self.environments if item.name == given), None)
        if found is None:
            known = ", ".join(item.name for item in self.environments)
            raise UsageError(f"{self.what} has no environment {given[:256]!r}", hint=f"It has {known}.")
        return found

    def before(self, environment: Environment) -> Environment | None:
        """The one from which is promoted; None of the first one."""
        position = self.environments.index(environment)
        return self.environments[position - 1] if position else None


def load(path: Path) -> Chain:
    """The chain in the file ``path``: YAML, or JSON where its name ends in ``.json``.

    Raises:
        ConfigurationError: it is missing, or not valid.
        StorageError: it cannot be read.
    """
    data = files.read(path, MAX_BYTES, "file of environments")
    if path.suffix.lower() != ".json":
        from ocimodel.yamlio import to_json

        data = to_json(data, str(path))
    folder = Path(os.path.abspath(path)).parent
    try:
        return _chain(Node(jsonio.loads(data, limit=2 * MAX_BYTES, what="it")), folder, str(path))
    except FormatError as error:
        raise ConfigurationError(f"{path}: {error.message}", hint=HINT) from None


def _chain(node: Node, folder: Path, what: str) -> Chain:
    node.only("$schema", "version", "environments", "models")
    version = node.get("version")
    if version.integer() != VERSION:
        version.fail(f"must be {VERSION}; this version of ocimodel reads no other")
    listed = node.get("environments")
    found = tuple(_environment(item, folder) for item in listed.items(limit=MAX_ENVIRONMENTS))
    if not found:
        listed.fail("must name at least one environment")
    for position, item in enumerate(found):
        if any(item.name == other.name for other in found[:position]):
            raise FormatError(f"{item.name!r} stands there twice", path=f"environments[{position}].name")
        if any(item.repository == other.repository and item.channel == other.channel for other in found[:position]):
            raise FormatError(
                "is another environment's, by repository and channel", path=f"environments[{position}]"
            )
    models = strings(node.find("models"))
    for position, model in enumerate(models):
        _check_model(model, found, f"models[{position}]")
    return Chain(environments=found, models=models, what=what)


def _environment(node: Node, folder: Path) -> Environment:
    node.only(*_MEMBERS)
    called = node.get("name")
    policy, promoter, key = node.find("policy"), node.find("promoter"), node.find("key")
    channel = text(node.find("channel"), limit=128) or DEFAULT_TAG
    found = Environment(
        name=name(called, called.string(limit=256)),
        repository=_repository(node.get("repository"), folder),
        channel=channel,
        policy=str(folder / _path(policy)) if policy else "",
        promoter=_public(promoter, folder) if promoter else None,
        key=_private(key, folder) if key else "",
    )
    try:
        found.of("model")
    except UsageError as error:
        raise FormatError(error.message, path=node.path) from None
    return found


def _repository(node: Node, folder: Path) -> str:
    said = text(node, limit=1024)
    if said.count(MODEL) != 1:
        node.fail(f"must have {MODEL} in it once, where the model's name goes")
    if said.startswith(LAYOUT_PREFIX):
        said = f"{LAYOUT_PREFIX}{folder / said.removeprefix(LAYOUT_PREFIX)}"
    try:
        reference = Reference.parse(said.replace(MODEL, "model"))
    except UsageError as error:
        raise FormatError(error.message, path=node.path) from None
    if reference.tag or reference.digest:
        node.fail("names a tag or a digest; the tag is the channel")
    return said


def _path(node: Node) -> str:
    said = text(node, limit=4096)
    if not said.strip():
        node.fail("must not be empty")
    return said


def _public(node: Node, folder: Path) -> PublicKey:
    said = node.string(limit=64 * 1024)
    inline = said.startswith("-----BEGIN")
    try:
        pem = said.encode() if inline else files.read(folder / _path(node), files.MAX_MATERIAL, "file")
        return PublicKey.from_pem(pem, label="" if inline else said)
    except (UsageError, ConfigurationError) as error:
        raise FormatError(error.message, path=node.path) from None


def _private(node: Node, folder: Path) -> str:
    said = _path(node)
    if said.startswith("-----BEGIN"):
        node.fail("is a key itself; name its file, or where it is kept")
    return said if _URI.match(said) else str(folder / said)


def _check_model(model: str, environments: tuple[Environment, ...], path: str) -> None:
    try:
        split_model(model, plain=True)
        for item in environments:
            item.of(model)
    except UsageError as error:
        raise FormatError(error.message, path=path) from None


def split_model(given: str, *, plain: bool = False) -> tuple[str, str]:
    """A model's name, and the tag or digest behind it (``:1.4``, ``@sha256:…``; empty where there is none).

    Args:
        plain: neither is allowed.

    Raises:
        UsageError: it is no name.
    """
    try:
        found = Reference.parse(f"model.invalid/{given}")
    except UsageError:
        raise UsageError(
            f"{given[:256]!r} is no name of a model",
            hint="Write lower case, as in a repository: fraud, team/fraud, fraud:1.4 or fraud@sha256:…",
        ) from None
    rest = given[len(found.repository) :]
    if plain and rest:
        raise UsageError(f"{given[:256]!r} names a tag or a digest", hint="Give the model's name alone.")
    return found.repository, rest
