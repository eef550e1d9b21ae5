"""References: the grammar, and what other parsers let through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimodel.errors import UsageError
from ocimodel.oci.digest import Digest
from ocimodel.oci.reference import Reference

HEX = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("ghcr.io/a/b", "ghcr.io", "a/b", None, None),
        ("ghcr.io/a/b:v1", "ghcr.io", "a/b", "v1", None),
        (f"ghcr.io/a/b@{DIGEST}", "ghcr.io", "a/b", None, DIGEST),
        (f"ghcr.io/a/b:v1@{DIGEST}", "ghcr.io", "a/b", "v1", DIGEST),
        ("localhost/a", "localhost", "a", None, None),
        ("localhost:5000/a:1.0_x-y", "localhost:5000", "a", "1.0_x-y", None),
        ("registry:5000/a", "registry:5000", "a", None, None),
        ("127.0.0.1:5000/a/b/c/d", "127.0.0.1:5000", "a/b/c/d", None, None),
        ("[::1]:5000/a:x", "[::1]:5000", "a", "x", None),
        ("[2001:db8::1]/a", "[2001:db8::1]", "a", None, None),
        ("Host.Example/a__b/c.d/e--f/0", "Host.Example", "a__b/c.d/e--f/0", None, None),
        ("a.b/c:" + "t" * 128, "a.b", "c", "t" * 128, None),
    ],
)
def test_registry(text: str, registry: str, repository: str, tag: str | None, digest: str | None) -> None:
    reference = Reference.parse(text)
    assert (reference.registry, reference.repository, reference.tag) == (registry, repository, tag)
    assert reference.digest == (Digest.parse(digest) if digest else None)
    assert not reference.is_layout
    assert str(reference) == text
    assert reference.name == f"{registry}/{repository}"


@pytest.mark.parametrize(
    ("text", "path", "tag", "digest"),
    [
        ("oci:models", "models", None, None),
        ("oci:models:v1", "models", "v1", None),
        ("oci:/srv/models:v1", "/srv/models", "v1", None),
        (f"oci:./m@{DIGEST}", "./m", None, DIGEST),
        (f"oci:/m:v1@{DIGEST}", "/m", "v1", DIGEST),
        ("oci:/home/ada@example/m:v1", "/home/ada@example/m", "v1", None),
        ("oci:ada@home", "ada@home", None, None),
        (f"oci:/home/ada@example/m@{DIGEST}", "/home/ada@example/m", None, DIGEST),
        ("oci:a:b/c", "a:b/c", None, None),
        ("oci:a b/c ü", "a b/c ü", None, None),
    ],
)
def test_layout(text: str, path: str, tag: str | None, digest: str | None) -> None:
    reference = Reference.parse(text)
    assert (reference.path, reference.tag) == (path, tag)
    assert reference.digest == (Digest.parse(digest) if digest else None)
    assert reference.is_layout
    assert str(reference) == text


@pytest.mark.parametrize(
    "text",
    [
        # What oras.container.Container takes.
        "myhost/a/b",
        "ghcr.io/UPPER/x",
        "ghcr.io/a/../b",
        "ghcr.io/a@md5:zz",
        "ghcr.io/a@md5:d41d8cd98f00b204e9800998ecf8427e",
        "a/b",
        "model:v1",
        # What nothing should take.
        "",
        "ghcr.io",
        "ghcr.io/",
        "/a",
        "ghcr.io//a",
        "ghcr.io/a/",
        "ghcr.io/a//b",
        "ghcr.io/-a",
        "ghcr.io/a___b",
        "ghcr.io/a..b",
        "ghcr.io/a_.b",
        "ghcr.io/a b",
        "ghcr.io/a:",
        "ghcr.io/a:.x",
        "ghcr.io/a:-x",
        "ghcr.io/a:" + "t" * 129,
        "ghcr.io/a:x:y",
        "ghcr.io/a:x\n",
        "ghcr.io/a\n",
        "ghcr.io/ä",
        "ghcr.io/a:ä",
        f"ghcr.io/a@{DIGEST}x",
        f"ghcr.io/a@{DIGEST[:-1]}",
        f"ghcr.io/a@{DIGEST.upper()}",
        f"ghcr.io/a@{DIGEST}:v1",
        f"ghcr.io/a@{DIGEST}@{DIGEST}",
        "https://ghcr.io/a",
        "http://localhost:5000/a",
        "user:pass@ghcr.io/a",
        "user@ghcr.io/a",
        "ghcr.io:0/a",
        "ghcr.io:65536/a",
        "ghcr.io:x/a",
        "ghcr.io:/a",
        "ghcr.io:٣/a",
        "gh_cr.io/a",
        "-ghcr.io/a",
        "ghcr..io/a",
        "[::1/a",
        "[zz]/a",
        "[::1]x/a",
        "[::1]:/a",
        "[fe80::1%eth0]/a",
        "[::1%x?y]:80/a",
        "ghcr.io?x/a",
        "ghcr.io#x/a",
        "ghcr.io\\evil/a",
        "a.b/" + "c" * 252,
        "oci:",
        "oci::v1",
        "oci:a:b:c",
        "oci:a\0b",
        "oci:a:-x",
        "oci:a@sha256:12",
        "oci:a@md5:d41d8cd98f00b204e9800998ecf8427e",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Reference.parse(text)
    assert caught.value.hint.startswith("Write HOST")


ATOM = st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True)
COMPONENT = st.from_regex(r"[a-z0-9]{1,4}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
TAG = st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
DIGESTS = st.none() | st.binary().map(Digest.of)


@given(ATOM, st.integers(1, 65535), st.lists(COMPONENT, min_size=1, max_size=4), TAG, DIGESTS)
def test_round_trip(host: str, port: int, parts: list[str], tag: str | None, digest: Digest | None) -> None:
    reference = Reference(registry=f"{host}:{port}", repository="/".join(parts), tag=tag, digest=digest)
    assert Reference.parse(str(reference)) == reference


@given(st.text())
def test_any_text_is_a_reference_or_a_usage_error(text: str) -> None:
    for candidate in (text, f"oci:{text}", f"ghcr.io/{text}", f"{text}/a"):
        try:
            reference = Reference.parse(candidate)
        except UsageError:
            continue
        assert Reference.parse(str(reference)) == reference


def test_pinned_and_tagged() -> None:
    reference = Reference.parse("ghcr.io/a:v1")
    pinned = reference.at(Digest.parse(DIGEST))
    assert str(pinned) == f"ghcr.io/a:v1@{DIGEST}"
    assert str(reference.tagged("v2")) == "ghcr.io/a:v2"
    assert str(reference.tagged(None)) == "ghcr.io/a"
    with pytest.raises(UsageError):
        reference.tagged("no tag")
