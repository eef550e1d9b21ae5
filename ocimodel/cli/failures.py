"""From any exception to an error of ours: each has an exit code, one line that says what, one what next."""

from __future__ import annotations

import errno

from ocimodel.errors import OcimodelError, StorageError, UnavailableError, UsageError

INTERRUPTED = 130
TERMINATED = 143

_DISK = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EIO,
        errno.EFBIG,
        errno.EMFILE,
        errno.ENFILE,
        errno.EACCES,
        errno.EPERM,
        errno.ENAMETOOLONG,
    }
)


class Stop(KeyboardInterrupt):
    """A signal asked this process to end. ``code`` is what it then exits with."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


class InterruptedRun(OcimodelError):
    """Somebody pressed Ctrl-C."""

    exit_code = INTERRUPTED
    klass = "availability"
    reason = "interrupted"
    hint = "Run the same command again; what was checked so far is kept."


class TerminatedRun(InterruptedRun):
    """The process was asked to end (SIGTERM)."""

    exit_code = TERMINATED
    reason = "terminated"


class Unexpected(OcimodelError):
    """A bug."""

    klass = "unexpected"
    reason = "bug"
    hint = "This is a bug. Run again with --debug and report what it prints."


def interrupted(code: int) -> OcimodelError:
    """The error of a run that a signal ended."""
    return TerminatedRun("terminated") if code == TERMINATED else InterruptedRun("interrupted")


def describe(error: BaseException) -> OcimodelError:
    """What `error` means to whoever called the command."""
    if isinstance(error, OcimodelError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return interrupted(error.code if isinstance(error, Stop) else INTERRUPTED)
    if isinstance(error, EOFError):
        return UsageError("the input ended before an answer was given", hint="Run it on a terminal.")
    if isinstance(error, (ConnectionError, TimeoutError)):
        return UnavailableError(f"the connection failed: {_first_line(error)}")
    if isinstance(error, OSError) and error.errno in _DISK:
        name = f" ({error.filename})" if error.filename else ""
        return StorageError(f"{error.strerror}{name}")
    return Unexpected(f"unexpected {type(error).__name__}: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else "no message"
