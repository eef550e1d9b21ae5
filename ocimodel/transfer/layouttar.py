"""An OCI image layout in one tar, the same bytes on every machine.

Guarantees: the archive is a pure function of the names and contents of its members: sorted by name, mode 0644, no
times, no owners, nothing after the end. So every byte of it is either a member's content or what it must be, and
`check_form` refuses any other: a reader that then checks the contents has checked all. Links, devices, unsafe names
and whatever else tar knows are refused before that by `model.group`.

`write` puts members in place several at a time, each checked against its digest on the way; what an earlier run
left there is hashed, and kept where it is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BufferedReader
from typing import BinaryIO, cast

from ocimodel.errors import DigestMismatchError, FormatError
from ocimodel.model import group
from ocimodel.model.tarball import BLOCK, END, header
from ocimodel.oci.digest import Checked, Digest
from ocimodel.stores.protocol import Progress, Store, doubt
from ocimodel.transfer.meter import Meter
from ocimodel.transfer.parallel import run_all
from ocimodel.transfer.spans import Spans

WORKERS = 4
_READ = 512 * 1024
MAX_MEMBERS = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file of the archive: where its header stands, where its content, how many bytes it has."""

    name: str
    size: int
    start: int
    content: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is to be written: ``open`` gives the bytes, which have to be those of ``digest``.

    ``store``: where they come from; told where they are wrong, it may have others.
    """

    name: str
    size: int
    digest: Digest
    open: Callable[[], AbstractContextManager[BinaryIO]]
    store: Store | None = None


def lay_out(sizes: Sequence[tuple[str, int]]) -> tuple[list[Member], int]:
    """Where the members stand, by name, and how large the archive is.

    Raises:
        FormatError: there are more than readers take.
    """
    if len(sizes) > MAX_MEMBERS:
        raise FormatError(f"{len(sizes)} members are more than {MAX_MEMBERS}")
    members: list[Member] = []
    position = 0
    for name, size in sorted(sizes):
        content = position + len(header(name, size))
        members.append(Member(name=name, size=size, start=position, content=content))
        position = content + size + -size % BLOCK
    return members, position + len(END)


def write(spans: Spans, contents: Sequence[Content], meter: Meter) -> int:
    """Write the archive; how many bytes had to be read for it, the rest being there from an earlier run.

    Raises:
        DigestMismatchError: a source has other bytes than promised.
        OcimodelError: from the sources and the disk.
    """
    members, total = lay_out([(content.name, content.size) for content in contents])
    by_name = {content.name: content for content in contents}
    # All that is no content is written each time: an earlier run may have left something else there.
    for member in members:
        spans.write(member.start, header(member.name, member.size))
        spans.write(member.content + member.size, bytes(-member.size % BLOCK))
    spans.write(total - len(END), END)

    def put(member: Member, progress: Progress) -> int:
        content = by_name[member.name]
        if _is_there(spans, member, content, progress):
            return 0
        try:
            fill(member, content, progress)
        except DigestMismatchError as error:
            if content.store is None or not doubt(content.store, content.digest, error):
                raise
            progress(-member.size)
            fill(member, content, progress)
        return member.size

    def fill(member: Member, content: Content, progress: Progress) -> None:
        checked = Checked(content.digest, member.size, f"{content.digest}, which goes into {member.name},")
        with content.open() as file:
            while block := file.read(_READ):
                checked.update(block)
                spans.write(member.content + checked.count - len(block), block)
                progress(len(block))
        checked.finish()

    meter.begin("saving", sum(member.size for member in members))
    try:
        read = run_all(put, members, size=lambda member: member.size, workers=WORKERS, progress=meter.advance)
    finally:
        meter.end()
    return sum(read)


def _is_there(spans: Spans, member: Member, content: Content, progress: Progress) -> bool:
    """Whether an earlier run wrote the content. A hole, which is what a new file is, is not even hashed."""
    if not any(spans.read(member.content, min(member.size, BLOCK))):
        return False
    try:
        check(spans, member, content.digest)
    except DigestMismatchError:
        return False
    progress(member.size)
    return True


def check(spans: Spans, member: Member, digest: Digest, progress: Progress | None = None) -> None:
    """Raises `DigestMismatchError` where the content is not that of ``digest``."""
    checked = Checked(digest, member.size, f"the bundle's {member.name}")
    position = 0
    while position < member.size:
        block = spans.read(member.content + position, min(_READ, member.size - position))
        checked.update(block)
        position += len(block)
        if progress is not None:
            progress(len(block))
    checked.finish()


def read(spans: Spans) -> dict[str, Member]:
    """The members of an archive, by name, once every byte that is no content was checked.

    Raises:
        FormatError, UnsafePathError: it is not an archive as `write` writes it.
    """
    with BufferedReader(spans.file()) as file:
        found = [(member.path, member.size) for member in group.members(cast(BinaryIO, file))]
    members, total = lay_out(found)
    if total != spans.size or [name for name, _ in found] != [member.name for member in members]:
        raise FormatError("the archive is not as it was written: its members are not in order, or it was padded")
    for member in members:
        head = header(member.name, member.size)
        if spans.read(member.start, len(head)) != head:
            raise FormatError(f"the archive is not as it was written: the header of {member.name}")
        rest = -member.size % BLOCK
        if rest and any(spans.read(member.content + member.size, rest)):
            raise FormatError(f"the archive is not as it was written: something hides behind {member.name}")
    if spans.read(total - len(END), len(END)) != END:
        raise FormatError("the archive has no proper end")
    return {member.name: member for member in members}
