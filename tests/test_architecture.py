"""The house: a module imports from lower floors and from its own room only.

0 errors jsonio yamlio   1 oci attest   2 model keys stores   3 record transfer trust   4 verbs   5 audit metrics
6 cli demo

Rooms of one floor leave each other alone, but for two steps: jsonio raises errors, and the attestation
documents name digests and media types of oci.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "ocimodel"
FLOORS: dict[str, float] = {
    "errors": 0,
    "jsonio": 0.5,
    "yamlio": 0.5,
    "oci": 1,
    "attest": 1.5,
    "model": 2,
    "keys": 2,
    "stores": 2,
    "record": 3,
    "transfer": 3,
    "trust": 3,
    "verbs": 4,
    "audit": 5,
    "metrics": 5,
    "cli": 6,
    "demo": 6,
    "__main__": 7,
}
ONLY_IN = {
    "cryptography": {"keys"},
    "securesystemslib": {"keys"},
    "sigstore": {"keys"},
    "tuf": {"stores"},
    "pkcs11": {"keys"},
    "boto3": {"keys"},
    "botocore": {"keys"},
    "google": {"keys"},
    "azure": {"keys"},
    "hvac": {"keys"},
    "urllib3": {"stores"},
    "requests": {"stores"},
    "http.client": {"stores"},
    "urllib.request": {"stores"},
    "oras": {"stores"},
    "docker": {"stores"},
    "filelock": {"stores", "transfer", "trust", "audit"},
    "typer": {"cli"},
    "rich": {"cli"},
}
MAX_LINES = 400
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every import, also those inside functions; ``from a import b`` as ``a.b``."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative imports hide the floor"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def problems(path: Path) -> Iterator[str]:
    room = room_of(path)
    for line, name in imports(path):
        where = f"{path.relative_to(PACKAGE.parent)}:{line}: {name}"
        top, _, rest = name.partition(".")
        if top == "ocimodel":
            other = rest.split(".")[0]
            if other in FLOORS and other != room and FLOORS[other] >= FLOORS[room]:
                yield f"{where} (floor {FLOORS[other]:g}) from {room} (floor {FLOORS[room]:g})"
        for library, rooms in ONLY_IN.items():
            if f"{name}.".startswith(f"{library}.") and room not in rooms:
                yield f"{where} belongs to {', '.join(sorted(rooms))}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        return
    assert room_of(path) in FLOORS, "a new room needs a floor"
    assert list(problems(path)) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_fits_in_the_head(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_there_is_something_to_check() -> None:
    assert {room_of(path) for path in MODULES} >= {"errors", "jsonio", "oci", "stores"}


def test_the_check_notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys").mkdir()
    bad = tmp_path / "keys" / "bad.py"
    bad.write_text(
        "import urllib3.util\n"
        "from ocimodel.stores.layout import LayoutStore\n"
        "from ocimodel import trust\n"
        "from ocimodel.oci import media\n"
        "def late():\n    import ocimodel.verbs.push\n"
    )
    monkeypatch.setattr("tests.test_architecture.PACKAGE", tmp_path)
    assert len(list(problems(bad))) == 4
