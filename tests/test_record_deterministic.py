"""The same inputs give the same bytes: whatever else a machine is, and whatever the files hold."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocimodel.errors import ConfigurationError
from ocimodel.model.config import ModelConfig
from ocimodel.oci.digest import Digest
from ocimodel.record import addresses, bom, spdx
from ocimodel.record.bills import Subject
from ocimodel.record.record import Record
from ocimodel.record.sources import gather
from tests import leaves
from tests.leaves import Leaf
from tests.test_record import MODEL
from tests.test_record_whole import OURS, a_gguf, hugging_face

WORDS = st.text("abcdefXYZ0189 ._/:é-", min_size=1, max_size=12).filter(lambda text: text.strip() == text)
KEYS = st.text("abcdefgh_", min_size=1, max_size=8)
SCALARS = st.one_of(
    WORDS, st.booleans(), st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6).map(lambda x: round(x, 4))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)
ROWS = st.fixed_dictionaries(
    {"name": WORDS}, optional={"digest": WORDS, "source": WORDS, "source_type": WORDS, "schema": WORDS}
)
RUNS = st.fixed_dictionaries(
    {"info": st.fixed_dictionaries({"run_id": KEYS, "start_time": st.integers(10**12, 2 * 10**12 - 1)})},
    optional={
        "data": st.fixed_dictionaries(
            {},
            optional={
                "params": st.dictionaries(KEYS, WORDS, max_size=4),
                "metrics": st.dictionaries(KEYS, st.integers(0, 10**6), max_size=4),
                "tags": st.dictionaries(KEYS, WORDS, max_size=4),
            },
        ),
        "inputs": st.fixed_dictionaries(
            {"dataset_inputs": st.lists(st.fixed_dictionaries({"dataset": ROWS}), max_size=3)}
        ),
    },
)
NAMES = st.one_of(WORDS, st.lists(WORDS, max_size=3))
CARDS = st.builds(
    lambda known, more: {**more, **known},
    st.fixed_dictionaries(
        {},
        optional={
            "license": WORDS,
            "language": NAMES,
            "datasets": NAMES,
            "base_model": st.one_of(NAMES, OBJECTS),
            "base_model_relation": WORDS,
            "pipeline_tag": WORDS,
            "tags": NAMES,
        },
    ),
    OBJECTS,
)
_KNOWN = (
    "model-index results metrics dataset task source value name type data info params tags inputs dataset_inputs",
    "flavors stages deps outs cmd path md5 hash distribution sha256 git remote commit license base_model datasets",
)
KNOWN = st.sampled_from(" ".join(_KNOWN).split())
ODD = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KNOWN, inner, max_size=4)),
    max_leaves=9,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def written(place: Path, files: dict[str, str], *, late: bool) -> None:
    """The same files, made in another order and with another time."""
    for path in place.iterdir():
        path.unlink()
    for name in sorted(files, reverse=late):
        (place / name).write_text(files[name], encoding="utf-8")
        if late:
            os.utime(place / name, (1, 1))


def twice(place: Path, kind: str, files: dict[str, str]) -> Record:
    written(place, files, late=False)
    first = gather([f"{kind}:{place}"])
    written(place, files, late=True)
    assert gather([f"{kind}:{place}"]).predicate() == first.predicate()
    return first


def only_what_is_stated(record: Record, stated: list[Leaf], *names: str) -> None:
    allowed = {*OURS, *names, *(addresses.clean(leaf.value) for leaf in stated)}
    assert leaves.invented(json.loads(record.predicate()), stated, allowed) == []


COMMON = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@COMMON
@given(config=OBJECTS, card=CARDS, results=st.dictionaries(KEYS, SCALARS, max_size=4))
def test_hugging_face(config: dict[str, Any], card: dict[str, Any], results: dict[str, Any], place: Path) -> None:
    files = {
        "config.json": json.dumps(config),
        # JSON is YAML
        "README.md": f"---\n{json.dumps(card, ensure_ascii=False)}\n---\n# Text\n",
        "eval_results.json": json.dumps(results),
    }
    record = twice(place, "hf", files)
    stated = [
        *leaves.of_json(place / "config.json"),
        *leaves.of_front_matter(place / "README.md"),
        *leaves.of_json(place / "eval_results.json"),
    ]
    digest = Digest.of((place / "eval_results.json").read_bytes()).hex
    only_what_is_stated(record, stated, "eval_results.json", digest, "evaluation-report", "application/json")
    told = "\n".join(leaf.value for leaf in leaves.of_value(json.loads(record.predicate()), ""))
    assert [leaf for leaf in stated if leaf.value not in told and json.dumps(leaf.value)[1:-1] not in told] == []


@COMMON
@given(run=RUNS)
def test_mlflow(run: dict[str, Any], place: Path) -> None:
    record = twice(place, "mlflow", {"run.json": json.dumps(run)})
    only_what_is_stated(record, list(leaves.of_json(place / "run.json")))


@COMMON
@given(config=st.dictionaries(KEYS, st.fixed_dictionaries({"value": SCALARS}), max_size=4), summary=OBJECTS)
def test_weights_and_biases(config: dict[str, Any], summary: dict[str, Any], place: Path) -> None:
    files = {"config.yaml": json.dumps(config), "wandb-summary.json": json.dumps(summary)}
    record = twice(place, "wandb", files)
    stated = [*leaves.of_yaml(place / "config.yaml"), *leaves.of_json(place / "wandb-summary.json")]
    only_what_is_stated(record, [*stated, *(Leaf("", name, name) for name in _names(summary))], "wandb")


def _names(value: dict[str, Any], prefix: str = "") -> set[str]:
    """Dotted names of what is nested."""
    found = set()
    for key, item in value.items():
        found.add(f"{prefix}{key}")
        if isinstance(item, dict):
            found |= _names(item, f"{prefix}{key}.")
    return found


FILES = {
    "hf": ("README.md", "config.json", "eval_results.json"),
    "mlflow": ("MLmodel", "run.json", "requirements.txt", "conda.yaml"),
    "gguf": ("model.gguf",),
    "dvc": ("dvc.lock", "dvc.yaml", "data.dvc"),
    "wandb": ("config.yaml", "wandb-summary.json", "wandb-metadata.json", "requirements.txt"),
    "croissant": ("croissant.json",),
}
TEXTS = st.one_of(
    st.binary(max_size=60),
    st.dictionaries(KNOWN, ODD, max_size=5).map(lambda value: json.dumps(value).encode()),
    st.dictionaries(KNOWN, ODD, max_size=5).map(lambda value: b"---\n" + json.dumps(value).encode() + b"\n---\n"),
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(FILES)), data=st.data())
def test_any_file_is_a_record_or_an_error_about_it(kind: str, data: st.DataObject, place: Path) -> None:
    for path in place.iterdir():
        path.unlink()
    for name in FILES[kind]:
        (place / name).write_bytes(data.draw(TEXTS))
    with suppress(ConfigurationError):
        gather([f"{kind}:{place}"]).predicate()


@given(st.text(max_size=60))
def test_a_text_that_is_no_url_stays(text: str) -> None:
    cleaned = addresses.clean(text)
    assert cleaned == text or "://" in text
    assert addresses.clean(cleaned) == cleaned


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("https://oauth2:glpat-x@gitlab.example.com/a/b.git", "https://gitlab.example.com/a/b.git"),
        ("git+https://ghp_x@github.com/a/b@main", "git+https://github.com/a/b@main"),
        ("ssh://git:pw@host/a", "ssh://git@host/a"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ("s3://b/k?versionId=7", "s3://b/k?versionId=7"),
        (
            "https://b.example/k?X-Amz-Date=1&X-Amz-Signature=ab&X-Amz-Credential=c&X-Amz-Security-Token=d#f",
            "https://b.example/k?X-Amz-Date=1#f",
        ),
        ("https://b.example/k?sv=1&sig=ab", "https://b.example/k?sv=1"),
        ("mail bob@example.com about https://u:p@x", "mail bob@example.com about https://u:p@x"),
    ],
)
def test_urls_open_nothing(text: str, cleaned: str) -> None:
    assert addresses.clean(text) == cleaned
    record = Record(source={"repository": text}, invocation=text)
    assert json.loads(record.predicate())["runDetails"]["metadata"]["invocationId"] == cleaned


# --- two machines -----------------------------------------------------------------------------------------------

SCRIPT = """
import os, sys
os.chdir(sys.argv[1])
from ocimodel.cli.app import run
from ocimodel.cli.console import Console

def say(*words):
    code = run(list(words), Console(sys.stdout, sys.stderr))
    assert code == 0, (words, code)

for kind, source in (("hf", "hf"), ("gguf", "gguf")):
    reference = "oci:" + os.path.join(os.environ["HOME"], kind) + ":v1"
    place = os.path.relpath(sys.argv[2])
    sources = ["--from", f"{kind}:{place}/{source}", "--metadata", f"{place}/model.yaml"]
    say("push", f"{place}/{source}", reference, *sources)
    say("bom", reference)
    say("bom", reference, "--format", "spdx")
    say("bom", f"{place}/{source}", "--format", "spdx")
"""
MACHINES: tuple[dict[str, str], ...] = (
    {"TZ": "Asia/Kathmandu", "LANG": "C", "LC_ALL": "C", "PYTHONHASHSEED": "0", "USER": "alice", "HOSTNAME": "one"},
    {"TZ": "America/St_Johns", "LANG": "de_DE.UTF-8", "PYTHONHASHSEED": "4711", "USER": "bob", "HOSTNAME": "two"},
)


def test_two_processes_that_have_nothing_in_common(tmp_path: Path) -> None:
    hugging_face(tmp_path / "hf")
    a_gguf(tmp_path / "gguf")
    (tmp_path / "model.yaml").write_text(MODEL)
    said = []
    for number, machine in enumerate(MACHINES):
        home, cwd = tmp_path / f"home{number}", tmp_path / f"cwd{number}" / ("x" * number + "y")
        home.mkdir()
        cwd.mkdir(parents=True)
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "OCIMODEL_STATE_DIR": str(home / "state"), **machine}
        env["OCIMODEL_AUDIT_LOG"] = str(home / "audit.jsonl")
        root = str(Path(__file__).resolve().parents[1])
        command = [sys.executable, "-c", SCRIPT, str(cwd), str(tmp_path)]
        done = subprocess.run(command, env={**env, "PYTHONPATH": root}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        said.append(done.stdout.replace(str(home), "HOME"))
        time.sleep(1.1 if number == 0 else 0)  # the second hand has moved
    assert said[0] == said[1]
    for word in ('alice"', "Kathmandu", "home0", str(tmp_path)):
        assert word not in said[0]


def test_a_bill_is_a_function_of_what_it_is_told() -> None:
    """No time but those of the record: the same call gives the same text, and the words of now are not in it."""
    predicate = json.loads(Record(hyperparameters={"lr": "1"}).predicate())
    subject = Subject(name="m", version="1", digest=Digest.of(b"m"))
    writers: tuple[Callable[..., dict[str, Any]], ...] = (bom.cyclonedx, spdx.spdx)
    for write in writers:
        one, two = (json.dumps(write(subject, ModelConfig(), [], predicate)) for _ in range(2))
        assert one == two
        years = set(re.findall(r"\b(?:19|20)\d\d-\d\d-\d\dT[\d:]+Z", one))
        assert years <= {spdx.UNKNOWN_TIME}
