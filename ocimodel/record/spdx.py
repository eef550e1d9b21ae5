"""A model's bill of materials as SPDX 3.0.1, with its AI, dataset and build profiles (JSON-LD).

    SpdxDocument, software_Sbom   root: the model
    ai_AIPackage                  the model; base models, as what it is a descendant of
    dataset_DatasetPackage        what it was trained and tested on
    software_File                 its files; reports of evaluations, as evidence
    software_Package              packages, container image, source
    build_Build                   the training: parameters, environment, inputs, who started it, when

Guarantees: a pure function of the artifact's config, files and provenance; what these do not say is not in it.
`profileConformance` names a profile only where everything that the profile asks for was stated. Of licences only
what was declared is said; none is concluded. What SPDX has no property for stands in its extension for CycloneDX
properties, under the names of `bom`. The moment of creation, which SPDX requires, is the one that is given, else
the end or the start of the training; where nobody stated one it is the beginning of 1970, and a comment says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ocimodel.model.config import ModelConfig
from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from ocimodel.record import bills
from ocimodel.record.bills import File, Subject, stated
from ocimodel.record.documents import items, moment, obj, text

CONTEXT = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
NO_LICENSE = "https://spdx.org/rdf/3.0.1/terms/ExpandedLicensing/NoAssertionLicense"
UNKNOWN_TIME = "1970-01-01T00:00:00Z"
_CREATION = "_:creation"
_TOOL = "agent-ocimodel"
_HASHES = ("sha256", "sha384", "sha512", "sha3_256", "sha3_512", "blake3")
"""Of in-toto's names for algorithms, those that SPDX has, and under the same names."""
_PURPOSES = {"package": "library", "image": "container", "source": "source"}
_USES = {"training-data": "trainedOn", "validation-data": "testedOn", "evaluation-data": "testedOn"}
_ASKED = ("suppliedBy", "software_downloadLocation", "software_packageVersion", "releaseTime")
"""What the AI profile asks of each package, beside a purpose and licences."""


def spdx(
    subject: Subject,
    config: ModelConfig,
    files: Sequence[File],
    predicate: Mapping[str, Any],
    *,
    time: str = "",
) -> dict[str, Any]:
    """The document.

    Args:
        files: path, digest, bytes and role of each.
        predicate: of the model's SLSA provenance; empty where it has another one, or none.
        time: RFC 3339; see above for what stands there where it is empty.
    """
    return _Writer(subject, config, predicate, time).document(files)


class _Writer:
    """The graph while it grows: elements in order, each with an IRI below the artifact's own."""

    def __init__(self, subject: Subject, config: ModelConfig, predicate: Mapping[str, Any], time: str) -> None:
        definition = obj(predicate.get("buildDefinition"))
        self._subject = subject
        self._config = config
        self._predicate = predicate
        self._definition = definition
        self._parameters = obj(definition.get("externalParameters"))
        self._details = obj(predicate.get("runDetails"))
        self._model = obj(self._parameters.get("model"))
        self._materials = [obj(item) for item in items(definition.get("resolvedDependencies"))]
        self._base = f"{media.URI}spdx/{subject.digest}#"
        self._elements: list[dict[str, Any]] = []
        self._licences: dict[str, str] = {}
        run = obj(self._details.get("metadata"))
        self._started, self._finished = _seconds(run.get("startedOn")), _seconds(run.get("finishedOn"))
        self._created = _seconds(time) or self._finished or self._started

    def document(self, files: Sequence[File]) -> dict[str, Any]:
        tool = self._add("SoftwareAgent", _TOOL, name="ocimodel")
        model = self._add("ai_AIPackage", "model", **self._about_the_model())
        self._relate(model, "contains", [self._file(number, *file) for number, file in enumerate(files)])
        used = [(item, self._material(number, item)) for number, item in enumerate(self._materials)]
        for relation in ("trainedOn", "testedOn"):
            self._relate(model, relation, [place for item, place in used if _USES.get(_role(item)) == relation])
        self._relate(model, "descendantOf", [place for item, place in used if _role(item) == "base-model"])
        self._relate(model, "hasEvidence", list(self._reports()))
        self._license(model, bills.licenses_of(self._model, self._config))
        if self._predicate:
            self._build(model, used)
        return self._around(model, tool)

    def _around(self, model: str, tool: str) -> dict[str, Any]:
        """The collections, and the profiles that hold for them."""
        # Not "extension": in SPDX's own context that word is the property, wherever it stands.
        profiles = ["core", "software", "simpleLicensing"]
        packages = [item for item in self._elements if item["type"] == "ai_AIPackage"]
        if all(key in item for item in packages for key in _ASKED):
            profiles.append("ai")
        scoped = {item.get("relationshipType") for item in self._elements if item.get("scope") == "build"}
        if {"hasInput", "hasOutput", "invokedBy"} <= scoped:
            profiles.append("build")
        listed = [item["spdxId"] for item in self._elements]
        collection = {"rootElement": [model], "element": listed, "profileConformance": sorted(profiles)}
        bill = self._add("software_Sbom", "sbom", **collection)
        outer = {**collection, "rootElement": [bill], "element": [*listed, bill]}
        self._add("SpdxDocument", "document", name=self._named(), **outer)
        creation = stated(
            **{"@id": _CREATION, "type": "CreationInfo"},
            specVersion="3.0.1",
            created=self._created or UNKNOWN_TIME,
            createdBy=[tool],
            comment="" if self._created else "Nobody stated a time; the beginning of 1970 stands for that.",
        )
        return {"@context": CONTEXT, "@graph": [creation, *self._elements]}

    def _add(self, kind: str, slug: str, **values: Any) -> str:
        place = f"{self._base}{slug}"
        self._elements.append({"type": kind, "spdxId": place, "creationInfo": _CREATION, **stated(**values)})
        return place

    def _relate(self, source: str, relation: str, targets: Sequence[str], *, scope: str = "") -> None:
        if targets:
            kind = "LifecycleScopedRelationship" if scope else "Relationship"
            slug = f"{source.rpartition('#')[2]}-{relation}"
            more = {"from": source, "to": list(targets)}
            self._add(kind, slug, relationshipType=relation, scope=scope, **more)

    # --- the model ------------------------------------------------------------------------------------------

    def _named(self) -> str:
        return text(self._model.get("name")) or self._config.name or self._subject.name

    def _about_the_model(self) -> dict[str, Any]:
        subject, config, model = self._subject, self._config, self._model
        place = f"oci://{subject.repository}@{subject.digest}" if subject.repository else ""
        supplier = text(model.get("supplier")) or config.vendor
        kinds = [text(model.get("architecture")) or config.architecture, text(model.get("family")) or config.family]
        metrics = [
            (f"{text(item.get('name'))}{_brackets(bills.slice_of(item))}", text(item.get("value")))
            for item in map(obj, items(self._predicate.get(media.METRICS)))
        ]
        return {
            "name": self._named(),
            "description": text(model.get("description")) or config.description,
            "software_packageVersion": text(model.get("version")) or config.version or subject.version,
            "software_primaryPurpose": "model",
            "software_downloadLocation": place,
            "software_packageUrl": bills.purl_of(subject),
            "suppliedBy": self._agent("supplier", supplier) if supplier else "",
            "originatedBy": [self._agent(f"author-{number}", name) for number, name in enumerate(config.authors)],
            "releaseTime": _seconds(model.get("releasedOn")),
            "builtTime": self._finished,
            "verifiedUsing": _hashes({"sha256": subject.digest.hex}) if subject.packed else [],
            "ai_typeOfModel": list(dict.fromkeys(filter(None, kinds))),
            "ai_domain": [task] if (task := text(model.get("task"))) else [],
            "ai_hyperparameter": _entries(obj(self._parameters.get("hyperparameters")).items()),
            "ai_metric": _entries(metrics),
            "ai_modelDataPreprocessing": [
                bills.step_text(obj(step)) for step in items(self._parameters.get("preprocessing"))
            ],
            "extension": _extension(bills.model_properties(config, self._predicate)),
        }

    def _agent(self, slug: str, name: str) -> str:
        user, at, host = name.rpartition("@")
        email = at and user and "." in host and not any(mark in name for mark in "/: ")
        known = {"type": "ExternalIdentifier", "externalIdentifierType": "email", "identifier": name}
        return self._add("Agent", f"agent-{slug}", name=name, externalIdentifier=[known] if email else [])

    def _file(self, number: int, path: str, digest: Digest, size: int, role: str) -> str:
        return self._add(
            "software_File",
            f"file-{number}",
            name=path,
            verifiedUsing=_hashes({digest.algorithm: digest.hex}),
            extension=_extension([(f"{media.PREFIX}role", role), (f"{media.PREFIX}size", str(size))]),
        )

    def _license(self, element: str, names: Sequence[Any]) -> None:
        """What was declared; that nothing was concluded."""
        found = [name for name in map(text, names) if name]
        declared = [self._expression(name) for name in found] or [NO_LICENSE]
        self._relate(element, "hasDeclaredLicense", declared)
        self._relate(element, "hasConcludedLicense", [NO_LICENSE])

    def _expression(self, name: str) -> str:
        if name not in self._licences:
            slug = f"license-{len(self._licences)}"
            expression = bills.expression_of(name)
            self._licences[name] = (
                self._add("simplelicensing_LicenseExpression", slug, simplelicensing_licenseExpression=expression)
                if expression
                else self._add("simplelicensing_SimpleLicensingText", slug, simplelicensing_licenseText=name)
            )
        return self._licences[name]

    # --- what went in ---------------------------------------------------------------------------------------

    def _material(self, number: int, item: Mapping[str, Any]) -> str:
        role, uri, notes = _role(item), text(item.get("uri")), obj(item.get("annotations"))
        package = uri if uri.startswith("pkg:") else ""
        common = {
            "name": bills.name_of(item, f"{role}:{number}"),
            "verifiedUsing": _hashes(obj(item.get("digest"))),
            "software_packageVersion": text(notes.get("version")) or package.partition("@")[2],
            "software_packageUrl": bills.address(package),
            "software_downloadLocation": "" if package else bills.address(uri),
            "extension": _extension(bills.annotations_of(item)),
        }
        slug = f"{role}-{number}"
        if role in _USES:
            common["dataset_datasetType"] = ["noAssertion"]
            place = self._add("dataset_DatasetPackage", slug, software_primaryPurpose="data", **common)
        elif role == "base-model":
            place = self._add("ai_AIPackage", slug, software_primaryPurpose="model", **common)
        else:
            purpose = _PURPOSES.get(role, "other")
            return self._add("software_Package", slug, software_primaryPurpose=purpose, **common)
        self._license(place, items(text(notes.get("license"))))
        return place

    def _reports(self) -> Iterator[str]:
        for number, item in enumerate(map(obj, items(self._details.get("byproducts")))):
            yield self._add(
                "software_File",
                f"report-{number}",
                name=bills.name_of(item, f"report:{number}"),
                contentType=bills.media_type_of(item),
                software_primaryPurpose="evidence",
                verifiedUsing=_hashes(obj(item.get("digest"))),
                extension=_extension(bills.annotations_of(item)),
            )

    def _build(self, model: str, used: Sequence[tuple[Mapping[str, Any], str]]) -> None:
        """The training, as SLSA has it."""
        source = obj(self._parameters.get("source"))
        commits = [text(obj(item.get("digest")).get("gitCommit")) for item, _ in used if _role(item) == "source"]
        internal = obj(self._definition.get("internalParameters"))
        entry = text(source.get("entryPoint"))
        uri = next((text(item.get("uri")) for item, _ in used if _role(item) == "source"), "")
        uri = uri or text(source.get("repository"))
        build = self._add(
            "build_Build",
            "build",
            build_buildType=text(self._definition.get("buildType")) or media.BUILD_TYPE,
            build_buildId=text(obj(self._details.get("metadata")).get("invocationId")),
            build_buildStartTime=self._started,
            build_buildEndTime=self._finished,
            build_environment=_entries(obj(internal.get("environment")).items()),
            build_parameter=_entries(
                [*_dotted("source", source), *_dotted("builder", obj(self._details.get("builder")))]
            ),
            build_configSourceUri=[bills.address(uri)] if uri else [],
            build_configSourceEntrypoint=[entry] if entry else [],
            build_configSourceDigest=[found for commit in commits for found in _commit(commit)],
        )
        tools = [place for item, place in used if _role(item) == "image"]
        self._relate(build, "hasInput", [place for _, place in used if place not in tools], scope="build")
        self._relate(build, "usesTool", tools, scope="build")
        self._relate(build, "hasOutput", [model], scope="build")
        people = [text(name) for name in items(self._predicate.get(media.CONTRIBUTORS)) if text(name)]
        agents = [self._agent(f"contributor-{number}", name) for number, name in enumerate(people)]
        self._relate(build, "invokedBy", agents, scope="build")


def _role(item: Mapping[str, Any]) -> str:
    return bills.role_of(item)


def _seconds(value: Any) -> str:
    """A time as SPDX writes it: UTC, whole seconds."""
    found = moment(value)
    return f"{found.partition('.')[0].removesuffix('Z')}Z" if found else ""


def _brackets(words: str) -> str:
    return f" ({words})" if words else ""


def _entries(pairs: Any) -> list[dict[str, str]]:
    return [{"type": "DictionaryEntry", "key": str(key), "value": text(value)} for key, value in pairs if key]


def _dotted(name: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        yield f"{name}.{key}", text(value)


def _hashes(digests: Mapping[str, Any]) -> list[dict[str, str]]:
    found = [(name, text(digests.get(name))) for name in _HASHES]
    return [{"type": "Hash", "algorithm": name, "hashValue": value} for name, value in found if value]


def _commit(commit: str) -> list[dict[str, str]]:
    algorithm = {40: "sha1", 64: "sha256"}.get(len(commit))
    return [{"type": "Hash", "algorithm": algorithm, "hashValue": commit}] if algorithm else []


def _extension(properties: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    entries = [
        {"type": "extension_CdxPropertyEntry", "extension_cdxPropName": name, "extension_cdxPropValue": value}
        for name, value in properties
    ]
    return [{"type": "extension_CdxPropertiesExtension", "extension_cdxProperty": entries}] if entries else []
