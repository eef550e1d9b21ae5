"""Where a model comes from: only what is pinned is followed, only where allowed, and verified edge by edge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.commands import World, make_world, run
from tests.documents import problems
from tests.hostile import HostileRegistry


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def registry() -> Iterator[HostileRegistry]:
    with HostileRegistry() as found:
        yield found


def push(world: World, ref: str, base: dict[str, Any] | None = None, *, key: Path | None = None) -> str:
    """Push the model, made from ``base``; returns REF@DIGEST."""
    document = {"model": {"name": ref}, "baseModels": [base] if base else []}
    path = world.model.parent / "model.json"
    path.write_text(json.dumps(document))
    signing = ("--key", key) if key else ()
    ran = run("push", world.model, ref, "--metadata", path, *signing)
    assert ran.code == 0, ran.err
    return ran.out.strip()


def chain(world: World, host: str, *, signed: bool = True) -> str:
    """base <- tuned <- quantised."""
    key = world.key if signed else None
    base = push(world, f"{host}/ml/base:v1", key=key)
    tuned = push(
        world, f"{host}/ml/tuned:v1", {"uri": f"oci://{base}", "annotations": {"relation": "finetune"}}, key=key
    )
    return push(
        world,
        f"{host}/ml/small:v1",
        {"uri": f"oci://{tuned}", "annotations": {"relation": "quantized"}},
        key=world.key,
    )


def document(*arguments: str | Path) -> dict[str, Any]:
    ran = run("lineage", *arguments, "--json")
    assert ran.code == 0, ran.err
    value = json.loads(ran.out)
    assert problems(value, "lineage") == []
    assert isinstance(value["model"], dict)
    return value["model"]


def test_a_chain_is_followed_and_each_edge_verified(world: World, registry: HostileRegistry) -> None:
    small = chain(world, registry.host)
    found = document(f"{registry.host}/ml/small:v1", "--key", world.pub)
    assert found["reference"] == small
    (tuned,) = found["bases"]
    assert (tuned["relation"], tuned["verified"], tuned["model"]["verified"]) == ("quantized", True, True)
    (base,) = tuned["model"]["bases"]
    assert (base["relation"], base["verified"], base["model"]["bases"]) == ("finetune", True, [])


def test_in_a_layout_bases_are_found_by_their_digest(world: World, tmp_path: Path) -> None:
    base = push(world, f"oci:{tmp_path}/models:base", key=world.key)
    digest = base.rpartition("@sha256:")[2]
    tuned = push(
        world, f"oci:{tmp_path}/models:tuned", {"name": "base", "digest": {"sha256": digest}}, key=world.key
    )
    (found,) = document(tuned, "--key", world.pub)["bases"]
    assert (found["verified"], found["model"]["verified"]) == (True, True)
    assert found["model"]["digest"] == f"sha256:{digest}"
    for hexadecimal in ("1" * 64, "1"):
        elsewhere = {"name": "base", "digest": {"sha256": hexadecimal}}
        (found,) = document(push(world, f"oci:{tmp_path}/models:lost", elsewhere))["bases"]
        assert (found["note"], found["model"]) == ("is in no registry that could be asked", None)


def test_no_record_opens_another_layout(world: World, tmp_path: Path) -> None:
    base = push(world, f"oci:{tmp_path}/private:base")
    for place in ("models", "private"):
        tuned = push(world, f"oci:{tmp_path}/{place}:tuned", {"uri": f"oci://{base}"})
        (found,) = document(tuned)["bases"]
        assert (found["note"], found["model"]) == ("lies at a layout, which was not to be asked", None)


def test_what_nobody_signed_is_not_verified(world: World, registry: HostileRegistry) -> None:
    chain(world, registry.host, signed=False)
    found = document(f"{registry.host}/ml/small:v1", "--key", world.pub)
    (tuned,) = found["bases"]
    assert tuned["verified"], "the signed model says so"
    assert not tuned["model"]["verified"]
    assert not tuned["model"]["bases"][0]["verified"], "an unsigned one says so"


def test_without_a_key_nothing_is_verified(world: World, registry: HostileRegistry) -> None:
    chain(world, registry.host)
    found = document(f"{registry.host}/ml/small:v1")
    assert found["verified"] is None
    assert not found["bases"][0]["verified"]


def test_the_tree_and_the_picture(world: World, registry: HostileRegistry, tmp_path: Path) -> None:
    chain(world, registry.host)
    picture = tmp_path / "lineage.svg"
    ran = run("lineage", f"{registry.host}/ml/small:v1", "--key", world.pub, "--svg", picture)
    assert [line.split()[0] for line in ran.out.splitlines()[1:]] == ["└─", "└─"]
    assert "quantized of" in ran.out
    root = ElementTree.fromstring(picture.read_text())
    assert len(root.findall("{http://www.w3.org/2000/svg}rect")) == 3


def test_a_stranger_is_not_called(world: World, registry: HostileRegistry) -> None:
    with HostileRegistry() as stranger:
        base = push(world, f"{stranger.host}/ml/base:v1")
        push(world, f"{registry.host}/ml/tuned:v1", {"uri": f"oci://{base}"})
        stranger.forget()
        found = document(f"{registry.host}/ml/tuned:v1")
        assert "was not to be asked" in found["bases"][0]["note"]
        assert not stranger.count()
        found = document(f"{registry.host}/ml/tuned:v1", "--follow", stranger.host)
        assert found["bases"][0]["model"]["reference"] == base


@pytest.mark.parametrize(
    ("base", "note"),
    [
        ({"uri": "oci://{host}/ml/base:v1"}, "is not pinned by a digest"),
        ({"name": "org/base", "uri": "pkg:huggingface/org/base"}, "is not pinned by a digest"),
        ({"uri": "oci://{host}/ml/x@sha256:" + "0" * 64}, "has no digest"),
        ({"uri": "oci://{host}/ml/x@sha256:" + "0" * 64, "digest": {"sha256": "1" * 64}}, "is not pinned"),
        ({"name": "b", "digest": {"sha256": "1" * 64}}, "is in no registry that could be asked"),
    ],
)
def test_what_cannot_be_followed(base: dict[str, Any], note: str, world: World, registry: HostileRegistry) -> None:
    base = {key: value.format(host=registry.host) if key == "uri" else value for key, value in base.items()}
    push(world, f"{registry.host}/ml/tuned:v1", base, key=world.key)
    (found,) = document(f"{registry.host}/ml/tuned:v1", "--key", world.pub)["bases"]
    assert found["model"] is None
    assert note in found["note"]


def test_names_do_not_draw_on_the_terminal(world: World, registry: HostileRegistry, tmp_path: Path) -> None:
    push(world, f"{registry.host}/ml/tuned:v1", {"name": "\x1b[2Jx", "annotations": {"relation": "a\x07<b>"}})
    picture = tmp_path / "l.svg"
    ran = run("lineage", f"{registry.host}/ml/tuned:v1", "--svg", picture)
    assert "\x1b" not in ran.out
    assert "\x07" not in ran.out
    assert "<b>" not in picture.read_text()
