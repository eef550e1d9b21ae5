"""Whether bytes begin with a pickle: a walk over its opcodes (Python's Lib/pickle.py), which runs none of them.

Guarantees: nothing is imported, built or allocated by what the bytes say; at most `MAX_STEPS` opcodes and
`MAX_LINES` bytes of lines are looked at, and other arguments are stepped over. With a protocol's mark a few valid
opcodes decide. Without one (protocols 0 and 1, whose opcodes are letters, so that text may look like them) a
stack of kinds is kept, and only a stream that calls what it imports counts as a pickle, or one that is still a
valid stream of opcodes where the walk has to end.
"""

from __future__ import annotations

from typing import Final

from ocimodel.model.reading import ReadAt

HIGHEST: Final = 16
"""Protocols that are taken for one; today there are 0 to 5."""

MAX_STEPS: Final = 200_000
MAX_LINES: Final = 64 * 1024 * 1024
_ENOUGH: Final = 3
_WINDOW: Final = 64 * 1024

_FIXED: Final[dict[int, int]] = {
    **dict.fromkeys(b"()0.12NQRabdeostu]l}", 0),
    **dict.fromkeys(b"\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98", 0),
    **dict.fromkeys(b"Khq\x80\x82", 1),
    **dict.fromkeys(b"M\x83", 2),
    **dict.fromkeys(b"Jjr\x84", 4),
    **dict.fromkeys(b"G\x95", 8),
}
"""Opcodes whose argument has a fixed number of bytes."""

_COUNTED: Final[dict[int, int]] = {
    **dict.fromkeys(b"UC\x8a\x8c", 1),
    **dict.fromkeys(b"TBX\x8b", 4),
    **dict.fromkeys(b"\x8d\x8e\x96", 8),
}
"""Opcodes whose argument begins with its length, in so many bytes, little end first."""

_LINES: Final[dict[int, int]] = {**dict.fromkeys(b"FILPSVgp", 1), ord("c"): 2, ord("i"): 2}
"""Opcodes whose arguments are lines of text."""

_LONG = frozenset(b"FILPSV")
"""Of these, those whose line may be of any length."""

_NUMBERS: Final = {ord("I"): int, ord("L"): int, ord("F"): float, ord("g"): int, ord("p"): int}
_STOP = ord(".")
_MARK, _TEXT, _TUPLE, _GLOBAL, _VALUE, _ANY = "(stgv?"
_PUSH: Final = {
    **dict.fromkeys(b"INFJKMLGBCP]}\x88\x89\x8a\x8b\x8e\x8f\x96\x97", _VALUE),
    **dict.fromkeys(b"STUVX\x8c\x8d", _TEXT),
    **dict.fromkeys(b"hjg", _ANY),
    **dict.fromkeys(b"c\x82\x83\x84", _GLOBAL),
    ord(")"): _TUPLE,
    ord("("): _MARK,
}
_POP: Final = {0x85: (1, _TUPLE), 0x86: (2, _TUPLE), 0x87: (3, _TUPLE), ord("Q"): (1, _VALUE)}
"""How many values an opcode takes from the stack, and what it leaves there."""

_TO_MARK: Final = {
    **dict.fromkeys(b"t", _TUPLE),
    **dict.fromkeys(b"ld\x91", _VALUE),
    **dict.fromkeys(b"1eu\x90", ""),
}
_DROP: Final = {ord("0"): 1, ord("a"): 1, ord("s"): 2}
_PEEK = frozenset(b"pqr2\x94\x98")
_CALL: Final = {ord("R"): 2, 0x81: 2, 0x92: 3, ord("b"): 2}
_CALL_OF_MARK = frozenset(b"oi")


def is_pickle(read_at: ReadAt, size: int, *, whole: bool = True) -> bool:
    """Whether a file of ``size`` bytes begins with a pickle.

    Args:
        whole: ``size`` is the end of it; False where it goes on beyond what can be read.
    """
    walk = Walk(read_at, size)
    start = walk.take(0, 2)
    marked = len(start) == 2 and start[0] == 0x80 and start[1] <= HIGHEST
    stack = _Stack()
    position = 0
    for steps in range(1, MAX_STEPS + 1):
        opcode = walk.byte(position)
        if opcode is None:  # the end, before a STOP
            return marked or (not whole and steps > _ENOUGH)
        end = walk.end_of(position, opcode)
        if end is None:
            return False
        if marked and (opcode == _STOP or steps > _ENOUGH):
            return True
        if opcode == _STOP or not stack.apply(opcode):
            return False  # it ends without a call: harmless, and most likely plain text; or it cannot be run
        if stack.called:
            return end <= size
        position = end
    return True


class _Stack:
    """The unpickler's stack, with the kind of each value in place of the value."""

    def __init__(self) -> None:
        self._kinds: list[str] = []
        self._marks = 0
        self._imported = False
        self.called = False

    def apply(self, opcode: int) -> bool:
        """Do what ``opcode`` would do; False where the unpickler would fail."""
        kinds = self._kinds
        if (kind := _PUSH.get(opcode)) is not None:
            self._imported |= kind == _GLOBAL
            self._marks += kind == _MARK
            kinds.append(kind)
        elif opcode in _PEEK:
            if not kinds:
                return False
            if opcode == ord("2"):
                self._marks += kinds[-1] == _MARK
                kinds.append(kinds[-1])
        elif opcode == 0x93:  # STACK_GLOBAL
            if len(kinds) < 2 or not {*kinds[-2:]} <= {_TEXT, _ANY}:
                return False
            kinds[-2:] = _GLOBAL
            self._imported = True
        elif opcode in _TO_MARK or opcode in _CALL_OF_MARK:
            return self._to_mark(opcode)
        elif (count := _CALL.get(opcode)) is not None:
            if len(kinds) < count or kinds[-1] == _MARK:
                return False
            self._cut(count)
            kinds.append(_VALUE)
            self.called = self._imported
        else:
            count, left = _POP.get(opcode, (_DROP.get(opcode, 0), ""))
            if len(kinds) < count:
                return False
            self._cut(count)
            kinds += left
        return True

    def _cut(self, count: int) -> None:
        for _ in range(count):
            self._marks -= self._kinds.pop() == _MARK

    def _to_mark(self, opcode: int) -> bool:
        kinds = self._kinds
        if not self._marks:
            return False
        self._marks -= 1
        while kinds.pop() != _MARK:
            pass
        if opcode in _CALL_OF_MARK:
            kinds.append(_VALUE)
            self.called = self._imported or opcode == ord("i")
        else:
            kinds += _TO_MARK[opcode]
        return True


class Walk:
    """The opcodes of a file, by windows of its bytes: where each ends, without reading what need not be read."""

    def __init__(self, read_at: ReadAt, size: int) -> None:
        self._read_at = read_at
        self._size = size
        self._start = 0
        self._window = b""
        self._lines_left = MAX_LINES

    def take(self, position: int, length: int) -> bytes:
        if not self._start <= position or position + length > self._start + len(self._window):
            self._start = position
            self._window = self._read_at(position, min(max(length, _WINDOW), max(0, self._size - position)))
        offset = position - self._start
        return self._window[offset : offset + length]

    def byte(self, position: int) -> int | None:
        found = self.take(position, 1)
        return found[0] if found else None

    def end_of(self, position: int, opcode: int) -> int | None:
        """Where the next opcode stands; None where this is no opcode, or has no valid argument."""
        position += 1
        if (size := _FIXED.get(opcode)) is not None:
            return position + size
        if (width := _COUNTED.get(opcode)) is not None:
            return position + width + int.from_bytes(self.take(position, width), "little")
        if (count := _LINES.get(opcode)) is None:
            return None
        for _ in range(count):
            found = self._line(position, opcode)
            if found is None:
                return None
            position = found
        return position

    def _line(self, position: int, opcode: int) -> int | None:
        """Where the next line begins, if this one fits."""
        first = self.take(position, _WINDOW)
        stop = first.find(b"\n")
        if stop >= 0:
            return position + stop + 1 if _fits(opcode, first[:stop]) else None
        if opcode not in _LONG:
            return None
        while self._lines_left > 0 and (block := self.take(position, _WINDOW)):
            self._lines_left -= len(block)
            stop = block.find(b"\n")
            if stop >= 0:
                return position + stop + 1
            position += len(block)
        return None


def _fits(opcode: int, line: bytes) -> bool:
    """Whether a line is an argument that the unpickler would take."""
    text = line.decode("latin-1")
    if opcode in b"ci":
        return all(part.isidentifier() for part in text.split("."))
    if opcode == ord("S"):
        return len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    if (number := _NUMBERS.get(opcode)) is not None:
        try:
            number(text.removesuffix("L") if opcode == ord("L") else text)
        except ValueError:
            return False
    return True
