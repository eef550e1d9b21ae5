"""Lists of referrers that hide, flood, loop, or do not come: no answer is never "no signature"."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ocimodel.oci import media
from tests.attacks import impatient
from tests.attacks.scene import Scene
from tests.hostile import Drop, Reply, Request, Stall
from tests.hostile.state import BUNDLE, OCI_INDEX, OCI_MANIFEST, digest_of, index_of
from tests.signers import ALICE

MODES = pytest.mark.parametrize("mode", ["api", "404"], ids=["api", "fallback-tag"])


def judging(scene: Scene) -> int:
    return impatient.verifying(scene.reference)


def flood(scene: Scene, mode: str, count: int = 10_000) -> None:
    """Garbage before and after what is there already, in the API or under the fallback tag."""
    subject = str(scene.subject().digest)
    old = scene.repository.referrers.pop(subject, {})
    scene.repository.garbage(subject, count // 2)
    scene.repository.referrers[subject].update(old)
    scene.repository.garbage(subject, count - count // 2, start=count)
    scene.registry.switches.referrers = mode  # type: ignore[assignment]
    if mode != "api":
        scene.registry.switches.manifest_limit = 16 * 1024 * 1024
        scene.repository.write_fallback(subject)
    scene.registry.forget()


# --- hiding ---------------------------------------------------------------------------------


@MODES
def test_a_registry_that_strips_referrers(signed: Scene, mode: str) -> None:
    signed.registry.switches.referrers = mode  # type: ignore[assignment]
    signed.registry.switches.strip_referrers = True
    assert signed.verify().code == 10
    ran = signed.pull("--json")
    assert ran.code == 10
    assert ran.document["reasons"][0]["reason"] == "unsigned"
    assert signed.asked_for(*signed.layers()) == 0
    assert signed.nothing_arrived()


def test_a_registry_that_hides_the_newest_signature(signed: Scene) -> None:
    """What it shows is judged; a fresh node cannot know of what it does not show."""
    signed.attach(ALICE, signed.subject(), claims={"second": "signature"})
    signed.registry.switches.hide_newest = 1
    ran = signed.verify("--json")
    assert ran.code == 0
    assert len(ran.document["signers"]) == 1
    signed.registry.switches.hide_newest = 2
    assert signed.verify().code == 10


@MODES
@pytest.mark.parametrize("kind", [media.OCI_EMPTY, "", "application/x-anything"])
def test_a_list_that_calls_the_signature_something_else(signed: Scene, mode: str, kind: str) -> None:
    """Types in lists are not to be believed, in either direction."""
    subject, good = str(signed.subject().digest), signed.signature()
    entry = signed.repository.referrers[subject][good]
    entry.pop("annotations")
    entry["artifactType"] = kind
    signed.registry.switches.referrers = mode  # type: ignore[assignment]
    if mode != "api":
        signed.repository.write_fallback(subject)
    assert signed.pull().code == 0


def test_a_listed_signature_of_another_subject(signed: Scene) -> None:
    """The list says that it refers to this model; its own manifest says to another one."""
    signed.push({"weights.bin": b"evil"}, signer=None, tag="v2")
    other, good = signed.repository.tags["v2"], signed.signature()
    listed = signed.repository.referrers.pop(str(signed.subject().digest))
    signed.repository.referrers[other] = listed
    signed.repository.tags["v1"] = other
    assert good in listed
    assert signed.pull().code == 12
    assert signed.nothing_arrived()


# --- flooding -------------------------------------------------------------------------------


@pytest.mark.timeout(120)
@MODES
def test_ten_thousand_garbage_referrers_beside_a_signature_that_names_the_key(signed: Scene, mode: str) -> None:
    flood(signed, mode)
    assert signed.verify().code == 0
    assert signed.pull().code == 0
    assert signed.registry.count("GET", "manifest") < 300


@pytest.mark.timeout(120)
@MODES
def test_ten_thousand_garbage_referrers_and_no_signature(scene: Scene, mode: str) -> None:
    scene.push(signer=None)
    flood(scene, mode)
    ran = scene.verify("--json")
    assert ran.code == 12
    assert ran.document["reasons"][0]["reason"] == "too-many"
    assert scene.pull().code == 12
    assert scene.asked_for(*scene.layers()) == 0
    assert scene.nothing_arrived()
    assert scene.registry.count("GET", "manifest") < 300


@pytest.mark.timeout(120)
def test_ten_thousand_garbage_referrers_hide_a_signature_that_names_nobody(scene: Scene) -> None:
    """A signature by other tools has no key in its descriptor. It may be hidden so, but nothing is let through."""
    scene.push(signer=None)
    scene.attach(ALICE, scene.subject(), keyid="")
    assert scene.verify().code == 0
    flood(scene, "api")
    assert scene.verify().code == 12


@pytest.mark.timeout(120)
def test_ten_thousand_garbage_referrers_that_all_name_the_key(signed: Scene) -> None:
    """The annotation is anybody's to write: it may cost the signature its place, never let garbage through."""
    subject = str(signed.subject().digest)
    signature = signed.signature()
    good = signed.repository.referrers.pop(subject)[signature]
    entries = signed.repository.garbage(subject, 10_000)
    for entry in entries:
        entry["annotations"] = {media.KEY_ID: ALICE.public.keyid}
    assert signed.verify().code in (12, 14)
    assert signed.pull().code in (12, 14)
    assert signed.nothing_arrived()
    signed.repository.referrers[subject] = {good["digest"]: good, **{entry["digest"]: entry for entry in entries}}
    assert signed.verify().code == 0


def test_garbage_of_every_shape_spoils_nothing(signed: Scene) -> None:
    """Entries that are no descriptors, manifests that are gone, none, or too large, bundles that are none."""
    subject = str(signed.subject().digest)
    repository = signed.repository
    repository.garbage(subject, 3)
    repository.garbage(subject, 3, start=10, real=False)
    repository.garbage(subject, 3, start=20, artifact_type="application/x-anything")
    for raw in (b"", b"{}", b"[]", b"\xff\xfe", b'{"a":1,"a":2}', b"x" * (5 * 1024 * 1024), b"[" * 100_000):
        digest = digest_of(raw)
        repository.manifests[digest] = type(repository.manifests[subject])(raw, OCI_MANIFEST)
        repository.referrers[subject][digest] = {
            "mediaType": OCI_MANIFEST,
            "digest": digest,
            "size": len(raw),
            "artifactType": BUNDLE,
            "annotations": {media.KEY_ID: ALICE.public.keyid},
        }
    for bundle in (b"", b"{}", b"null", b"\x00" * 1000, b'{"mediaType":"' + BUNDLE.encode() + b'"}'):
        signed.attach_bundle(bundle, keyid=ALICE.public.keyid)
    listed = repository.referrers[subject]
    nonsense: list[Any] = [None, 7, "text", [], {}, {"digest": "sha256:x"}, {"digest": None, "size": -1}]
    for number, entry in enumerate(nonsense):
        listed[f"nonsense-{number}"] = entry
    assert signed.verify().code == 0
    assert signed.pull().code == 0


def test_a_bundle_larger_than_all_that_is_read(signed: Scene) -> None:
    """Named, listed first, and 17 MiB: the good one behind it is still read."""
    subject = str(signed.subject().digest)
    good = signed.repository.referrers.pop(subject)
    signed.attach_bundle(b"{" + b" " * (17 * 1024 * 1024) + b"}", keyid=ALICE.public.keyid)
    signed.repository.referrers[subject].update(good)
    assert signed.verify().code == 0
    assert signed.registry.sent("blob") < 1024 * 1024


# --- not answering --------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "code"), [(503, 75), (401, 77), (403, 77)])
def test_without_an_answer_about_referrers_nothing_is_delivered(signed: Scene, status: int, code: int) -> None:
    """And it is never called unsigned."""
    signed.registry.fail(Reply(status), route="referrers")
    ran = signed.pull("--json")
    assert ran.code == code
    assert ran.document["class"] == "availability"
    assert signed.asked_for(*signed.layers()) == 0
    assert signed.nothing_arrived()


@pytest.mark.parametrize(
    ("status", "code"),
    [(408, 75), (429, 75), (500, 75), (502, 75), (503, 75), (504, 75), (401, 77), (403, 77)],
)
@pytest.mark.parametrize("where", ["referrers", "fallback-list", "manifest", "bundle"])
def test_any_part_of_the_evidence_that_does_not_come(signed: Scene, where: str, status: int, code: int) -> None:
    subject = str(signed.subject().digest)
    if where == "fallback-list":
        signed.registry.switches.referrers = "404"
        signed.repository.write_fallback(subject)
        target, route = subject.replace(":", "-"), "manifest"
    elif where == "referrers":
        target, route = subject, "referrers"
    elif where == "manifest":
        target, route = signed.signature(), "manifest"
    else:
        target, route = signed.bundle(), "blob"
    signed.registry.fail(Reply(status), route=route, target=target)
    assert judging(signed) == code


@pytest.mark.parametrize("where", ["referrers", "manifest", "blob"])
@pytest.mark.parametrize(
    "action", [Drop(), Drop(sent=10), Stall(seconds=30, sent=10)], ids=["reset", "cut", "stall"]
)
def test_connections_that_break_or_stall(signed: Scene, where: str, action: Drop | Stall) -> None:
    target = {"referrers": None, "manifest": signed.signature(), "blob": signed.bundle()}[where]
    signed.registry.fail(action, route=where, target=target)
    assert judging(signed) == 75


@pytest.mark.parametrize("mode", ["404", "400", "405", "303", "html"])
def test_a_registry_without_the_api_may_say_so_in_many_ways(signed: Scene, mode: str) -> None:
    """None of them may be taken for "unsigned" where the fallback tag has the signature."""
    signed.registry.switches.referrers = mode  # type: ignore[assignment]
    assert signed.verify().code == 10
    signed.repository.write_fallback(str(signed.subject().digest))
    assert signed.pull().code == 0


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"manifests":{}}', b'{"manifests":[],"manifests":[]}', b"\xff"], ids=repr
)
def test_a_list_that_is_no_list(signed: Scene, body: bytes) -> None:
    headers = {"Content-Type": OCI_INDEX}
    signed.registry.fail(Reply(200, headers, body), route="referrers")
    assert signed.verify().code in (10, 12, 14)
    assert signed.pull().code in (10, 12, 14)
    assert signed.nothing_arrived()


# --- never ending ---------------------------------------------------------------------------


def pages(answer: Callable[[int], tuple[bytes, str]]) -> Callable[[Request], Reply | None]:
    """Referrers whose page number N is ``answer(N)``: body and Link."""

    def on_request(request: Request) -> Reply | None:
        if request.route != "referrers":
            return None
        number = int(request.parameter("page") or 0)
        body, link = answer(number)
        return Reply(200, {"Content-Type": OCI_INDEX, "Link": f'<{link}>; rel="next"'}, body)

    return on_request


@pytest.mark.timeout(60)
def test_endless_pages(signed: Scene) -> None:
    path = f"/v2/{signed.reference.repository}/referrers/{signed.subject().digest}"
    signed.registry.on_request = pages(lambda number: (index_of([]), f"{path}?page={number + 1}"))
    assert signed.verify().code == 12
    assert signed.registry.count("GET", "referrers") <= 1000


@pytest.mark.timeout(60)
def test_endless_pages_of_garbage(signed: Scene) -> None:
    path = f"/v2/{signed.reference.repository}/referrers/{signed.subject().digest}"

    def page(number: int) -> tuple[bytes, str]:
        entries = [
            {
                "mediaType": OCI_MANIFEST,
                "digest": digest_of(f"{number}/{at}".encode()),
                "size": 9,
                "artifactType": BUNDLE,
            }
            for at in range(2000)
        ]
        return index_of(entries), f"{path}?page={number + 1}"

    signed.registry.on_request = pages(page)
    assert signed.verify().code == 12
    assert signed.registry.sent("referrers") <= 32 * 1024 * 1024


def test_pages_in_a_circle(signed: Scene) -> None:
    signed.repository.garbage(str(signed.subject().digest), 10)
    signed.registry.switches.page_size = 3
    signed.registry.switches.links = "loop"
    assert signed.pull().code == 75
    assert signed.registry.count("GET", "referrers") < 5
    assert signed.nothing_arrived()


def test_a_next_page_that_is_another_hosts(signed: Scene) -> None:
    """Nobody but the registry is asked, least of all with credentials."""
    signed.repository.garbage(str(signed.subject().digest), 10)
    signed.registry.switches.page_size = 3
    signed.registry.switches.links = "cross-host"
    assert signed.pull().code == 75
    assert signed.registry.count(server="storage") == 0
    assert signed.nothing_arrived()


def test_a_list_without_end(signed: Scene) -> None:
    """One page of more than is read of all of them."""
    padding = "x" * (17 * 1024 * 1024)
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "padding": padding}).encode()
    signed.registry.fail(Reply(200, {"Content-Type": OCI_INDEX}, body), route="referrers")
    assert signed.verify().code == 12


def test_a_signed_artifact_below_a_small_page_size(signed: Scene) -> None:
    """Honest pages are followed to the end."""
    subject = str(signed.subject().digest)
    good = signed.repository.referrers.pop(subject)
    signed.repository.garbage(subject, 50)
    signed.repository.referrers[subject].update(good)
    signed.registry.switches.page_size = 3
    assert signed.pull().code == 0
