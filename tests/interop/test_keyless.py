"""cosign and we agree about keyless bundles, under the same trusted root: which are good, and what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ocimodel.attest.referrer import attach
from ocimodel.attest.statement import signature_statement
from ocimodel.oci import media
from ocimodel.oci.reference import Reference
from ocimodel.stores.opening import Access, open_store
from ocimodel.verbs.attaching import store_attachment
from tests.commands import run
from tests.fulcio import ALICE, ISSUER, Sigstore
from tests.interop.conftest import pushed
from tests.real import peers
from tests.real.registry import RealRegistry
from tests.test_keyless import OURS, WRONG

pytestmark = pytest.mark.peer


def attached(reference: str, place: Path, by: Sigstore = OURS, **how: Any) -> None:
    """Attach a keyless signature; a policy that trusts Alice, and our trusted root, into ``place``."""
    where = Reference.parse(reference)
    with open_store(where, Access(plain_http=frozenset({where.registry}))) as store:
        subject = store.resolve(str(where.digest))
        bundle = by.sign(signature_statement(subject.digest), **how)
        store_attachment(store, subject, attach(bundle, subject, predicate_type=media.COSIGN_SIGN, keyid=""))
    (place / "root.json").write_bytes(OURS.trusted_root())
    document = {
        "version": 1,
        "identities": {"alice": {"issuer": ISSUER, "subject": ALICE, "trustedRootFile": "root.json"}},
        "scopes": [{"match": "**", "signatures": {"from": ["alice"]}}],
    }
    (place / "policy.json").write_text(json.dumps(document))


def verdicts(reference: str, place: Path) -> tuple[bool, bool]:
    """Whether cosign takes it, and whether we do."""
    who = ["--certificate-identity", ALICE, "--certificate-oidc-issuer", ISSUER]
    words: list[str | Path] = [
        "verify",
        "--trusted-root",
        place / "root.json",
        *who,
        "--allow-http-registry",
        reference,
    ]
    cosign = peers.run("cosign", *words, check=False)
    return cosign.returncode == 0, run("verify", reference, "--policy", place / "policy.json").code == 0


def test_a_good_one(registry: RealRegistry, model: Path, tmp_path: Path) -> None:
    reference = pushed(model, registry.fresh())
    attached(reference, tmp_path)
    assert verdicts(reference, tmp_path) == (True, True)


@pytest.mark.parametrize("identity", [{"subject": "bob@example.org"}, {"issuer": "https://x.example.org"}], ids=str)
def test_another_identity(
    distribution: RealRegistry, model: Path, tmp_path: Path, identity: dict[str, Any]
) -> None:
    reference = pushed(model, distribution.fresh())
    attached(reference, tmp_path, **identity)
    assert verdicts(reference, tmp_path) == (False, False)


def test_another_root(distribution: RealRegistry, model: Path, tmp_path: Path) -> None:
    reference = pushed(model, distribution.fresh())
    attached(reference, tmp_path, Sigstore())
    assert verdicts(reference, tmp_path) == (False, False)


LENIENT = {
    "another kind",
    "another version",
    "an entry with two signatures",
    "a time stamp that is none",
    "a log's name in another spelling",
}
"""What cosign 3.1.1 overlooks, since something else in the bundle suffices it."""


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong(distribution: RealRegistry, model: Path, tmp_path: Path, what: str) -> None:
    reference = pushed(model, distribution.fresh())
    attached(reference, tmp_path, **WRONG[what])
    assert verdicts(reference, tmp_path) == (what in LENIENT, False)
