"""What a record says, where ModelPack has a field for it: the descriptor in a model's config.

Guarantees: a pure function. Only a provenance of ours (`media.BUILD_TYPE`) is read, and only texts of it; what it
says goes before what files of the model say, and nothing is put into fields that ModelPack does not have.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ocimodel import jsonio
from ocimodel.errors import FormatError
from ocimodel.model import terms
from ocimodel.model.config import ModelConfig
from ocimodel.model.provenance import MAX_BYTES
from ocimodel.oci import media
from ocimodel.record.documents import items, obj, text

_LONGEST = 4096


def described(config: ModelConfig, provenance: bytes | None) -> ModelConfig:
    """``config`` with name, version, revision, vendor, source and licence by ``provenance``.

    Args:
        provenance: a Statement or a predicate, as `push` takes it; where it is neither, ``config`` stays as it is.
    """
    predicate = _predicate(provenance)
    definition = obj(predicate.get("buildDefinition"))
    if definition.get("buildType") != media.BUILD_TYPE:
        return config
    external = obj(definition.get("externalParameters"))
    model, source = obj(external.get("model")), obj(external.get("source"))
    materials = [obj(item) for item in items(definition.get("resolvedDependencies"))]
    commits = [_said(obj(item.get("digest")).get("gitCommit")) for item in materials]
    license_ = terms.license_expression(_said(model.get("license")))
    return replace(
        config,
        name=_said(model.get("name")) or config.name,
        version=_said(model.get("version")) or config.version,
        description=_said(model.get("description")) or config.description,
        vendor=_said(model.get("supplier")) or config.vendor,
        source_url=_said(source.get("repository")) or config.source_url,
        revision=next(filter(None, commits), "") or config.revision,
        licenses=(license_,) if license_ else config.licenses,
    )


def _predicate(provenance: bytes | None) -> dict[str, Any]:
    if provenance is None:
        return {}
    try:
        found = obj(jsonio.loads(provenance, limit=MAX_BYTES))
    except FormatError:
        return {}  # whoever packs it says what is wrong with it
    return obj(found.get("predicate")) if "_type" in found else found


def _said(value: Any) -> str:
    found = text(value)
    return found if len(found) <= _LONGEST else ""
