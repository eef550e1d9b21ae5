"""Register: a registry of models learns of an artifact, by its digest.

Guarantees: what is recorded is ``oci://HOST/REPOSITORY@DIGEST``, never a tag; the same digest under the same name
is recorded once, however often it is asked for, unless two ask at the same moment; what fails on the way is asked
for again from the beginning, so that nothing is recorded twice. The registry is told what was pushed, and is not
believed in anything: whoever serves the model verifies its signature.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from ocimodel.errors import (
    AuthenticationError,
    OcimodelError,
    RejectedError,
    UnavailableError,
    UsageError,
)
from ocimodel.oci import media
from ocimodel.oci.reference import Reference
from ocimodel.stores.http.policy import Backoff, Patience
from ocimodel.stores.http.rest import PATIENCE, Rest, checked, said
from ocimodel.stores.opening import Access

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,199}")
_VERSION_PAGE = "1000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Where to record, as it was named. ``authorization`` is a secret."""

    kind: str
    uri: str
    authorization: str = ""

    def __repr__(self) -> str:
        return f"Registry({self.kind}:{self.uri})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is to be recorded."""

    name: str
    reference: Reference
    signers: Sequence[str] = ()

    @property
    def source(self) -> str:
        return f"oci://{self.reference.tagged(None)}"

    @property
    def properties(self) -> dict[str, str]:
        """What is told beside the address, by names that are ours."""
        found = {"digest": str(self.reference.digest), "tag": self.reference.tag or ""}
        found["signed-by"] = ",".join(self.signers)
        return {f"{media.PREFIX}{key}": value for key, value in found.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What is recorded now. ``added`` is false where it was before."""

    registry: Registry
    name: str
    version: str
    added: bool


def parse(spec: str, access: Access, env: Mapping[str, str] = os.environ) -> Registry:
    """``mlflow``, ``kubeflow``, or either with ``:URI``; credentials come from the environment alone.

    Raises UsageError.
    """
    kind, _, uri = spec.partition(":")
    if kind not in _KINDS:
        raise UsageError(
            f"--register {kind[:40]!r} is not known", hint="Write mlflow, mlflow:URI, kubeflow or kubeflow:URI."
        )
    variable = {"mlflow": "MLFLOW_TRACKING_URI", "kubeflow": "OCIMODEL_KUBEFLOW_URI"}[kind]
    uri = uri or env.get(variable, "")
    if not uri:
        raise UsageError(f"--register {kind} has no address", hint=f"Write {kind}:URI, or set {variable}.")
    uri = checked(uri, access.plain_http)
    return Registry(kind=kind, uri=uri, authorization=_authorization(kind, env))


def entry(reference: Reference, name: str | None, signers: Sequence[str]) -> Entry:
    """What to record of ``reference``. Raises UsageError: of a layout, which no server can reach; of bad names."""
    if reference.is_layout:
        raise UsageError(
            "a layout on this disk cannot be registered", hint="Push to a registry that those who serve can reach."
        )
    name = name or reference.repository.rpartition("/")[2]
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            f"{name[:80]!r} is no name of a registered model", hint="Letters, digits, blanks and . _ - are."
        )
    return Entry(name=name, reference=reference, signers=tuple(signers))


def register(registry: Registry, what: Entry, *, access: Access, patience: Patience = PATIENCE) -> Registered:
    """Record it, unless it is recorded.

    Raises:
        UnavailableError, AuthenticationError, RejectedError: the registry did not take it; the artifact is where
            it was pushed to all the same.
    """
    backoff = Backoff(patience)
    hint = f"The push is done. Run the same command again to register it, or see to {registry.uri}."
    while True:
        rest = Rest(
            registry.uri,
            authorization=registry.authorization,
            plain_http=access.plain_http,
            ca_file=access.ca_file,
            patience=patience,
        )
        try:
            with closing(rest):
                version, added = _KINDS[registry.kind](rest, what)
                return Registered(registry=registry, name=what.name, version=version, added=added)
        except RejectedError as error:
            raise RejectedError(f"not registered: {error.message}", hint=hint) from None
        except UnavailableError as error:
            if not backoff.again():
                raise UnavailableError(
                    f"not registered: {error.message}", hint=hint, reason="model-registry"
                ) from None
        except AuthenticationError as error:
            hint = f"The push is done. Set {_CREDENTIALS[registry.kind]}, and run the same command again."
            raise AuthenticationError(f"not registered: {error.message}", hint=hint) from None


def _mlflow(rest: Rest, what: Entry) -> tuple[str, bool]:
    """MLflow's REST API 2.0."""
    api = "api/2.0/mlflow"
    status, answer = rest.call("POST", f"{api}/registered-models/create", body={"name": what.name})
    if status >= 300 and answer.get("error_code") != "RESOURCE_ALREADY_EXISTS":
        raise _rejected(status, answer)
    wanted = f"name='{what.name}' and source_path='{what.source}'"
    query = {"filter": wanted, "max_results": _VERSION_PAGE}
    status, answer = rest.call("GET", f"{api}/model-versions/search", query)
    if status >= 300:
        raise _rejected(status, answer)
    found = [version for version in _objects(answer, "model_versions") if version.get("source") == what.source]
    if found:
        known = {str(tag.get("key")): str(tag.get("value")) for tag in _objects(found[0], "tags")}
        version = str(found[0].get("version"))
        for key, value in what.properties.items():
            if known.get(key) != value:
                tag = {"name": what.name, "version": version, "key": key, "value": value}
                status, answer = rest.call("POST", f"{api}/model-versions/set-tag", body=tag)
                if status >= 300:
                    raise _rejected(status, answer)
        return version, False
    tags = [{"key": key, "value": value} for key, value in what.properties.items()]
    body = {"name": what.name, "source": what.source, "tags": tags}
    status, answer = rest.call("POST", f"{api}/model-versions/create", body=body)
    if status >= 300:
        raise _rejected(status, answer)
    made = answer.get("model_version")
    return str(made.get("version")) if isinstance(made, dict) else "", True


def _kubeflow(rest: Rest, what: Entry) -> tuple[str, bool]:
    """Kubeflow Model Registry, REST API v1alpha3: a model, a version that is called by the digest, its artifact."""
    api = "api/model_registry/v1alpha3"
    model = _ensure(rest, f"{api}/registered_model", {"name": what.name}, {"name": what.name})[0]
    digest = str(what.reference.digest)
    properties = {
        key: {"metadataType": "MetadataStringValue", "string_value": value}
        for key, value in what.properties.items()
    }
    version, added, there = _ensure(
        rest,
        f"{api}/model_version",
        {"name": digest, "parentResourceId": model},
        {"name": digest, "registeredModelId": model, "customProperties": properties},
    )
    path = f"{api}/model_versions/{version}"
    if (kept := {**there, **properties}) != there and not added:
        # What is not given again would be forgotten.
        status, answer = rest.call("PATCH", path, body={"customProperties": kept})
        if status >= 300:
            raise _rejected(status, answer)
    status, answer = rest.call("GET", f"{path}/artifacts", {"pageSize": "100"})
    if status >= 300:
        raise _rejected(status, answer)
    if all(item.get("uri") != what.source for item in _objects(answer, "items")):
        body = {"artifactType": "model-artifact", "name": what.name, "uri": what.source}
        status, answer = rest.call("POST", f"{path}/artifacts", body=body)
        if status >= 300:
            raise _rejected(status, answer)
        added = True
    return version, added


def _ensure(
    rest: Rest, path: str, query: dict[str, str], body: dict[str, object]
) -> tuple[str, bool, dict[str, object]]:
    """What ``query`` finds under ``path``, made where it is missing: id, whether it is new, custom properties."""
    status, answer = rest.call("GET", path, query)
    added = status == 404
    if added:
        status, answer = rest.call("POST", f"{path}s", body=body)
    if status >= 300:
        raise _rejected(status, answer)
    found = answer.get("id")
    if not isinstance(found, str) or not found.isascii() or not found.isdigit():
        raise RejectedError("the registry answers without an id")
    properties = answer.get("customProperties")
    return found, added, properties if isinstance(properties, dict) else {}


def _objects(answer: Mapping[str, object], key: str) -> list[dict[str, object]]:
    found = answer.get(key)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _rejected(status: int, answer: dict[str, object]) -> OcimodelError:
    return RejectedError(f"the registry answers {status}: {said(answer)}")


def _authorization(kind: str, env: Mapping[str, str]) -> str:
    if kind == "kubeflow":
        token = env.get("OCIMODEL_KUBEFLOW_TOKEN", "")
    else:
        token = env.get("MLFLOW_TRACKING_TOKEN", "")
        user, password = env.get("MLFLOW_TRACKING_USERNAME"), env.get("MLFLOW_TRACKING_PASSWORD")
        if user is not None and password is not None:  # as MLflow's own client: these win
            return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
    if not (token.isascii() and token.isprintable()):
        raise UsageError(f"the token for {kind} has characters that no header may have", hint="Set it anew.")
    return f"Bearer {token}" if token else ""


_KINDS: Mapping[str, Callable[[Rest, Entry], tuple[str, bool]]] = {"mlflow": _mlflow, "kubeflow": _kubeflow}
_CREDENTIALS = {
    "mlflow": "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    "kubeflow": "OCIMODEL_KUBEFLOW_TOKEN",
}
