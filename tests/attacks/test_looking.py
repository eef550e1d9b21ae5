"""Commands that only look: bounded and printable, whatever hangs on a model."""

from __future__ import annotations

import json
from typing import Any

from ocimodel.oci import media
from ocimodel.oci.digest import Digest
from tests.attacks.scene import Scene
from tests.commands import run


def referrer(scene: Scene, subject: str, number: int) -> str:
    """Attach something to ``subject``; its digest."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "artifactType": "application/x-link",
        "config": {"mediaType": media.OCI_EMPTY, "digest": str(Digest.of(b"{}")), "size": 2},
        "layers": [],
        "subject": {"mediaType": media.OCI_MANIFEST, "digest": subject, "size": 2},
        "annotations": {"number": str(number)},
    }
    return scene.repository.add_manifest(json.dumps(document).encode())


def test_a_tree_without_end(signed: Scene) -> None:
    """Each referrer has one of its own."""
    subject = str(signed.subject().digest)
    for number in range(50):
        subject = referrer(signed, subject, number)
    ran = run("tree", str(signed.reference))
    assert ran.code == 0
    assert "more than is shown" in ran.out
    assert signed.registry.count("GET", "referrers") < 20


def test_a_tree_that_is_a_circle(signed: Scene) -> None:
    """A registry may list anything as a referrer of anything."""
    root = str(signed.subject().digest)
    first = referrer(signed, root, 1)
    listed = signed.repository.referrers
    listed[first] = {root: {**listed[root][first], "digest": root}, first: listed[root][first]}
    ran = run("tree", str(signed.reference))
    assert ran.code == 0
    assert ran.out.count(root) == 1


def test_a_tree_of_thousands(signed: Scene) -> None:
    signed.repository.garbage(str(signed.subject().digest), 3000, real=False)
    ran = run("tree", str(signed.reference))
    assert ran.code == 0
    assert len(ran.out.splitlines()) < 1100
    assert "more than is shown" in ran.out


def test_documents_that_inspect_cannot_read(signed: Scene) -> None:
    """Damaged, oversized or no documents at all: an error, and nothing that draws on the terminal."""
    pristine = signed.registry.snapshot()
    manifest = signed.manifest()
    provenance = signed.layers()[media.PROVENANCE_PATH]
    for digest in (manifest["config"]["digest"], provenance):
        for data in (b"", b"{", b"\x1b[2J" * 50, b" " * (5 * 1024 * 1024)):
            signed.repository.overwrite(digest, data)
            ran = run("inspect", str(signed.reference))
            assert ran.code == 14
            assert "\x1b" not in ran.err + ran.out
            signed.registry.restore(pristine)


def test_a_list_of_tags_that_never_ends(signed: Scene) -> None:
    signed.repository.tags.update({f"t{number}": str(signed.subject().digest) for number in range(50)})
    signed.registry.switches.page_size = 5
    assert len(run("list", signed.reference.name).out.split()) == 51
    for links, code in (("loop", 75), ("cross-host", 75)):
        signed.registry.switches.links = links  # type: ignore[assignment]
        assert run("list", signed.reference.name).code == code
    assert signed.registry.count(server="storage") == 0
