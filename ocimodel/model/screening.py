"""A look into the files before anything is sent: the headers of weights, and what should not be pushed at all.

Guarantees: after `screen`, each ``.safetensors`` and ``.gguf`` file is what its name says, with data for every
tensor; no file is a Git LFS pointer that stands for bytes which were never fetched; no private key goes out with
the model by mistake. Names of other kinds are not judged: a ``.bin`` may be anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath

from ocimodel.errors import FormatError, UsageError
from ocimodel.model import gguf, safetensors
from ocimodel.model.header import Header
from ocimodel.model.reading import ReadAt, random_access, read_small
from ocimodel.model.scan import ModelFile

PARSERS: Mapping[str, Callable[[ReadAt, int], Header]] = {
    ".safetensors": safetensors.parse,
    ".gguf": gguf.parse,
}
"""By the ending of the name. Each takes ``read_at`` and the file's size, which may as well be far away."""

_LFS = b"version https://git-lfs.github.com/spec/"
_LFS_MOST = 1024
"""Git LFS specification: pointer files are smaller."""
_KEY_NAMES = frozenset({"id_rsa", "id_ecdsa", "id_ed25519", "id_dsa"})
_KEY_ENDINGS = frozenset({".key", ".pem", ".p8", ".pk8"})
_KEY = b" PRIVATE KEY-----"
_KEY_MOST = 64 * 1024


def screen(files: Iterable[ModelFile]) -> dict[str, Header]:
    """The headers of the weight files that have one we understand, by path.

    Raises:
        FormatError: a file is not what it claims to be, or a pointer to itself; the message names it.
        UsageError: a file is a private key.
    """
    headers: dict[str, Header] = {}
    for file in files:
        name = PurePosixPath(file.path)
        ending = name.suffix.lower()
        if file.size < _LFS_MOST and file.role not in ("code", "doc"):
            _refuse_pointer(file)
        if ending in _KEY_ENDINGS or name.name in _KEY_NAMES:
            _refuse_key(file)
        if parser := PARSERS.get(ending):
            headers[file.path] = _header(file, parser)
    return headers


def _header(file: ModelFile, parser: Callable[[ReadAt, int], Header]) -> Header:
    try:
        with random_access(file) as read_at:
            return parser(read_at, file.size)
    except FormatError as error:
        raise FormatError(
            error.what,
            path=file.path,
            hint="The file is damaged or was not fetched to its end: get it again, or leave it out.",
        ) from None


def _refuse_pointer(file: ModelFile) -> None:
    if read_small(file, len(_LFS)) == _LFS:
        raise FormatError(
            "this is a Git LFS pointer, not the file itself",
            path=file.path,
            hint="Fetch what it points to (git lfs pull), then push again.",
        )


def _refuse_key(file: ModelFile) -> None:
    if file.size <= _KEY_MOST and _KEY in read_small(file, _KEY_MOST):
        raise UsageError(
            f"{file.path} is a private key; it would be published with the model",
            hint="Move it out of the directory, or name it in .ocimodelignore.",
        )
