"""The stores that the contract is held over, and a second process that writes to one of them.

python -m tests.store_backends KIND LOCATION SUBJECT START COUNT
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ocimodel.oci import media
from ocimodel.oci.descriptor import Descriptor
from ocimodel.oci.digest import Digest
from ocimodel.oci.manifest import manifest_bytes
from ocimodel.oci.reference import Reference
from ocimodel.stores.http.policy import Patience
from ocimodel.stores.layout import LayoutStore
from ocimodel.stores.protocol import Source, Store
from ocimodel.stores.registry import open_registry

ROOT = Path(__file__).resolve().parent.parent
TYPE = "application/vnd.example.note"
EMPTY = Descriptor(media_type=media.OCI_EMPTY, digest=Digest.of(b"{}"), size=2)


@dataclass(frozen=True)
class Backend:
    """``open`` gives one more handle on the same repository, ``other`` one on a neighbouring repository.

    ``racing`` gives handles that are as patient with other writers as they are outside of tests.
    """

    kind: str
    location: str
    open: Callable[[], Store]
    other: Callable[[], Store]
    racing: Callable[[], Store]

    def process(self, subject: Digest, start: int, count: int) -> subprocess.Popen[bytes]:
        """Another process that attaches notes to ``subject``. None may be lost."""
        arguments = [self.kind, self.location, str(subject), str(start), str(count)]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.store_backends", *arguments], cwd=ROOT, env=dict(os.environ)
        )


def layout_store(path: str) -> Store:
    return LayoutStore(Path(path), create=True)


def registry_store(location: str, settle: float = 0.15) -> Store:
    """``HOST/REPOSITORY``, and after a blank more hosts that speak plain HTTP (a realm)."""
    name, *hosts = location.split()
    reference = Reference.parse(name)
    patience = Patience(first_delay=0.02, max_delay=0.1, stall=20.0, settle=settle)
    return open_registry(reference, plain_http=frozenset({reference.registry, *hosts}), patience=patience)


OPENERS: dict[str, Callable[[str], Store]] = {"layout": layout_store, "registry": registry_store}


def put_empty(store: Store) -> None:
    store.put_blob(Source.of(b"{}"), EMPTY.digest)


def put_note(store: Store, subject: Descriptor, text: str, kind: str = TYPE) -> Descriptor:
    """Attach a manifest that says ``text``."""
    raw = manifest_bytes(
        config=EMPTY, layers=[EMPTY], artifact_type=kind, subject=subject, annotations={"note": text}
    )
    return store.put_manifest(raw, media.OCI_MANIFEST)


def put_model(store: Store, text: str = "model", tag: str | None = None) -> Descriptor:
    """A manifest without a subject."""
    put_empty(store)
    raw = manifest_bytes(config=EMPTY, layers=[EMPTY], annotations={"text": text})
    return store.put_manifest(raw, media.OCI_MANIFEST, tag=tag)


def main() -> None:
    kind, location, subject, start, count = sys.argv[1:]
    store = OPENERS[kind](location)
    target = store.resolve(subject)
    for number in range(int(start), int(start) + int(count)):
        put_note(store, target, str(number))
    store.close()


if __name__ == "__main__":
    main()
