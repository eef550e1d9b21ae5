"""Importing what Hugging Face and Ollama keep: which files, under which names, held to which promises."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.commands import events, run
from tests.documents import problems
from tests.hostile import HostileRegistry
from tests.models import make_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLDER = "fedcba9876543210fedcba9876543210fedcba98"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def keep_hub(hub: Path, model: Path, commit: str = COMMIT, name: str = "models--example--tiny") -> Path:
    """The files of ``model`` as huggingface_hub keeps them. Returns the model's folder in the cache."""
    kept = hub / name
    for folder in ("blobs", "refs", f"snapshots/{commit}"):
        (kept / folder).mkdir(parents=True, exist_ok=True)
    (kept / "refs/main").write_text(commit)
    for file in sorted(path for path in model.rglob("*") if path.is_file()):
        data, path = file.read_bytes(), file.relative_to(model)
        large = file.suffix in (".safetensors", ".gguf")
        blob = kept / "blobs" / (sha256(data) if large else git_id(data))
        blob.write_bytes(data)
        link = kept / "snapshots" / commit / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return kept


def keep_ollama(models: Path, layers: list[tuple[str, bytes, dict[str, Any]]], name: str = "tiny:1b") -> Path:
    """These layers as Ollama keeps them. Returns the manifest's path."""
    (models / "blobs").mkdir(parents=True, exist_ok=True)

    def descriptor(media_type: str, data: bytes, more: dict[str, Any]) -> dict[str, Any]:
        (models / "blobs" / f"sha256-{sha256(data)}").write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{sha256(data)}", "size": len(data), **more}

    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": descriptor("application/vnd.docker.container.image.v1+json", b'{"model_format":"gguf"}', {}),
        "layers": [descriptor(f"application/vnd.ollama.image.{kind}", data, more) for kind, data, more in layers],
    }
    place = models / "manifests/registry.ollama.ai/library" / name.replace(":", "/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(manifest))
    return place


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


@pytest.fixture
def hub(tmp_path: Path, model: Path) -> Path:
    keep_hub(tmp_path / "hub", model)
    return tmp_path / "hub"


@pytest.fixture
def ollama(tmp_path: Path, model: Path) -> Path:
    weights = next(model.rglob("*.gguf")).read_bytes()
    keep_ollama(
        tmp_path / "ollama",
        [
            ("model", weights, {}),
            ("template", b"{{ .Prompt }}", {}),
            ("params", b'{"stop":["</s>"]}', {}),
            ("system", b"You are tiny.", {}),
            ("license", b"Apache", {}),
            ("license", b"Another", {}),
        ],
    )
    return tmp_path / "ollama"


def names(layout: Path, digest: str) -> list[str]:
    manifest = json.loads((layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_text())
    found = [layer["annotations"]["org.cncf.model.filepath"] for layer in manifest["layers"]]
    return sorted(name for name in found if not name.startswith(".ocimodel"))


def sources(layout: Path, digest: str) -> list[dict[str, Any]]:
    """What the record says went in."""
    manifest = json.loads((layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_text())
    blob = manifest["layers"][-1]["digest"].removeprefix("sha256:")
    definition = json.loads((layout / "blobs/sha256" / blob).read_text())["predicate"]["buildDefinition"]
    found: list[dict[str, Any]] = definition.get("resolvedDependencies", [])
    return found


# --- Hugging Face ---------------------------------------------------------------------------------------------


def test_the_digest_is_that_of_pushing_the_same_files(tmp_path: Path, model: Path, hub: Path) -> None:
    pushed = run("push", model, f"oci:{tmp_path}/one:v1", "--json")
    imported = run("import", f"hf:{hub}/example/tiny", f"oci:{tmp_path}/two:v1", "--no-origin", "--json")
    assert (pushed.code, imported.code) == (0, 0), imported.err
    assert imported.document["digest"] == pushed.document["digest"]
    assert problems(imported.document, "import") == []


@pytest.mark.parametrize(
    "spelling",
    [
        "{hub}/example/tiny",
        "{hub}/models--example--tiny",
        "{hub}/models--example--tiny/snapshots/" + COMMIT,
        "{hub}/example/tiny@" + COMMIT,
        "example/tiny",
        "example/tiny@main",
        "example/tiny@0123456",
    ],
)
def test_every_spelling_means_the_same(
    tmp_path: Path, hub: Path, spelling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    imported = run("import", "hf:" + spelling.format(hub=hub), f"oci:{tmp_path}/store:v1", "--json")
    assert imported.code == 0, imported.err
    (source,) = sources(tmp_path / "store", imported.document["digest"])
    assert source == {
        "name": "example/tiny",
        "uri": f"pkg:huggingface/example/tiny@{COMMIT}",
        "digest": {"gitCommit": COMMIT},
        "annotations": {"role": "source", "recordedBy": "huggingface_hub"},
    }
    assert imported.document["imported"]["version"] == COMMIT
    (event,) = events()
    assert event["data"]["outcome"] == "pass"


def test_nothing_of_this_machine_is_in_the_artifact(tmp_path: Path, model: Path, hub: Path) -> None:
    keep_hub(tmp_path / "elsewhere", model)
    one = run("import", f"hf:{hub}/example/tiny", f"oci:{tmp_path}/one:v1", "--json").document
    two = run("import", f"hf:{tmp_path}/elsewhere/example/tiny", f"oci:{tmp_path}/two:v1", "--json").document
    assert one["digest"] == two["digest"]


def test_a_record_is_completed_by_what_is_given(tmp_path: Path, model: Path, hub: Path) -> None:
    imported = run("import", f"hf:{hub}/example/tiny", f"oci:{tmp_path}/s:v1", "--from", f"hf:{model}", "--json")
    assert imported.code == 0, imported.err
    found = {item["annotations"]["role"] for item in sources(tmp_path / "s", imported.document["digest"])}
    assert found == {"source", "base-model"}


def test_a_blob_that_is_not_what_its_name_says_is_refused(tmp_path: Path, hub: Path) -> None:
    blob = max((hub / "models--example--tiny/blobs").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    imported = run("import", f"hf:{hub}/example/tiny", f"oci:{tmp_path}/store:v1")
    assert imported.code == 14
    assert "is not what its cache says it is" in imported.error[0]
    assert run("inspect", f"oci:{tmp_path}/store:v1").code == 11


@pytest.mark.parametrize("where", ["outside", "other-model", "chain", "absolute-outside", "dangling"])
def test_a_link_that_leaves_the_models_blobs_is_refused(tmp_path: Path, model: Path, hub: Path, where: str) -> None:
    snapshot = hub / "models--example--tiny/snapshots" / COMMIT
    secret = tmp_path / "secret.txt"
    secret.write_text("mine")
    other = keep_hub(hub, model, name="models--example--other")
    chained = hub / "models--example--tiny/blobs/chained"
    chained.symlink_to(secret)
    target = {
        "outside": os.path.relpath(secret, snapshot),
        "other-model": os.path.relpath(next((other / "blobs").iterdir()), snapshot),
        "chain": "../../blobs/chained",
        "absolute-outside": str(secret),
        "dangling": "../../blobs/nothing",
    }[where]
    (snapshot / "extra.txt").symlink_to(target)
    imported = run("import", f"hf:{hub}/example/tiny", f"oci:{tmp_path}/store:v1")
    assert imported.code == 14
    assert "extra.txt" in imported.error[0]
    assert not (tmp_path / "store").exists()


def test_what_cannot_be_found_is_said(tmp_path: Path, model: Path, hub: Path) -> None:
    store = f"oci:{tmp_path}/store:v1"
    assert run("import", f"hf:{hub}/example/none", store).code == 11
    assert run("import", f"hf:{hub}/example/tiny@v9", store).code == 11
    assert run("import", f"hf:{hub}/example/tiny@../../x", store).code == 14
    assert run("import", f"hf:{model}", store).code == 2
    assert run("import", "npm:left-pad", store).code == 2
    keep_hub(hub, model, OLDER)
    (hub / "models--example--tiny/refs/main").unlink()
    ambiguous = run("import", f"hf:{hub}/example/tiny", store)
    assert ambiguous.code == 2
    assert COMMIT[:12] in ambiguous.error[1]


# --- Ollama ---------------------------------------------------------------------------------------------------


def test_layers_become_files(tmp_path: Path, ollama: Path) -> None:
    imported = run("import", f"ollama:{ollama}:tiny:1b", f"oci:{tmp_path}/store:v1", "--json")
    assert imported.code == 0, imported.err
    assert names(tmp_path / "store", imported.document["digest"]) == [
        "LICENSE-1",
        "LICENSE-2",
        "model.gguf",
        "ollama.json",
        "params.json",
        "system.txt",
        "template.gotmpl",
    ]
    manifest = (ollama / "manifests/registry.ollama.ai/library/tiny/1b").read_bytes()
    (source,) = sources(tmp_path / "store", imported.document["digest"])
    assert source["digest"] == {"sha256": sha256(manifest)}
    assert source["name"] == "tiny:1b"
    shown = run("inspect", f"oci:{tmp_path}/store:v1")
    assert "gguf" in shown.out


def test_the_same_files_pushed_give_the_same_digest(tmp_path: Path, ollama: Path) -> None:
    imported = run("import", f"ollama:{ollama}", f"oci:{tmp_path}/one:v1", "--no-origin", "--json").document
    assert run("pull", f"oci:{tmp_path}/one:v1", "-o", tmp_path / "out").code == 0
    pushed = run("push", tmp_path / "out", f"oci:{tmp_path}/two:v1", "--json").document
    assert imported["digest"] == pushed["digest"]


def test_tensors_that_are_kept_singly_become_files_of_their_names(tmp_path: Path, model: Path) -> None:
    tensor = next(model.rglob("*.safetensors")).read_bytes()
    keep_ollama(
        tmp_path / "ollama",
        [("tensor", tensor, {"name": "text/model.weight"}), ("json", b"{}", {"name": "text/config.json"})],
        "tiny:latest",
    )
    imported = run("import", f"ollama:{tmp_path}/ollama:tiny", f"oci:{tmp_path}/store:v1", "--json")
    assert imported.code == 0, imported.err
    found = names(tmp_path / "store", imported.document["digest"])
    assert found == ["ollama.json", "text/config.json", "text/model.weight.safetensors"]


def test_a_name_alone_is_looked_for_where_ollama_is(
    tmp_path: Path, ollama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(ollama))
    assert run("import", "ollama:tiny:1b", f"oci:{tmp_path}/store:v1").code == 0
    assert run("import", "ollama:registry.ollama.ai/library/tiny:1b", f"oci:{tmp_path}/store:v1").code == 0
    assert run("import", "ollama:tiny", f"oci:{tmp_path}/store:v1").code == 11
    assert run("import", "ollama:../../../etc:1b", f"oci:{tmp_path}/store:v1").code == 2
    keep_ollama(ollama, [("system", b"x", {})], "other:latest")
    several = run("import", f"ollama:{ollama}", f"oci:{tmp_path}/store:v1")
    assert several.code == 2
    assert "other:latest, tiny:1b" in several.error[1]


@pytest.mark.parametrize(
    "fault", ["flipped", "short", "missing", "link", "digest", "name", "type", "json", "twice"]
)
def test_a_cache_that_is_not_what_it_says_is_refused(tmp_path: Path, ollama: Path, fault: str) -> None:
    path = ollama / "manifests/registry.ollama.ai/library/tiny/1b"
    manifest = json.loads(path.read_text())
    layer = manifest["layers"][0]
    blob = ollama / "blobs" / layer["digest"].replace(":", "-")
    data = blob.read_bytes()
    if fault == "flipped":
        blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif fault == "short":
        blob.write_bytes(data[:-1])
    elif fault == "missing":
        blob.unlink()
    elif fault == "link":
        shutil.move(blob, tmp_path / "moved")
        blob.symlink_to(tmp_path / "moved")
    elif fault == "digest":
        layer["digest"] = "sha256:../../../../etc/passwd"
    elif fault == "name":
        layer |= {"mediaType": "application/vnd.ollama.image.tensor", "name": "../../x"}
    elif fault == "type":
        layer["mediaType"] = "application/vnd.ollama.image.surprise"
    elif fault == "twice":
        manifest["layers"].append(
            manifest["layers"][2] | {"mediaType": "application/vnd.ollama.image.json", "name": "params.json"}
        )
    path.write_text("{" if fault == "json" else json.dumps(manifest))
    imported = run("import", f"ollama:{ollama}", f"oci:{tmp_path}/store:v1")
    assert imported.code == (11 if fault == "missing" else 14), imported.err
    assert run("inspect", f"oci:{tmp_path}/store:v1").code == 11


# --- to a registry --------------------------------------------------------------------------------------------


def test_signed_into_a_registry_and_again_without_sending(tmp_path: Path, hub: Path) -> None:
    assert run("key", "generate", tmp_path / "alice", "--no-password").code == 0
    with HostileRegistry() as registry:
        words: list[str | Path] = ["import", f"hf:{hub}/example/tiny", f"{registry.host}/ml/tiny:v1"]
        words += ["--key", tmp_path / "alice.key"]
        words += ["--tag", "stable", "--plain-http", registry.host, "--json"]
        first, second = run(*words), run(*words)
        assert (first.code, second.code) == (0, 0), first.err
        assert second.document["digest"] == first.document["digest"]
        assert second.document["sentBytes"] == 0
        verified = run(
            "verify",
            f"{registry.host}/ml/tiny:stable",
            "--key",
            tmp_path / "alice.pub",
            "--plain-http",
            registry.host,
        )
        assert verified.code == 0, verified.err
