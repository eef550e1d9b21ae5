"""Files that share their blocks: a copy that costs neither time nor room, where the file system can do that."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from contextlib import suppress
from pathlib import Path

_FICLONE = 0x40049409
"""ioctl_ficlonerange(2): btrfs, XFS, bcachefs, overlay above them, NFS 4.2 and others."""
_CANNOT = frozenset(
    {errno.EXDEV, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EBADF}
)


def clone(source: int, target: int) -> bool:
    """Give the file ``target`` all blocks of ``source``; False where that cannot be. Raises OSError."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _CANNOT:
            return False
        raise
    return True


def can_clone(source: Path, target: Path) -> bool:
    """Whether files in the folder ``source`` can be cloned into the folder ``target``. Tries it."""
    with (
        suppress(OSError),
        tempfile.TemporaryFile(dir=source) as one,
        tempfile.TemporaryFile(dir=target) as other,
    ):
        one.write(b"\0" * 65536)  # a file that is kept in its inode would not tell
        one.flush()
        return clone(one.fileno(), other.fileno())
    return False


def can_link(source: Path, target: Path) -> bool:
    """Whether files in the folder ``source`` can have a second name in the folder ``target``. Tries it."""
    with suppress(OSError), tempfile.NamedTemporaryFile(dir=source) as one:
        other = target / os.path.basename(one.name)
        os.link(one.name, other)
        other.unlink()
        return True
    return False
