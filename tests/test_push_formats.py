"""``push --format``: one command packs, uploads and signs in each format; what cannot be signed is not sent."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.scene import write_model
from tests.certificates import Made, Wish, ca, chain, pem, recent
from tests.commands import Ran, run


def fresh(**wishes: Any) -> Wish:
    return Wish(**{**recent(), **wishes})


class Place:
    """A directory to push, a layout to push it to, and a signer with a chain."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = write_model(folder / "model")
        self.layout = folder / "layout"
        self.made = chain(ca("root", number=1, **recent()), fresh())
        self.certificates = self.chain(self.made)
        self.key = self.made[0].write_key(folder / "leaf.key")
        self.public = folder / "leaf.pub"
        self.public.write_bytes(self.made[0].signer.public.to_pem())

    def chain(self, certificates: tuple[Made, ...]) -> Path:
        path = self.folder / f"chain-{len(list(self.folder.glob('chain-*')))}.pem"
        path.write_bytes(pem(certificates))
        return path

    def push(self, *words: str | Path, key: Path | None = None) -> Ran:
        return run("push", self.model, f"oci:{self.layout}:v1", "--key", key or self.key, *words, "--json")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("name", ["sigstore", "notation", "cosign-legacy", "oms"])
def test_each_format_is_what_verify_sees_and_is_made_once(place: Place, name: str) -> None:
    words: list[str | Path] = ["--format", name, "-a", "team=risk", "--expires", "90d"]
    words += ["--certificate", place.certificates] if name == "notation" else []
    first = place.push(*words)
    assert first.code == 0, first.err
    assert [item["format"] for item in first.document["signers"]] == [name]
    verified = run("verify", f"oci:{place.layout}:v1", "--key", place.public, "--json")
    assert verified.code == 0, verified.err
    (signer,) = verified.document["signers"]
    assert (signer["format"], signer["status"]) == (name, "good")
    assert signer["claims"]["team"] == "risk"
    again = place.push(*words)
    assert again.code == 0
    assert again.document["digest"] == first.document["digest"]
    assert again.document["signature"] == {**first.document["signature"], "created": False}


def refusals(place: Place) -> dict[str, tuple[list[str | Path], int]]:
    other = chain(ca("root", number=1, **recent()), fresh(number=5))
    unfit = chain(ca("root", number=1, **recent()), fresh(kind="ed25519"))
    gone: dict[str, Any] = {"since": datetime(2025, 1, 1, tzinfo=UTC), "until": datetime(2025, 6, 1, tzinfo=UTC)}
    late = chain(ca("root", number=1, **gone), fresh(**gone))
    late_key, unfit_key = (
        made[0].write_key(place.folder / f"{number}.key") for number, made in enumerate((late, unfit))
    )
    return {
        "unknown": (["--format", "pgp"], 2),
        "no certificate": (["--format", "notation"], 2),
        "a certificate too many": (["--certificate", place.certificates], 2),
        "another key's": (["--format", "notation", "--certificate", place.chain(other)], 2),
        "out of order": (["--format", "notation", "--certificate", place.chain(place.made[:1])], 13),
        "expired": (["--format", "notation", "--certificate", place.chain(late), "--key", late_key], 15),
        "no such key": (["--format", "oms", "--key", unfit_key], 2),
    }


@pytest.mark.parametrize(
    "case",
    [
        "unknown",
        "no certificate",
        "a certificate too many",
        "another key's",
        "out of order",
        "expired",
        "no such key",
    ],
)
def test_what_cannot_be_signed_is_not_sent(place: Place, case: str) -> None:
    words, code = refusals(place)[case]
    ran = place.push(*words)
    assert ran.code == code, ran.err
    assert not place.layout.exists()


@pytest.mark.parametrize("words", [["--format", "notation"], ["--certificate", "chain.pem"]])
def test_a_format_without_a_key_is_not_taken_for_signed(place: Place, words: list[str]) -> None:
    ran = run("push", place.model, f"oci:{place.layout}:v1", *words)
    assert ran.code == 2
    assert "need a key" in ran.err
    assert not place.layout.exists()
