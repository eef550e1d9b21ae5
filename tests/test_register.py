"""Registries of models: what they are told, once, and what becomes of a push whose registration fails.

MLflow is a real server. Kubeflow Model Registry, a Go program with a database of its own, is spoken by a small
server here that answers as the real one was seen to; with KUBEFLOW_MODEL_REGISTRY=http://HOST:PORT the same tests
run against that one.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.commands import Ran, events, run
from tests.documents import problems
from tests.hostile import HostileRegistry
from tests.test_import import keep_hub

SECRET = "s3cret-of-the-tracking-server"


@pytest.fixture
def registry() -> Iterator[HostileRegistry]:
    with HostileRegistry() as found:
        yield found


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.bin").write_bytes(os.urandom(1000))
    return tmp_path / "model"


def push(registry: HostileRegistry, model: Path, *more: str | Path, name: str = "ml/tiny:v1") -> Ran:
    return run("push", model, f"{registry.host}/{name}", "--plain-http", registry.host, "--json", *more)


def get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


# --- MLflow ---------------------------------------------------------------------------------------------------


def versions(server: str, name: str) -> list[dict[str, Any]]:
    wanted = quote(f"name='{name}'")
    found: list[dict[str, Any]] = get(f"{server}/api/2.0/mlflow/model-versions/search?filter={wanted}").get(
        "model_versions", []
    )
    return found


def test_a_digest_is_one_version_however_often_it_is_pushed(
    tmp_path: Path, registry: HostileRegistry, model: Path, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    first = push(registry, model, "--register", "mlflow")
    assert first.code == 0, first.err
    assert problems(first.document, "push") == []
    digest = first.document["digest"]
    (told,) = first.document["registered"]
    assert told == {"kind": "mlflow", "uri": mlflow_server, "name": "tiny", "version": "1", "added": True}
    assert run("key", "generate", tmp_path / "alice", "--no-password").code == 0
    again = push(registry, model, "--register", "mlflow", "--key", tmp_path / "alice.key", name="ml/tiny:stable")
    assert again.document["registered"] == [told | {"added": False}]
    (version,) = versions(mlflow_server, "tiny")
    assert version["source"] == f"oci://{registry.host}/ml/tiny@{digest}"
    assert {tag["key"]: tag["value"] for tag in version["tags"]} == {
        "io.github.ocimodel.digest": digest,
        "io.github.ocimodel.tag": "stable",
        "io.github.ocimodel.signed-by": again.document["signers"][0]["keyid"],
    }
    (model / "NOTICE").write_text("more")
    assert push(registry, model, "--register", "mlflow").document["registered"] == [told | {"version": "2"}]


def test_mlflows_own_client_reads_what_was_recorded(
    registry: HostileRegistry, model: Path, mlflow_server: str
) -> None:
    from mlflow import MlflowClient

    ran = push(registry, model, "--register", f"mlflow:{mlflow_server}", "--register-name", "Team A bert")
    assert ran.code == 0, ran.err
    client = MlflowClient(tracking_uri=mlflow_server, registry_uri=mlflow_server)
    assert client.get_model_version_download_uri("Team A bert", "1").endswith(ran.document["digest"])


def test_an_import_is_registered_as_well(
    tmp_path: Path, registry: HostileRegistry, model: Path, mlflow_server: str
) -> None:
    keep_hub(tmp_path / "hub", model)
    ran = run(
        *("import", f"hf:{tmp_path}/hub/example/tiny", f"{registry.host}/hub/imported:v1", "--json"),
        *("--plain-http", registry.host, "--register", f"mlflow:{mlflow_server}"),
    )
    assert ran.code == 0, ran.err
    assert problems(ran.document, "import") == []
    assert ran.document["registered"][0]["name"] == "imported"


# --- Kubeflow -------------------------------------------------------------------------------------------------


class Kubeflow(BaseHTTPRequestHandler):
    """Models, versions and artifacts, by the paths and the fields of v1alpha3."""

    rows: list[dict[str, Any]]

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        path = self.place(parts.path)
        if path[-1] == "artifacts":
            items = [row for row in self.rows if row["_of"] == tuple(path)]
            self.say(200, {"items": [self.shown(row) for row in items], "pageSize": 0, "size": len(items)})
            return
        found = [row for row in self.rows if row["_kind"] == path[0] and row["name"] == query["name"]]
        found = [row for row in found if row.get("registeredModelId") == query.get("parentResourceId")]
        missing = {"code": "Not Found", "message": "not found"}
        self.say(200, self.shown(found[0])) if found else self.say(404, missing)

    def do_POST(self) -> None:
        path = self.place(self.path)
        row = self.body() | {"id": str(len(self.rows) + 1), "_kind": path[0][:-1], "_of": tuple(path)}
        for properties in row.get("customProperties", {}).values():
            assert set(properties) == {"metadataType", "string_value"}
        self.rows.append(row)
        self.say(201, self.shown(row))

    def do_PATCH(self) -> None:
        path = self.place(self.path)
        (row,) = [row for row in self.rows if row["id"] == path[1]]
        row.update(self.body())
        self.say(200, self.shown(row))

    def place(self, path: str) -> list[str]:
        prefix = "/api/model_registry/v1alpha3/"
        assert path.startswith(prefix)
        return path.removeprefix(prefix).split("/")

    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return found

    def shown(self, row: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in row.items() if not key.startswith("_")}

    def say(self, status: int, document: dict[str, Any]) -> None:
        raw = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


REAL = os.environ.get("KUBEFLOW_MODEL_REGISTRY", "")


@pytest.fixture(params=["", REAL] if REAL else [""], ids=lambda given: given or "as-seen")
def kubeflow(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param:
        yield request.param
        return
    with serving(type("Fresh", (Kubeflow,), {"rows": []})) as found:
        yield found


def test_kubeflow_gets_a_model_a_version_and_an_artifact_once(
    registry: HostileRegistry, model: Path, kubeflow: str, tmp_path: Path
) -> None:
    name = f"tiny-{os.urandom(4).hex()}"
    assert run("key", "generate", tmp_path / "alice", "--no-password").code == 0
    words = ("--register", f"kubeflow:{kubeflow}", "--register-name", name)
    first = push(registry, model, *words, "--key", tmp_path / "alice.key")
    assert first.code == 0, first.err
    (told,) = first.document["registered"]
    assert told["added"]
    again = push(registry, model, *words, name="ml/tiny:stable")
    assert again.document["registered"] == [told | {"added": False}]
    api = f"{kubeflow}/api/model_registry/v1alpha3"
    parent = get(f"{api}/registered_model?name={name}")["id"]
    version = get(f"{api}/model_version?name={quote(first.document['digest'])}&parentResourceId={parent}")
    assert version["id"] == told["version"]
    said = {key.rpartition(".")[2]: value["string_value"] for key, value in version["customProperties"].items()}
    assert said["digest"] == first.document["digest"]
    assert said["tag"] == "stable"
    assert said["signed-by"] == first.document["signers"][0]["keyid"]
    (artifact,) = get(f"{api}/model_versions/{version['id']}/artifacts")["items"]
    assert artifact["uri"] == f"oci://{registry.host}/ml/tiny@{first.document['digest']}"
    (model / "NOTICE").write_text("more")
    (other,) = push(registry, model, *words).document["registered"]
    assert other["added"]
    assert other["version"] != told["version"]


# --- what goes wrong ------------------------------------------------------------------------------------------


def answering(status: int, seen: list[Any], location: str = "") -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(self.headers.get("Authorization"))
            self.send_response(status)
            raw = json.dumps({"error_code": "X", "message": f"no, {self.headers.get('Authorization')}"}).encode()
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            return

    return Handler


@pytest.mark.parametrize(
    ("status", "code", "tries"), [(401, 77, 1), (403, 77, 1), (503, 75, 3), (429, 75, 3), (302, 1, 1)]
)
def test_the_push_stays_done(
    registry: HostileRegistry,
    model: Path,
    status: int,
    code: int,
    tries: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
    seen: list[Any] = []
    elsewhere: list[Any] = []
    with serving(answering(200, elsewhere)) as other, serving(answering(status, seen, f"{other}/x")) as server:
        words = ("push", model, f"{registry.host}/ml/tiny:v1", "--plain-http", registry.host)
        ran = run(*words, "--register", f"mlflow:{server}")
    assert ran.code == code, ran.err
    assert ran.out.startswith(f"{registry.host}/ml/tiny:v1@sha256:")
    what, next_step = ran.error
    assert "not registered" in what
    assert "The push is done" in next_step
    assert seen == [f"Bearer {SECRET}"] * tries
    assert elsewhere == []
    assert SECRET not in ran.out + ran.err + json.dumps(events())
    inspected = run("inspect", f"{registry.host}/ml/tiny:v1", "--plain-http", registry.host)
    assert inspected.code == 0


def test_nothing_listens_there(registry: HostileRegistry, model: Path) -> None:
    ran = push(registry, model, "--register", "mlflow:http://127.0.0.1:1")
    assert ran.code == 75
    assert ran.document["digest"].startswith("sha256:")
    assert ran.document["registered"] == []
    assert problems(ran.document, "push") == []


def test_user_and_password_win_over_a_token_as_in_mlflow(
    registry: HostileRegistry, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "other")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    seen: list[Any] = []
    with serving(answering(401, seen)) as server:
        ran = push(registry, model, "--register", f"mlflow:{server}")
    assert seen == [f"Basic {base64.b64encode(f'ann:{SECRET}'.encode()).decode()}"]
    assert SECRET not in ran.out + ran.err
    assert seen[0].split()[1] not in ran.out + ran.err


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--register", "mlflow"), "no address"),
        (("--register", "wandb"), "not known"),
        (("--register", "mlflow:http://ann:pw@127.0.0.1:5000"), "credentials"),
        (("--register", "mlflow:http://mlflow.example:5000"), "plain HTTP"),
        (("--register", "mlflow:sqlite:///mlflow.db"), "address"),
        (("--register", "mlflow:databricks"), "address"),
        (("--register", "mlflow:https://mlflow.example/?token=x"), "address"),
        (("--register", "mlflow:https://mlflow.example", "--register-name", "it's"), "no name"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_sent(
    registry: HostileRegistry, model: Path, words: tuple[str, ...], what: str
) -> None:
    ran = push(registry, model, *words)
    assert ran.code == 2
    assert what in ran.error[0]
    assert "pw" not in ran.err
    assert run("inspect", f"{registry.host}/ml/tiny:v1", "--plain-http", registry.host).code == 11


def test_a_layout_is_nowhere_that_a_server_could_reach(tmp_path: Path, model: Path) -> None:
    ran = run("push", model, f"oci:{tmp_path}/store:v1", "--register", "mlflow:https://mlflow.example")
    assert ran.code == 2
    assert "layout" in ran.error[0]
