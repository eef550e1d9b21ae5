"""Digests, and streams that are checked against them."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimodel.errors import DigestMismatchError, FormatError
from ocimodel.oci.digest import Checked, Digest

HEX = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@given(st.binary())
def test_round_trip(data: bytes) -> None:
    digest = Digest.of(data)
    assert Digest.parse(str(digest)) == digest
    assert digest.hex == hashlib.sha256(data).hexdigest()


def test_sha512() -> None:
    text = "sha512:" + hashlib.sha512(b"x").hexdigest()
    Digest.parse(text).check(b"x", "blob")


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEX,
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
        f"sha512:{HEX}",
        f"sha256-{HEX}",
        f"sha256:{HEX[:-1]}٣",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        f"blake3:{HEX}",
        "sha256:../../etc/passwd",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Digest.parse(text)


@given(st.lists(st.binary(max_size=20)))
def test_pieces_do_not_matter(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    checked = Checked(Digest.of(data), len(data), "blob")
    for piece in pieces:
        checked.update(memoryview(piece))
    checked.finish()
    assert checked.count == len(data)


@given(st.binary(min_size=1, max_size=50), st.data())
def test_any_other_bytes_are_noticed(data: bytes, draw: st.DataObject) -> None:
    other = draw.draw(st.binary(max_size=60).filter(lambda value: value != data))

    def read() -> None:
        checked = Checked(Digest.of(data), len(data), "blob")
        checked.update(other)
        checked.finish()

    with pytest.raises(DigestMismatchError, match="blob"):
        read()


def test_one_byte_too_many_is_noticed_at_once() -> None:
    checked = Checked(Digest.of(b"ab"), 2, "blob")
    checked.update(b"a")
    with pytest.raises(DigestMismatchError, match=r"expected 2 bytes, got more"):
        checked.update(b"bc")


def test_a_short_stream_says_how_short() -> None:
    checked = Checked(Digest.of(b"ab"), 2, "blob")
    checked.update(b"a")
    with pytest.raises(DigestMismatchError, match="expected 2 bytes, got 1"):
        checked.finish()
