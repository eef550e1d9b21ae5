import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimodel.errors import FormatError, IntegrityError, OcimodelError, UnsafePathError
from ocimodel.model import group
from ocimodel.model.group import members
from ocimodel.model.scan import ModelFile, scan
from ocimodel.model.tarball import archive_size, header, open_archive
from tests.models import weights

CONTENTS = {
    "README.md": b"hello\n",
    "a/empty": b"",
    "a/" + "é" * 60: b"long name",
    "block": bytes(512),
    "z" * 100: b"x",
}


def fill(root: Path, contents: dict[str, bytes]) -> tuple[ModelFile, ...]:
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return scan(root)


def archive(files: tuple[ModelFile, ...]) -> bytes:
    with open_archive(files) as stream:
        return stream.read()


def unpacked(data: bytes) -> dict[str, bytes]:
    return {member.path: b"".join(member.blocks()) for member in members(io.BytesIO(data))}


def tar(*entries: tarfile.TarInfo | tuple[str, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as file:
        for entry in entries:
            info, content = entry if isinstance(entry, tuple) else (entry, b"")
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
                info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return out.getvalue()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


# --- writing ---------------------------------------------------------------


def test_golden(tmp_path: Path) -> None:
    files = fill(tmp_path, CONTENTS)
    data = archive(files)
    assert len(data) == archive_size(files)
    assert hashlib.sha256(data).hexdigest() == "54586a80cc73778935989ee2c44df50b910978bbc7386082dac142c1d1aff7ba"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    assert unpacked(archive(fill(tmp_path, CONTENTS))) == CONTENTS


def test_pythons_tar_and_gnus_understand_it(tmp_path: Path) -> None:
    data = archive(fill(tmp_path / "in", CONTENTS))
    with tarfile.open(fileobj=io.BytesIO(data)) as file:
        infos = file.getmembers()
        assert {info.name: file.extractfile(info).read() for info in infos} == CONTENTS  # type: ignore[union-attr]
    for info in infos:
        assert (info.mode, info.mtime, info.uid, info.gid, info.uname, info.gname) == (0o644, 0, 0, 0, "", "")
        assert info.isreg()
    if shutil.which("tar"):
        out = tmp_path / "out"
        out.mkdir()
        subprocess.run(["tar", "-x", "-C", str(out)], input=data, check=True)
        assert archive(scan(out)) == data


def test_pythons_tar_writes_the_same(tmp_path: Path) -> None:
    """A second implementation of the form; but for the padding at the end, which is a custom of tapes."""
    data = archive(fill(tmp_path, CONTENTS))
    theirs = tar(*unpacked(data).items(), form=tarfile.GNU_FORMAT)
    assert theirs.rstrip(b"\0") == data.rstrip(b"\0")


def test_order_times_and_modes_of_the_disk_do_not_matter(tmp_path: Path) -> None:
    files = fill(tmp_path, CONTENTS)
    data = archive(files)
    for number, file in enumerate(files):
        os.utime(file.location, (number, number))
        file.location.chmod(0o600 if number % 2 else 0o755)
    assert archive(scan(tmp_path)) == data


@pytest.mark.parametrize("step", [1, 511, 512, 513, 4096])
def test_it_can_be_read_in_any_steps_and_again(tmp_path: Path, step: int) -> None:
    files = fill(tmp_path, CONTENTS)
    for _ in range(2):
        with open_archive(files) as stream:
            assert b"".join(iter(lambda: stream.read(step), b"")) == archive(files)


def test_a_member_that_changes_is_noticed(tmp_path: Path) -> None:
    files = fill(tmp_path, CONTENTS)
    (tmp_path / "block").write_bytes(bytes(511))
    with pytest.raises(IntegrityError, match="block changed"):
        archive(files)


def test_giving_up_halfway_leaves_nothing_open(tmp_path: Path) -> None:
    files = fill(tmp_path, {"big": weights(3 * 2**20)})
    before = len(os.listdir("/proc/self/fd"))
    with open_archive(files) as stream:
        stream.read(2**20)
        assert len(os.listdir("/proc/self/fd")) == before + 1
    assert len(os.listdir("/proc/self/fd")) == before


NAMES = st.text(st.sampled_from("abcé漢-_. "), min_size=1, max_size=80).map(lambda text: f"f{text}f")


@given(st.dictionaries(NAMES, st.binary(max_size=1200), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_any_files(contents: dict[str, bytes]) -> None:
    with TemporaryDirectory() as directory:
        files = fill(Path(directory), contents)
        data = archive(files)
        assert len(data) == archive_size(files)
        assert len(data) % 512 == 0
        assert unpacked(data) == contents
        assert list(unpacked(data)) == sorted(contents, key=str.encode)


# --- reading ---------------------------------------------------------------


LONG, SPLIT = "d/" * 20 + "x" * 120, "d/" * 40 + "y" * 80
FORMS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


@pytest.mark.parametrize(
    ("form", "name"),
    # ustar has no room for LONG
    [
        (form, name)
        for form in FORMS
        for name in ("a/b.bin", "é漢.bin", SPLIT, LONG)
        if (form, name) != (FORMS[0], LONG)
    ],
)
def test_archives_of_others(form: int, name: str) -> None:
    directory = special("sub", tarfile.DIRTYPE)
    assert unpacked(tar(directory, (name, b"1234"), ("z", b""), form=form)) == {name: b"1234", "z": b""}


def test_times_of_pax_only_describe() -> None:
    info = tarfile.TarInfo("a")
    info.mtime, info.uname, info.size = 1.5, "é", 1
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as file:
        file.addfile(info, io.BytesIO(b"x"))
    assert unpacked(out.getvalue()) == {"a": b"x"}


def test_members_can_be_read_in_any_order_and_again(tmp_path: Path) -> None:
    found = list(members(io.BytesIO(archive(fill(tmp_path, CONTENTS)))))
    for member in [*reversed(found), *found]:
        assert b"".join(member.blocks()) == CONTENTS[member.path]


def pax(records: dict[str, str], kind: bytes = tarfile.XHDTYPE) -> bytes:
    body = b""
    for key, value in records.items():
        rest = f" {key}={value}\n".encode()
        length = len(rest) + len(str(len(rest)))
        length = len(rest) + len(str(length))
        body += str(length).encode() + rest
    return block("PaxHeader", kind, len(body)) + body + bytes(-len(body) % 512)


def block(name: str, kind: bytes, size: int = 0, *, link: str = "") -> bytes:
    info = special(name, kind, link)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT)


END = bytes(1024)
FILE = header("a", 1) + b"x" + bytes(511)
BAD: dict[str, tuple[bytes, type[OcimodelError], str]] = {
    "absolute": (tar(("/etc/passwd", b"x")), UnsafePathError, "unsafe"),
    "upwards": (tar(("../evil", b"x")), UnsafePathError, "unsafe"),
    "upwards, later": (tar(("ok", b"x"), ("a/../../evil", b"x")), UnsafePathError, "unsafe"),
    "upwards, by pax": (pax({"path": "../evil"}) + FILE + END, UnsafePathError, "unsafe"),
    "upwards, by a long name": (
        block("L", b"L", 8) + b"../evil\0" + bytes(504) + FILE + END,
        UnsafePathError,
        "unsafe",
    ),
    "upwards, by a prefix": (tar(("../" + "x" * 90 + "/" + "y" * 90, b"x")), UnsafePathError, "unsafe"),
    "a dot": (tar(("./a", b"x")), UnsafePathError, "unsafe"),
    "backslash": (tar(("a\\..\\b", b"x")), UnsafePathError, "unsafe"),
    "no name": (tar(("", b"x")), UnsafePathError, "unsafe"),
    "a device's name": (tar(("COM1", b"x")), UnsafePathError, "unsafe"),
    "ours": (tar((".ocimodel-tmp-1/x", b"x")), UnsafePathError, "keeps for itself"),
    "a directory upwards": (tar(special("../x", tarfile.DIRTYPE)), UnsafePathError, "unsafe"),
    "a directory with content": (block("d/", b"5", 512) + bytes(512) + END, FormatError, "directory with content"),
    "twice": (tar(("a", b"x"), ("a", b"y")), UnsafePathError, "one name"),
    "twice but for case": (tar(("a", b"x"), ("A", b"y")), UnsafePathError, "one name"),
    "file and directory": (tar(("a", b"x"), ("a/b", b"y")), UnsafePathError, "both"),
    "symbolic link": (tar(special("a", tarfile.SYMTYPE, "/etc")), FormatError, "symbolic link"),
    "hard link": (tar(special("a", tarfile.LNKTYPE, "b")), FormatError, "hard link"),
    "hard link to a long name": (
        tar(special("a", tarfile.LNKTYPE, "b" * 200), form=tarfile.GNU_FORMAT),
        FormatError,
        "link",
    ),
    "file with a link's target": (block("a", b"0", link="b") + END, FormatError, "target of a link"),
    "block device": (tar(special("a", tarfile.BLKTYPE)), FormatError, "device"),
    "character device": (tar(special("a", tarfile.CHRTYPE)), FormatError, "device"),
    "pipe": (tar(special("a", tarfile.FIFOTYPE)), FormatError, "pipe"),
    "contiguous": (tar(special("a", tarfile.CONTTYPE)), FormatError, "contiguous"),
    "sparse": (tar(special("a", tarfile.GNUTYPE_SPARSE)), FormatError, "sparse"),
    "sparse, by pax": (pax({"GNU.sparse.realsize": "1000000000000"}) + FILE + END, FormatError, "not understood"),
    "global extension": (pax({"path": "b"}, tarfile.XGLTYPE) + FILE + END, FormatError, "global"),
    "extended attributes": (
        pax({"SCHILY.xattr.security.capability": "x"}) + FILE + END,
        FormatError,
        "not understood",
    ),
    "link by pax": (pax({"linkpath": "/etc"}) + FILE + END, FormatError, "not understood"),
    "negative size, by pax": (pax({"size": "-1"}) + FILE + END, FormatError, "absurd"),
    "huge size, by pax": (pax({"size": "9" * 20}) + FILE + END, FormatError, "absurd"),
    "size in other digits": (pax({"size": "\u0661"}) + FILE + END, FormatError, "absurd"),
    "two extensions at odds": (pax({"path": "b"}) + pax({"path": "c"}) + FILE + END, FormatError, "contradict"),
    "pax and a long name": (
        pax({"path": "b"}) + block("L", b"L", 2) + b"c\0" + bytes(510) + FILE + END,
        FormatError,
        "contr",
    ),
    "extension for nothing": (pax({"path": "b"}) + END, FormatError, "without a file"),
    "oversized extension": (block("x", b"x", 20_000) + bytes(20_480) + END, FormatError, "oversized"),
    "extension too short": (block("x", b"x", 4) + b"9 a=" + bytes(508) + FILE + END, FormatError, "malformed"),
    "extension of nothing": (block("x", b"x", 4) + b"0 a=" + bytes(508) + FILE + END, FormatError, "malformed"),
    "extension without a key": (
        block("x", b"x", 5) + b"5 ab\n" + bytes(507) + FILE + END,
        FormatError,
        "malformed",
    ),
    "extension of text": (block("x", b"x", 4) + b"abcd" + bytes(508) + FILE + END, FormatError, "malformed"),
    "name not UTF-8": (block("L", b"L", 2) + b"\xff\0" + bytes(510) + FILE + END, FormatError, "UTF-8"),
    "unknown kind": (tar(special("a", b"Z")), FormatError, "unknown kind"),
    "volume header": (tar(special("a", b"V")), FormatError, "unknown kind"),
    "wrong check sum": (FILE[:100] + b"9" + FILE[101:] + END, FormatError, "check sum"),
    "no tar at all": (bytes(range(256)) * 8, FormatError, "no tar header"),
    "a gzip": (b"\x1f\x8b" + bytes(2046), FormatError, "no tar header"),
    "v7, which has no mark": (FILE[:257] + bytes(255) + FILE[512:] + END, FormatError, "no tar header"),
    "size beyond the file": (header("a", 4096) + END, FormatError, "does not have"),
    "size of 2^62": (
        header("a", 1)[:124] + b"\x80" + bytes(10) + b"\x01" + header("a", 1)[136:],
        FormatError,
        "check sum",
    ),
    "cut within a header": (FILE + END[:100], FormatError, "too early"),
    "cut after a file": (FILE, FormatError, "too early"),
    "one block at the end": (FILE + END[:512], FormatError, "no proper end"),
    "something behind": (FILE + END + b"x", FormatError, "after its end"),
    "an archive behind": (FILE + END + FILE + END, FormatError, "after its end"),
    "an archive after one zero block": (FILE + END[:512] + FILE + END, FormatError, "after its end"),
    "zeros without an end": (FILE + bytes(2 * 2**20), FormatError, "no proper end"),
    "empty": (b"", FormatError, "too early"),
}


@pytest.mark.parametrize("name", BAD)
def test_dangers(name: str) -> None:
    data, error, message = BAD[name]
    with pytest.raises(error, match=message):
        next(members(io.BytesIO(data)))


def number(value: bytes) -> bytes:
    """A header whose size field is ``value``, with the right check sum."""
    raw = bytearray(header("a", 0))
    raw[124:136] = value.ljust(12, b"\0")
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


@pytest.mark.parametrize(
    "size",
    [
        b"\xff" * 12,
        b"\x80" + b"\xff" * 11,
        b"-1",
        b"8",
        b"0x1",
        b"1 1",
        b"",
        b"77777777777777"[:12],
        b"\x80" + bytes(4) + b"\x01",
    ],
)
def test_sizes_that_are_none(size: bytes) -> None:
    with pytest.raises(FormatError, match=r"number|absurd|does not have"):
        list(members(io.BytesIO(number(size) + END)))


def test_a_size_beyond_octal_is_understood() -> None:
    assert next(members(io.BytesIO(number(b"\x80" + bytes(11)) + END))).size == 0


def test_nothing_is_yielded_before_all_is_checked() -> None:
    data = tar(*((f"f{n}", b"x") for n in range(50)), special("link", tarfile.SYMTYPE, "/etc"))
    with pytest.raises(FormatError):
        next(members(io.BytesIO(data)))


def test_too_many_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "MAX_MEMBERS", 9)
    with pytest.raises(FormatError, match="more than 9"):
        list(members(io.BytesIO(tar(*((f"f{n}", b"") for n in range(10))))))


def test_an_archive_that_shrinks_is_noticed() -> None:
    file = io.BytesIO(tar(("a", bytes(3000))))
    (member,) = members(file)
    file.truncate(1000)
    with pytest.raises(FormatError, match="ends within a"):
        list(member.blocks())


def flip(data: bytes, position: int, bit: int) -> bytes:
    damaged = bytearray(data)
    damaged[position] ^= 1 << bit
    return bytes(damaged)


def safe(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/")


@pytest.mark.parametrize(
    "make", [lambda: tar(("a/b", b"1"), ("c", b"2")), lambda: pax({"path": "long"}) + FILE + END]
)
def test_each_flipped_bit_of_the_headers_is_refused_or_harmless(make: Callable[[], bytes]) -> None:
    data = make()
    for position in range(min(len(data), 1536)):
        for bit in (0, 5, 7):
            try:
                found = unpacked(flip(data, position, bit))
            except (FormatError, UnsafePathError):
                continue
            assert all(safe(name) for name in found)
