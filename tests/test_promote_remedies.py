"""What somebody is told to do whose promotion was refused, or who verifies what was promoted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import Ran, run


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that was promoted twice: 1.0, then 2.0."""
    monkeypatch.chdir(tmp_path)
    for name in ("builder", "promoter"):
        assert run("key", "generate", name, "--no-password").code == 0
    keys = ("--key", "builder.pub", "--promoter", "promoter.pub")
    policy = run("policy", "init", *keys, "--environment", "prod", "--scope", "oci:**")
    Path("prod.json").write_text(policy.out)
    Path("model").mkdir()
    for number in (1, 2):
        Path("model/config.json").write_text(f'{{"number": {number}}}')
        assert run("push", "model", f"oci:dev:v{number}", "--key", "builder.key").code == 0
        assert promoted(number, "--version", f"{number}.0").code == 0
    return tmp_path


def promoted(number: int, *more: str, key: str = "promoter.key") -> Ran:
    return run("promote", f"oci:dev:v{number}", "oci:prod:stable", "--policy", "prod.json", "--key", key, *more)


def hint(ran: Ran, code: int) -> str:
    assert ran.code == code, ran.err
    return ran.err.splitlines()[-1]


@pytest.mark.usefixtures("site")
def test_each_refusal_says_what_to_do() -> None:
    assert "whom the policy" in hint(promoted(2, key="builder.key"), 12)
    assert "Choose another --version" in hint(promoted(2, "--version", "1.0"), 19)
    assert "--rollback --reason" in hint(promoted(1), 19)
    assert promoted(1, "--rollback", "--reason", "2.0 is slow").code == 0


def test_a_directory_is_judged_under_the_name_that_is_said(site: Path) -> None:
    judged = ("--policy", "prod.json")
    assert run("pull", "oci:prod:stable", "-o", "out", *judged).code == 0
    assert "--as HOST/REPOSITORY" in hint(run("verify", "out", *judged), 19)
    assert run("verify", "out", *judged, "--as", f"oci:{site}/prod").code == 0
    assert "--as" not in hint(run("verify", "out", *judged, "--as", "oci:/elsewhere"), 19)


def test_without_a_chain_status_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "--environments FILE" in hint(run("promote", "status"), 2)
