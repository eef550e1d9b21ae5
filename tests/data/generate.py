"""Makes what is in this directory; a rerun changes nothing. Run it as ``python -m tests.data.generate``.

    model/      a small model directory (`tests.models`), so that the goldens depend on our code alone
    vectors/    published test vectors of formats of our own
    golden/     what packing makes of it: the documents, byte for byte, and digests of what is larger

The goldens are a promise: the same files give the same digest with every version of ocimodel. Where they change,
the format has changed, and CHANGELOG says so.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from ocimodel.model.packing import Packed, Packing, prepare
from ocimodel.oci.digest import Digest
from tests.data.chunk_vector import vector
from tests.models import make_model, weights

HERE = Path(__file__).resolve().parent
MANY = 1200
"""Files of the grouped model, which is not kept here."""


def main(target: Path) -> None:
    make_model(target / "model", hidden=32, layers=1)
    golden = target / "golden"
    golden.mkdir(exist_ok=True)
    packed = pack(prepare(target / "model"))
    (golden / "manifest.json").write_bytes(packed.manifest)
    (golden / "config.json").write_bytes(packed.config)
    (golden / "provenance.json").write_bytes(packed.provenance)
    with TemporaryDirectory() as directory:
        grouped = pack(prepare(make_many(Path(directory))))
    digests = {
        "model": str(packed.digest),
        "grouped": str(grouped.digest),
        "groupedLayers": {
            layer.annotations["org.cncf.model.filepath"]: str(layer.digest)
            for layer in grouped.layers
            if not layer.media_type.endswith(".raw")
        },
    }
    (golden / "digests.json").write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")
    vectors = target / "vectors"
    vectors.mkdir(exist_ok=True)
    (vectors / "chunk-index.json").write_text(json.dumps(vector(), indent=2) + "\n", encoding="utf-8")


def make_many(directory: Path) -> Path:
    """A model of so many files that the small ones are grouped, one with a long name, one empty, one large."""
    for number in range(MANY):
        role = ("npy", "json", "md")[number % 3]
        path = directory / f"{number % 7}" / f"{number}.{role}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(weights(number, number))
    deep = directory / "/".join(["long"] * 30) / f"{'é' * 60}.npy"
    deep.parent.mkdir(parents=True)
    deep.write_bytes(b"x")
    (directory / "large.npy").write_bytes(weights(64 * 1024))
    return directory


def pack(packing: Packing) -> Packed:
    """Everything but the upload."""
    digests: list[Digest] = []
    for layer in packing.plan.layers:
        with layer.open() as stream:
            digests.append(Digest.of(stream.read()))
    return packing.finish(digests)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
