"""Decoding of pickle opcodes, protocols 0 to 5 (PEP 307, PEP 3154, PEP 574), with a bound on every length.

Nothing here knows what an opcode does. Bytes come from a buffered window on a `RangeSource`; a text or byte string longer
than `MAX_TEXT` is stepped over, not read, since no name of a tensor is that long.
"""

from __future__ import annotations

import struct
from typing import Final

from provenance_gate.artifact.ranges import RangeSource
from provenance_gate.errors import MalformedFileError

MAX_TEXT = 4096
"""Bytes of the longest string that is kept."""
MAX_LINE = 1024
"""Bytes of the longest line argument (protocol 0)."""
MAX_LONG = 255
"""Bytes of the longest integer that is kept: all that the short form can hold."""
_BUFFER = 1 << 16

Argument = object
"""None, bool, int, float, str, a pair of str, or `SKIPPED`."""


class Skipped:
    """Stands for a string or number of the file that was not kept."""

    __slots__ = ()


SKIPPED: Final = Skipped()


class ByteStream:
    """Bytes [begin, end) of a source, read forward through one small buffer."""

    def __init__(self, source: RangeSource, begin: int, end: int) -> None:
        self.name = source.name
        self._source, self.begin, self._end = source, begin, end
        self._buffer, self._base, self._next = b"", begin, 0

    @property
    def at(self) -> int:
        """Offset of the next byte within the source."""
        return self._base + self._next

    @property
    def offset(self) -> int:
        """Offset of the next byte within the window."""
        return self._base + self._next - self.begin

    def take(self, size: int) -> bytes:
        """The next `size` bytes; `size` is small. Raises MalformedFileError at the end of the window."""
        stop = self._next + size
        if stop > len(self._buffer):
            self._refill(size)
            stop = size
        data = self._buffer[self._next : stop]
        self._next = stop
        return data

    def _refill(self, size: int) -> None:
        at = self.at
        if size > self._end - at:
            raise MalformedFileError(
                f"{self.name}: pickle ends within an instruction at byte {self.offset}; is it cut?"
            )
        self._buffer = self._source.read(at, min(max(size, _BUFFER), self._end - at))
        self._base, self._next = at, 0

    def skip(self, size: int) -> None:
        """Step over `size` bytes without reading them."""
        if size > self._end - self.at:
            raise MalformedFileError(
                f"{self.name}: pickle: {size} bytes announced at byte {self.offset}, {self._end - self.at} are left"
            )
        if self._next + size <= len(self._buffer):
            self._next += size
        else:
            self._base, self._next, self._buffer = self.at + size, 0, b""

    def line(self) -> bytes:
        """The next line of at most `MAX_LINE` bytes, without its line break."""
        for size in (128, MAX_LINE + 1):
            size = min(size, self._end - self.at)
            if self._next + size > len(self._buffer):
                self._refill(size)
            found = self._buffer.find(b"\n", self._next, self._next + size)
            if found >= 0:
                line = self._buffer[self._next : found]
                self._next = found + 1
                return line
        raise MalformedFileError(f"{self.name}: pickle: no line break within {MAX_LINE} bytes of byte {self.offset}")


class Decoder:
    """The instructions of one stream, one after the other."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream

    def next(self) -> tuple[str, Argument]:
        """Name and argument of the next instruction. Raises MalformedFileError for bytes that are none."""
        stream = self.stream
        code = stream.take(1)
        plain = _PLAIN.get(code)
        if plain is not None:
            return plain, None
        number = _NUMBERS.get(code)
        if number is not None:
            name, size, signed = number
            return name, int.from_bytes(stream.take(size), "little", signed=signed)
        text = _SIZED.get(code)
        if text is not None:
            name, size = text
            return name, self._sized(name, int.from_bytes(stream.take(size), "little"))
        line = _LINES.get(code)
        if line is not None:
            return line, self._lines(line)
        if code == b"G":
            return "BINFLOAT", struct.unpack(">d", stream.take(8))[0]
        raise MalformedFileError(f"{stream.name}: pickle: byte {stream.offset - 1} (0x{code[0]:02x}) is no instruction")

    def _sized(self, name: str, size: int) -> Argument:
        stream = self.stream
        if name in ("LONG1", "LONG4"):
            if size > MAX_LONG:
                stream.skip(size)
                return SKIPPED
            return int.from_bytes(stream.take(size), "little", signed=True)
        if name not in _TEXTS or size > MAX_TEXT:
            stream.skip(size)
            return SKIPPED
        at = stream.offset
        return self._text(stream.take(size), at)

    def _lines(self, name: str) -> Argument:
        stream = self.stream
        at = stream.offset
        first = self._text(stream.line(), at)
        if name in ("GLOBAL", "INST"):
            return first, self._text(stream.line(), at)
        if name in ("INT", "LONG", "GET", "PUT"):
            if name == "INT" and first in ("00", "01"):
                return first == "01"
            digits = first.removesuffix("L") if name == "LONG" else first
            bare = digits.removeprefix("-")
            if not (bare.isascii() and bare.isdigit() and len(bare) <= 80):
                raise MalformedFileError(f"{stream.name}: pickle: {name} at byte {at} is no whole number")
            return int(digits)
        if name == "FLOAT":
            return SKIPPED
        if name == "STRING":
            if len(first) < 2 or first[0] != first[-1] or first[0] not in "\"'":
                raise MalformedFileError(f"{stream.name}: pickle: STRING at byte {at} without quotes")
            first = first[1:-1]
        # Escapes and bytes beyond ASCII would need one more decoder; no writer of checkpoints puts names in this form.
        return first if first.isascii() and "\\" not in first else SKIPPED

    def _text(self, raw: bytes, at: int) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedFileError(f"{self.stream.name}: pickle: text at byte {at} is not UTF-8") from error


_PLAIN = {
    b".": "STOP", b"(": "MARK", b"0": "POP", b"1": "POP_MARK", b"2": "DUP", b"N": "NONE", b"Q": "BINPERSID",
    b"R": "REDUCE", b"a": "APPEND", b"b": "BUILD", b"d": "DICT", b"}": "EMPTY_DICT", b"e": "APPENDS", b"l": "LIST",
    b"]": "EMPTY_LIST", b"o": "OBJ", b"s": "SETITEM", b"t": "TUPLE", b")": "EMPTY_TUPLE", b"u": "SETITEMS",
    b"\x81": "NEWOBJ", b"\x85": "TUPLE1", b"\x86": "TUPLE2", b"\x87": "TUPLE3", b"\x88": "NEWTRUE", b"\x89": "NEWFALSE",
    b"\x8f": "EMPTY_SET", b"\x90": "ADDITEMS", b"\x91": "FROZENSET", b"\x92": "NEWOBJ_EX", b"\x93": "STACK_GLOBAL",
    b"\x94": "MEMOIZE", b"\x97": "NEXT_BUFFER", b"\x98": "READONLY_BUFFER",
}  # fmt: skip
_NUMBERS = {
    b"J": ("BININT", 4, True), b"K": ("BININT1", 1, False), b"M": ("BININT2", 2, False), b"h": ("BINGET", 1, False),
    b"j": ("LONG_BINGET", 4, False), b"q": ("BINPUT", 1, False), b"r": ("LONG_BINPUT", 4, False),
    b"\x80": ("PROTO", 1, False), b"\x82": ("EXT1", 1, False), b"\x83": ("EXT2", 2, False), b"\x84": ("EXT4", 4, True),
    b"\x95": ("FRAME", 8, False),
}  # fmt: skip
"""Instruction, bytes of its number, whether it is signed."""
_SIZED = {
    b"T": ("BINSTRING", 4), b"U": ("SHORT_BINSTRING", 1), b"X": ("BINUNICODE", 4), b"\x8c": ("SHORT_BINUNICODE", 1),
    b"\x8d": ("BINUNICODE8", 8), b"B": ("BINBYTES", 4), b"C": ("SHORT_BINBYTES", 1), b"\x8e": ("BINBYTES8", 8),
    b"\x96": ("BYTEARRAY8", 8), b"\x8a": ("LONG1", 1), b"\x8b": ("LONG4", 4),
}  # fmt: skip
"""Instruction, bytes of the length that comes before its content."""
_TEXTS = frozenset({"BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"})
_LINES = {
    b"F": "FLOAT", b"I": "INT", b"L": "LONG", b"P": "PERSID", b"S": "STRING", b"V": "UNICODE", b"c": "GLOBAL",
    b"g": "GET", b"i": "INST", b"p": "PUT",
}  # fmt: skip
