"""The fuzz targets over their seeds, and over copies of them that chance damaged; and what hostile headers cost.

`make fuzz` runs the same targets for longer, guided by what the code does.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.make_seeds import seeds
from tests.fuzz.targets import TARGETS

SEEDS = Path(__file__).parent / "fuzz" / "seeds"
FILES = sorted(path for path in SEEDS.rglob("*") if path.is_file())
ROUNDS = 150


def test_the_seeds_are_those_that_are_made() -> None:
    made = seeds()
    assert {name.partition("/")[0] for name in made} == TARGETS.keys()
    for name, data in made.items():
        assert (SEEDS / name).read_bytes() == data, "python -m tests.fuzz.make_seeds"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SEEDS)))
def test_a_seed_and_its_damaged_copies(path: Path) -> None:
    target = TARGETS[path.parent.name]
    whole = path.read_bytes()
    target(whole)
    chance = random.Random(path.name)
    for _ in range(ROUNDS):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data) + 1)
            end = at + chance.choice((0, 1, 1, 4, 8))
            data[at:end] = chance.choice(
                (b"", b"\xff" * 8, bytes(8), chance.randbytes(1), bytes(data[:16]), b"\x1b")
            )
        target(bytes(data))


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=400))
@settings(max_examples=60)
def test_noise(name: str, data: bytes) -> None:
    TARGETS[name](data)


LIMITED = """
import json, resource, struct, sys
from ocimodel.errors import FormatError
from ocimodel.model import gguf, safetensors
resource.setrlimit(resource.RLIMIT_CPU, (40, 40))
def text(value): return struct.pack("<Q", len(value)) + value
def many(): return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(b"k") + struct.pack("<I", 9)
def pack(raw, data=b""): return struct.pack("<Q", len(raw)) + raw + data
T = b'{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
hostile = {
    "length 2^63": (safetensors, struct.pack("<Q", 2**63) + b"{}"),
    "10^6 keys": (safetensors, pack(b"{" + b",".join(b'"%d":%b' % (n, T) for n in range(10**6)) + b"}")),
    "deep objects": (safetensors, pack(b'{"a":' * 10**6)),
    "deep arrays": (safetensors, pack(b'{"a":{"shape":' + b"[" * 10**7)),
    "not UTF-8": (safetensors, pack(b'{"' + b"\\xff" * 10**7 + b'":{}}')),
    "a huge text": (safetensors, pack(b'{"__metadata__":{"a":"' + b"x" * 10**7 + b'"}')),
    "overlap": (safetensors, pack(b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},'
                                  b'"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}', b"123")),
    "out of range": (safetensors, pack(b'{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}', b"123")),
    "array of 2^63 strings": (gguf, many() + struct.pack("<IQ", 8, 2**63)),
    "array of 5 * 10^6 strings": (gguf, many() + struct.pack("<IQ", 8, 5 * 10**6) + bytes(8 * 5 * 10**6)),
    "arrays in arrays": (gguf, many() + struct.pack("<IQ", 9, 1) * 10**6),
    "10^6 arrays in an array": (gguf, many() + struct.pack("<IQ", 9, 5 * 10**6) + bytes(12 * 10**6)),
    "a text of 2^62": (gguf, many()[:-4] + struct.pack("<IQ", 8, 2**62)),
    "a text of 20 MB": (gguf, many()[:-4] + struct.pack("<I", 8) + text(b"x" * 20_000_000)),
    "2^63 tensors": (gguf, b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0)),
}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
resource.setrlimit(resource.RLIMIT_AS, (peak + 700_000_000, resource.RLIM_INFINITY))
for name, (format, data) in hostile.items():
    try:
        format.parse(lambda offset, length: data[offset : offset + length], len(data))
    except FormatError as error:
        assert len(str(error)) < 400, name
    else:
        sys.exit(f"accepted: {name}")
print(len(hostile))
"""


def test_hostile_headers_are_refused_within_limits() -> None:
    """In a process that may use 40 seconds of a processor in all, and so much memory, and not a byte more."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=SEEDS.parents[2],
    )
    assert (done.returncode, done.stdout.strip()) == (0, "15"), done.stderr[-2000:]
