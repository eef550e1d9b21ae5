"""What a pickle would import when it is loaded: read from its opcodes, never by loading.

Guarantees: nothing is imported, built or allocated by what the bytes say; at most `MAX_STEPS` opcodes of a stream
are looked at, and their arguments only where they are names. A name that this cannot follow (taken from the stack
by a way that no pickler writes, or from the registry of extensions) is told as such and counts as dangerous.

`HARMLESS` are the names that PyTorch, NumPy and the standard library write for plain data. `DANGEROUS` are modules
whose names run code of somebody's choosing. What is in neither is told as unknown.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from ocimodel.model.opcodes import Walk
from ocimodel.model.reading import ReadAt

Danger = Literal["harmless", "unknown", "dangerous"]

MAX_STEPS: Final = 4_000_000
MAX_NAME: Final = 4096
UNREAD: Final = "?"
"""In place of a name that could not be followed."""

_GLOBAL, _INST, _STACK_GLOBAL, _STOP = ord("c"), ord("i"), 0x93, ord(".")
_EXTENSIONS: Final = frozenset(b"\x82\x83\x84")
_TEXTS: Final = {ord("X"): 4, 0x8C: 1, 0x8D: 8, ord("T"): 4, ord("U"): 1}
"""Opcodes that push text, with the bytes of its length."""
_LINES: Final = frozenset(b"SV")
_PUTS: Final = {ord("q"): 1, ord("r"): 4}
_GETS: Final = {ord("h"): 1, ord("j"): 4}
_MEMOIZE, _PUT, _GET = 0x94, ord("p"), ord("g")

_DATA: Final = """
argparse: Namespace
builtins __builtin__: bool bytearray bytes complex dict float frozenset int list long object range set slice str
builtins __builtin__: tuple unicode
_codecs: encode
collections: Counter OrderedDict defaultdict deque
copyreg copy_reg: _reconstructor
datetime: date datetime time timedelta timezone
decimal: Decimal
fractions: Fraction
numpy.core.multiarray numpy._core.multiarray: _reconstruct scalar
numpy.core.numeric numpy._core.numeric: _frombuffer
numpy: bool bool_ complex128 complex64 dtype float16 float32 float64 int16 int32 int64 int8 ndarray str_
numpy: uint16 uint32 uint64 uint8
numpy.dtypes: BoolDType Float16DType Float32DType Float64DType Int32DType Int64DType UInt8DType
pathlib: Path PosixPath PurePosixPath
torch: BFloat16Storage BoolStorage ByteStorage CharStorage ComplexDoubleStorage ComplexFloatStorage DoubleStorage
torch: FloatStorage HalfStorage IntStorage LongStorage QInt32Storage QInt8Storage QUInt8Storage ShortStorage
torch: Size Tensor bfloat16 bool complex128 complex64 device dtype float16 float32 float64 float8_e4m3fn float8_e5m2
torch: int16 int32 int64 int8 qint32 qint8 quint8 uint8
torch._tensor: _rebuild_from_type_v2
torch._utils: _rebuild_meta_tensor_no_storage _rebuild_parameter _rebuild_parameter_with_state _rebuild_qtensor
torch._utils: _rebuild_sparse_tensor _rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3
torch.nn.parameter: Buffer Parameter
torch.storage: TypedStorage UntypedStorage
uuid: UUID
"""
HARMLESS: Final = frozenset(
    f"{module}.{name}"
    for modules, _, names in (line.partition(":") for line in _DATA.strip().splitlines())
    for module in modules.split()
    for name in names.split()
)

_CODE: Final = """
IPython __builtin__ _ctypes _operator _pickle _posixsubprocess _socket aiohttp asyncio bdb builtins cPickle cProfile
cffi cloudpickle code codeop commands ctypes dill distutils doctest ensurepip fileinput ftplib gc http httplib
idlelib imp importlib inspect ipykernel joblib jupyter keras.utils lib2to3 logging marshal multiprocessing nt ntpath
numpy.distutils numpy.f2py numpy.load numpy.testing operator os pandas.io pdb pickle pip pkgutil posix posixpath
profile pty requests runpy setuptools shelve shutil signal site smtplib socket socketserver ssl subprocess sys
sysconfig telnetlib tensorflow.io timeit torch.distributed torch.hub torch.jit torch.load torch.package
torch.serialization torch.storage torch.utils trace types urllib urllib2 urllib3 venv webbrowser zipimport
"""
DANGEROUS: Final = frozenset(_CODE.split())
"""Modules, and functions; what lies below one counts with it, unless it is in `HARMLESS`."""

_ANYWHERE: Final = frozenset(
    {"os", "sys", "posix", "subprocess", "builtins", "importlib", "pty", "runpy", "ctypes", "socket", "shutil"}
)
"""Modules that are dangerous also where another one has imported them."""


def judge(name: str) -> Danger:
    """What ``name``, as MODULE.NAME, is known as."""
    if name in HARMLESS:
        return "harmless"
    parts = name.split(".")
    if UNREAD in parts or any(".".join(parts[:length]) in DANGEROUS for length in range(1, len(parts) + 1)):
        return "dangerous"
    if any(part.removeprefix("_") in _ANYWHERE or part.startswith("__") for part in parts):
        return "dangerous"
    return "unknown"


class Imports(NamedTuple):
    """The ``names`` that are imported, each as MODULE.NAME.

    ``complete``: the first pickle was looked at to its end. (What follows it may be data that only begins like a
    pickle; the names that it would import are told all the same.)
    """

    names: frozenset[str]
    complete: bool
    steps: int


def imported(read_at: ReadAt, size: int, steps: int = MAX_STEPS) -> Imports:
    """What the pickles at the beginning of a file import, one pickle after another.

    Args:
        steps: opcodes that may be looked at; the result has how many were.
    """
    reader = _Reader(read_at, size, steps)
    end = first = reader.read(0)
    while end is not None and reader.begins(end):
        end = reader.read(end)
    return Imports(frozenset(reader.names), first is not None, steps - reader.left)


class _Reader:
    """Follows texts, and nothing else, from where they are pushed to where they become a name."""

    def __init__(self, read_at: ReadAt, size: int, steps: int) -> None:
        self._walk = Walk(read_at, size)
        self.left = steps
        self.names: set[str] = set()

    def begins(self, position: int) -> bool:
        """Whether another pickle of protocol 2 or later begins here."""
        start = self._walk.take(position, 2)
        return len(start) == 2 and start[0] == 0x80 and start[1] <= 5

    def read(self, position: int) -> int | None:
        """Where the pickle that begins at ``position`` ends; None where it cannot be followed to its end."""
        memo: dict[int, str] = {}
        recent: list[str] = []  # what the last opcodes pushed, as long as they pushed texts
        while self.left > 0:
            self.left -= 1
            opcode = self._walk.byte(position)
            end = None if opcode is None else self._walk.end_of(position, opcode)
            if opcode is None or end is None:
                return None
            if opcode == _STOP:
                return end
            if opcode in (_GLOBAL, _INST):
                self._add(*self._lines(position, end))
                recent = []
            elif opcode == _STACK_GLOBAL:
                self._add(*(recent[-2:] if len(recent) > 1 else (UNREAD, UNREAD)))
                recent = []
            elif opcode in _EXTENSIONS:
                self._add(UNREAD, UNREAD)
                recent = []
            else:
                recent = self._texts(opcode, position, end, memo, recent)
            position = end
        return None

    def _texts(self, opcode: int, position: int, end: int, memo: dict[int, str], recent: list[str]) -> list[str]:
        if (text := self._pushed(opcode, position, end)) is not None:
            return [*recent[-1:], text]
        top = recent[-1] if recent else UNREAD
        if opcode == _MEMOIZE:
            memo[len(memo)] = top
        elif (slot := self._number(opcode, position, end, _PUTS, _PUT)) is not None:
            memo[slot] = top
        elif (slot := self._number(opcode, position, end, _GETS, _GET)) is not None:
            return [*recent[-1:], memo.get(slot, UNREAD)]
        elif opcode not in (0x80, 0x95):  # PROTO and FRAME leave the stack alone
            return []
        return recent

    def _pushed(self, opcode: int, position: int, end: int) -> str | None:
        if (width := _TEXTS.get(opcode)) is not None:
            start = position + 1 + width
        elif opcode in _LINES:
            start, end = position + 1, end - 1
        else:
            return None
        if end - start > MAX_NAME:
            return UNREAD
        text = self._walk.take(start, end - start).decode("utf-8", "replace")
        if opcode in _LINES and "\\" in text:
            return UNREAD  # an escape that no pickler writes into a name
        return text[1:-1] if opcode == ord("S") else text

    def _number(self, opcode: int, position: int, end: int, widths: dict[int, int], by_line: int) -> int | None:
        if (width := widths.get(opcode)) is not None:
            return int.from_bytes(self._walk.take(position + 1, width), "little")
        if opcode != by_line:
            return None
        digits = self._walk.take(position + 1, min(end - position - 2, 20))
        return int(digits) if digits.isdigit() else -1

    def _lines(self, position: int, end: int) -> tuple[str, str]:
        text = self._walk.take(position + 1, min(end - position - 2, 2 * MAX_NAME)).decode("utf-8", "replace")
        module, _, name = text.partition("\n")
        return module, name

    def _add(self, module: str, name: str) -> None:
        # A name with dots in it is looked up step by step, from an attribute to the next.
        self.names.add(f"{module}.{name}"[: 2 * MAX_NAME])
