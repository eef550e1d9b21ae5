"""Where secrets are in memory no memory is written, and no message repeats what a key file holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ocimodel.keys import backend
from ocimodel.keys.algorithms import Algorithm
from ocimodel.keys.signer import LocalSigner
from tests.commands import events, make_world, run

ROOT = Path(__file__).resolve().parents[1]

STATE = """
import ctypes, resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
exec(sys.argv[1])
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)[0])
"""


def state_after(code: str, *argv: str) -> tuple[int, int]:
    """PR_GET_DUMPABLE and RLIMIT_CORE of a process that has run ``code``."""
    ran = subprocess.run(
        [sys.executable, "-c", STATE, code, *argv], capture_output=True, text=True, check=True, cwd=ROOT
    )
    dumpable, limit = map(int, ran.stdout.split()[-2:])
    return dumpable, limit


@pytest.fixture
def key(tmp_path: Path) -> Path:
    assert run("key", "generate", tmp_path / "k", "--no-password").code == 0
    return tmp_path / "k.key"


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_DUMPABLE is Linux's")
@pytest.mark.parametrize(
    "code",
    [
        "from ocimodel.keys.specs import load_signer; load_signer(sys.argv[2])",
        "from ocimodel.keys.specs import local_signer; local_signer(open(sys.argv[2], 'rb').read())",
        "from ocimodel.keys.files import generate; generate(sys.argv[2] + '2', None)",
        "from ocimodel.keys.passwords import password_from; password_from({'COSIGN_PASSWORD': 'x'})()",
        "from ocimodel.keys.passwords import new_password; new_password({'COSIGN_PASSWORD': 'x'}, lambda: None)",
        "from ocimodel.keys.passwords import from_file; from_file(__import__('pathlib').Path(sys.argv[2]))",
        # Also where the key is elsewhere, and whatever comes of it: its PIN or its token is here.
        "from ocimodel.keys.specs import load_signer\\ntry: load_signer('pkcs11:token=t')\\nexcept Exception: pass",
    ],
)
def test_whatever_sees_a_secret_shuts_the_process(code: str, key: Path) -> None:
    assert state_after(code.replace("\\n", "\n"), str(key)) == (0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_DUMPABLE is Linux's")
def test_who_only_verifies_stays_open(key: Path) -> None:
    """A serving process that checks signatures can be debugged as before."""
    dumpable, _ = state_after(
        "from ocimodel.keys.specs import load_public; assert load_public(sys.argv[2]).verify(b'', b'') is False",
        str(key.with_suffix(".pub")),
    )
    assert dumpable == 1


def test_a_crash_with_a_key_in_memory_leaves_no_core(key: Path, tmp_path: Path) -> None:
    crash = (
        "import os, resource, sys\n"
        "os.chdir(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)\n"
        "if len(sys.argv) > 2:\n"
        "    from ocimodel.keys.specs import load_signer\n"
        "    signer = load_signer(sys.argv[2])\n"
        "os.abort()\n"
    )

    def dumps(*argv: str) -> bool:
        """Whether the kernel says that it wrote one, wherever to."""
        command = [sys.executable, "-c", crash, str(tmp_path), *argv]
        child = os.posix_spawn(sys.executable, command, {**os.environ, "PYTHONPATH": str(ROOT)})
        return os.WCOREDUMP(os.waitpid(child, 0)[1])

    if not dumps():
        pytest.skip("nothing leaves a core file on this machine")
    assert not dumps(str(key))


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ed25519", "rsa-2048"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "label", "twice"])
def test_a_damaged_key_is_not_repeated(
    kind: str, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors of the libraries below quote their input now and then."""
    world = make_world(tmp_path)
    pem = LocalSigner(backend.generate(Algorithm(kind))).private_pem(None).decode()
    head, *body, tail = pem.splitlines()
    broken = {
        "cut": [head, *body[:-1], tail],
        "flipped": [head, *(line.swapcase() for line in body), tail],
        "label": [line.replace("PRIVATE", "RSA PRIVATE") for line in (head, *body, tail)],
        "twice": [head, *body, tail] * 2,
    }[damage]
    text = "\n".join(broken) + "\n"
    (tmp_path / "broken.key").write_text(text)
    monkeypatch.setenv("BROKEN", text)
    ran = [
        run(*command, *more)
        for spec in (str(tmp_path / "broken.key"), "env:BROKEN")
        for command in (
            ("sign", world.ref, "--key", spec),
            ("verify", world.ref, "--key", spec),
            ("key", "public", spec),
            ("key", "import", spec, str(tmp_path / "copy"), "--no-password"),
        )
        for more in (("--debug",), ("--json",))
    ]
    assert {one.code for one in ran} == {2}
    said = "".join(one.out + one.err for one in ran) + json.dumps(events())
    secrets = {line[start : start + 12] for line in body for start in range(len(line) - 12)}
    assert not [secret for secret in secrets if secret in said or secret.swapcase() in said]


def test_nothing_shows_a_private_key_by_itself(key: Path) -> None:
    from ocimodel.keys.specs import load_signer

    signer = load_signer(str(key))
    body = "".join(key.read_text().splitlines()[1:-1])
    shown = f"{signer!r} {signer} {vars(type(signer))}"
    assert signer.public.keyid in repr(signer)
    assert body[:24] not in shown
    with pytest.raises(TypeError):
        vars(signer)
