"""What a parquet file states of its own sizes, read before a library takes memory for them.

The footer and the page headers are structs of Thrift's compact protocol. They are walked here and nothing else is: which
lines there are, and how large each page claims to become. Numbers of fields are those of ``parquet.thrift`` of the format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO

from provenance_gate.errors import RegistryError

MAX_FOOTER_BYTES = 1 << 20
MAX_HEADER_BYTES = 1 << 13
MAX_PAGE_BYTES = 64 << 20
"""Usual pages have 1 MiB."""
MAX_PAGES = 100_000
_MAX_DEPTH = 16
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12
_BITS = {4: 16, 5: 32, 6: 64}


class _MalformedError(Exception):
    """The bytes are no struct; becomes a RegistryError where the file's name is known."""


@dataclass(slots=True)
class _Reader:
    data: bytes
    at: int = 0

    def byte(self) -> int:
        if self.at >= len(self.data):
            raise _MalformedError("ends within a struct")
        self.at += 1
        return self.data[self.at - 1]

    def unsigned(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise _MalformedError("holds a number of more than 64 bits")

    def signed(self) -> int:
        value = self.unsigned()
        return (value >> 1) ^ -(value & 1)

    def skip(self, count: int) -> None:
        if count > len(self.data) - self.at:
            raise _MalformedError("ends within a string")
        self.at += count

    def struct(self, depth: int = 0) -> dict[int, object]:
        if depth > _MAX_DEPTH:
            raise _MalformedError(f"nests deeper than {_MAX_DEPTH} structs")
        fields: dict[int, object] = {}
        last = 0
        while (head := self.byte()) != _STOP:
            kind, step = head & 15, head >> 4
            last = last + step if step else self.signed()
            # Other readers cut a number to 16 bits, or pass over a field of another type: both could show them another size.
            if last in fields or not 0 < last < 1 << 15:
                raise _MalformedError(f"field {last} is there twice, or cannot be")
            fields[last] = kind == _TRUE if kind in (_TRUE, _FALSE) else self.value(kind, depth)
        return fields

    def value(self, kind: int, depth: int) -> object:
        if kind in _BITS:
            value = self.signed()
            if value.bit_length() >= _BITS[kind]:
                raise _MalformedError(f"holds a number of more than {_BITS[kind]} bits")
            return value
        if kind in (_TRUE, _FALSE, _BYTE):
            return self.byte()
        if kind in (_DOUBLE, _BINARY):
            self.skip(8 if kind == _DOUBLE else self.unsigned())
            return None
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            return self.list(depth + 1)
        raise _MalformedError(f"holds a value of the unknown kind {kind}")

    def list(self, depth: int) -> object:
        if depth > _MAX_DEPTH:
            raise _MalformedError(f"nests deeper than {_MAX_DEPTH} lists")
        head = self.byte()
        count = self.unsigned() if head >> 4 == 15 else head >> 4
        if count > len(self.data) - self.at:
            raise _MalformedError("states a list longer than its bytes")
        return [self.value(head & 15, depth) for _ in range(count)]


def check_pages(file: IO[bytes], size: int, name: str) -> None:
    """Refuses a file of which a page states more than `MAX_PAGE_BYTES`, or whose pages overrun it. Leaves `file` at its start.

    Raises
    ------
    RegistryError
        Naming the file.
    """
    try:
        pages = 0
        for at, length in _chunks(_footer(file, size)):
            pages = _check_chunk(file, at, length, size, pages)
    except _MalformedError as error:
        raise RegistryError(f"{name}: not a readable parquet file: {error}") from error
    file.seek(0)


def _footer(file: IO[bytes], size: int) -> Mapping[int, object]:
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or length > size - 12:
        raise _MalformedError("no footer at its end")
    if length > MAX_FOOTER_BYTES:
        raise _MalformedError(f"states a footer of {length:,} bytes, at most {MAX_FOOTER_BYTES:,} are read")
    file.seek(size - 8 - length)
    return _Reader(file.read(length)).struct()


def _chunks(footer: Mapping[int, object]) -> Iterator[tuple[int, int]]:
    """Where each column of each row group begins, and how long it is."""
    for group in _structs(footer.get(4)):
        for column in _structs(group.get(1)):
            if column.get(1) is not None or not isinstance(column.get(3), dict):
                raise _MalformedError("a column lies in another file, or is not described")
            (facts,) = _structs([column[3]])
            data, dictionary, length = _integer(facts, 9), facts.get(11), _integer(facts, 7)
            yield (min(data, dictionary) if isinstance(dictionary, int) and dictionary > 0 else data), length


def _check_chunk(file: IO[bytes], at: int, length: int, size: int, pages: int) -> int:
    """How many pages there were up to this column's last."""
    end = at + length
    if at < 4 or length < 0 or end > size:
        raise _MalformedError("a column lies outside of it")
    while at < end:
        pages += 1
        if pages > MAX_PAGES:
            raise _MalformedError(f"more than {MAX_PAGES:,} pages")
        file.seek(at)
        reader = _Reader(file.read(min(MAX_HEADER_BYTES, end - at)))
        header = reader.struct()
        becomes, stored = _integer(header, 2), _integer(header, 3)
        if not 0 <= becomes <= MAX_PAGE_BYTES or stored < 0:
            raise _MalformedError(f"a page states {becomes:,} bytes, at most {MAX_PAGE_BYTES:,} are read")
        at += reader.at + stored
    return pages


def _structs(value: object) -> list[dict[int, object]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _MalformedError("a list of structs is missing")
    return value


def _integer(facts: Mapping[int, object], key: int) -> int:
    value = facts.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _MalformedError(f"field {key} of a struct is missing")
    return value
