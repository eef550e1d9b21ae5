"""The record of how a model was made, and its form as a SLSA provenance v1 predicate (training is a build).

    externalParameters    source, model, hyperparameters, preprocessing
    internalParameters    environment
    resolvedDependencies  source, base models, datasets, packages, container image
    runDetails            builder, invocation, times; evaluation reports as by-products

What SLSA has no field for stands in extension fields named by a URI of ours (`media.URI`).

Guarantees: a record says what its sources say and nothing else: no time, host, user or digest is made up. All
values are text, as they were written, so that no number changes its spelling. Credentials in URLs are left out
(`addresses`). `predicate` is a pure function. Without a builder's name the builder is "some machine"
(`media.BUILDER_LOCAL`), which claims no level of assurance.

A digest is `digest` only under an algorithm that is fit for it (`STRONG`); a weak one, such as the md5 of DVC or
the eight characters of MLflow, is an annotation, which tells and does not prove.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ocimodel import jsonio
from ocimodel.errors import ConfigurationError
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.record.addresses import clean_all

STRONG = frozenset({"sha256", "sha384", "sha512", "sha3_256", "sha3_512", "blake3", "gitCommit", "dirHash"})
"""Of in-toto's DigestSet. ``gitCommit`` is what names a commit; that it is SHA-1 is known and accepted there."""

ROLES = ("source", "base-model", "training-data", "validation-data", "evaluation-data", "package", "image", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Something that went in, or came out: an in-toto ResourceDescriptor."""

    role: str
    name: str = ""
    uri: str = ""
    digest: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    media_type: str = ""

    @classmethod
    def of(
        cls,
        role: str,
        *,
        name: str = "",
        uri: str = "",
        digests: Mapping[str, str] | None = None,
        recorded_by: str = "",
        media_type: str = "",
        annotations: Mapping[str, str] | None = None,
        **more: str,
    ) -> Material:
        """Sort digests into proofs and remarks; annotations that are empty are left out.

        Args:
            annotations: under names that a file chose; those that are known are simply keywords.
        """
        strong = {key: value for key, value in (digests or {}).items() if key in STRONG}
        weak = {
            f"{recorded_by or 'recorded'}.{key}": value
            for key, value in (digests or {}).items()
            if key not in STRONG and value
        }
        notes = {**(annotations or {}), "recordedBy": recorded_by, **more}
        return cls(
            role=role,
            name=name,
            uri=uri,
            digest=strong,
            annotations={key: value for key, value in notes.items() if value} | weak,
            media_type=media_type,
        )

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "name": self.name,
            "uri": self.uri,
            "digest": dict(self.digest),
            "mediaType": self.media_type,
            "annotations": {**self.annotations, "role": self.role},
        }
        return {key: value for key, value in found.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure of an evaluation, as it was written."""

    name: str
    value: str
    dataset: str = ""
    split: str = ""
    task: str = ""
    source: str = ""
    details: tuple[tuple[str, str], ...] = ()
    """What else is said of it: the revision of the dataset, how it was configured, who checked it."""

    def to_dict(self) -> dict[str, Any]:
        said = {item.name: value for item in fields(self) if (value := getattr(self, item.name))}
        return said | {"details": dict(self.details)} if self.details else said


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known. Empty where nobody said it."""

    model: Mapping[str, str] = field(default_factory=dict)
    """``name``, ``version``, ``description``, ``task``, ``library``, ``architecture``, ``licenses`` …"""
    source: Mapping[str, str] = field(default_factory=dict)
    """``repository``, ``ref``, ``entryPoint``."""
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    preprocessing: tuple[Mapping[str, Any], ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    materials: tuple[Material, ...] = ()
    builder: str = ""
    invocation: str = ""
    started: str = ""
    finished: str = ""
    reports: tuple[Material, ...] = ()
    metrics: tuple[Metric, ...] = ()
    contributors: tuple[str, ...] = ()
    experiment: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    """What the model's own files say of how it is built and used: members of ``config.json``, keys of a GGUF."""
    card: Mapping[str, str] = field(default_factory=dict)
    """What a model card says beside all that."""

    def under(self, other: Record) -> Record:
        """This record, completed and overruled by ``other``: its texts win, its lists come first."""
        return Record(
            model={**self.model, **other.model},
            source={**self.source, **other.source},
            hyperparameters={**self.hyperparameters, **other.hyperparameters},
            environment={**self.environment, **other.environment},
            experiment={**self.experiment, **other.experiment},
            settings={**self.settings, **other.settings},
            card={**self.card, **other.card},
            builder=other.builder or self.builder,
            invocation=other.invocation or self.invocation,
            started=other.started or self.started,
            finished=other.finished or self.finished,
            preprocessing=other.preprocessing or self.preprocessing,
            materials=_distinct([*other.materials, *self.materials]),
            reports=_distinct([*other.reports, *self.reports]),
            metrics=tuple(dict.fromkeys([*other.metrics, *self.metrics])),
            contributors=tuple(dict.fromkeys([*other.contributors, *self.contributors])),
        )

    def predicate(self) -> bytes:
        """The SLSA provenance v1 predicate, canonical JSON."""
        return jsonio.canonical(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        definition: dict[str, Any] = {
            "buildType": media.BUILD_TYPE,
            "externalParameters": _said(
                source=dict(self.source),
                model=dict(self.model),
                hyperparameters=dict(self.hyperparameters),
                preprocessing=[dict(step) for step in self.preprocessing],
            ),
            "internalParameters": _said(environment=dict(self.environment)),
            "resolvedDependencies": [item.to_dict() for item in self.materials],
        }
        metadata = _said(invocationId=self.invocation, startedOn=self.started, finishedOn=self.finished)
        details: dict[str, Any] = {
            "builder": {"id": self.builder or media.BUILDER_LOCAL},
            "metadata": metadata,
            "byproducts": [item.to_dict() for item in self.reports],
        }
        extensions = {
            media.CONTRIBUTORS: list(self.contributors),
            media.EXPERIMENT: dict(self.experiment),
            media.METRICS: [metric.to_dict() for metric in self.metrics],
            media.SETTINGS: dict(self.settings),
            media.CARD: dict(self.card),
        }
        found = {
            "buildDefinition": {
                key: value
                for key, value in definition.items()
                if value or key in ("buildType", "externalParameters")
            },
            "runDetails": {key: value for key, value in details.items() if value},
            **{key: value for key, value in extensions.items() if value},
        }
        return {key: clean_all(value) for key, value in found.items()}


def report(name: str, data: bytes, recorded_by: str = "") -> Material:
    """A file with the results of an evaluation, as a by-product, by its own digest."""
    media_type = next((kind for ending, kind in _REPORTS.items() if name.endswith(ending)), "")
    digests = {"sha256": Digest.of(data).hex}
    return Material.of(
        "evaluation-report", name=name, digests=digests, media_type=media_type, recorded_by=recorded_by
    )


_REPORTS = {".json": "application/json", ".yaml": "application/yaml"}


def _said(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}


def _distinct(materials: Iterable[Material]) -> tuple[Material, ...]:
    """What two sources say of one thing is one line: the first speaks, the later ones fill in."""
    found: dict[tuple[str, str, str], Material] = {}
    for item in materials:
        key = (item.role, item.name, item.uri)
        first = found.get(key)
        found[key] = item if first is None else _joined(first, item)
    return tuple(found.values())


def _joined(first: Material, more: Material) -> Material:
    for algorithm in first.digest.keys() & more.digest.keys():
        if first.digest[algorithm] != more.digest[algorithm]:
            raise ConfigurationError(
                f"two sources contradict each other about {first.uri or first.name}: "
                f"{algorithm}:{first.digest[algorithm]} and {algorithm}:{more.digest[algorithm]}",
                hint="One of them speaks of another version; correct it, or leave it out.",
            )
    return Material(
        role=first.role,
        name=first.name,
        uri=first.uri,
        digest={**more.digest, **first.digest},
        annotations={**more.annotations, **first.annotations},
        media_type=first.media_type or more.media_type,
    )
