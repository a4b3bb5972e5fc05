"""Sketches of millions of models in one memory-mapped file, searched by vectorized popcount. Nominates, never decides.

Sizes are checked against the header before anything is mapped, the tail when the index is opened, and each block when it is
first read. Pages are given back behind the search, so memory stays flat.
"""

from __future__ import annotations

import io
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenance_gate.errors import RegistryError, one_line
from provenance_gate.fingerprint.compact import DIGEST_NAMES, PART_BITS, Sketch, agreement_of
from provenance_gate.registry.compact_layout import (
    BLOCK,
    DIGEST_BYTES,
    DIGESTS,
    HEADER_BYTES,
    LONGEST_ID,
    MOST_ROWS,
    TAGS,
    WORDS,
    Header,
    column_of,
    part_lines,
    read_header,
    sketch_of_column,
    write_index,
    write_to,
)
from provenance_gate.registry.popcount import Words, popcount

__all__ = ["BODY", "CONTENT", "CompactIndex", "Hit", "write_index"]

CONTENT = "digests"
"""`Hit.part` of models that hold tensors of equal content."""
BODY = "body"
"""`Hit.part` of `BODY_PARTS` counted as one: where models crowd around the one sought, more bits rank them better."""
BODY_PARTS = ("feed_forward", "attention")

_FEW = 4
"""Where fewer than one column in this many has the tag sought, those are gathered first. Only saves time."""
_BITS = {**PART_BITS, BODY: sum(PART_BITS[p] for p in BODY_PARTS)}
_CONTENTS = [i for i, name in enumerate(DIGEST_NAMES) if name.startswith("content_")]


@dataclass(frozen=True, slots=True)
class Hit:
    """One model of the index and why it came up.

    Attributes
    ----------
    part
        A part of the sketch; `BODY`; `CONTENT`; or another digest's name ("architecture", "vocabulary", "merges").
    z
        Of a part as `Agreement.z`; of `CONTENT` how many of the tensors looked at are equal; 0 of the others, which are text.
    correlation
        Of a part as `Agreement.correlation`; 1 of digests.
    """

    id: str
    part: str
    z: float
    correlation: float


class CompactIndex:
    """An index, open for searching. Made by `open` or `from_sketches`; `close` releases the file."""

    def __init__(self, buffer: mmap.mmap | bytes, header: Header, where: str) -> None:
        self._buffer, self._header, self._where = buffer, header, where
        self._ids_at = header.tail + 8 * header.rows
        self._ends = np.frombuffer(buffer, dtype="<u8", count=header.rows, offset=header.tail)
        digests_at = self._ids_at + header.id_bytes
        self._digests = [bytes(buffer[at : at + DIGEST_BYTES]) for at in range(digests_at, header.size, DIGEST_BYTES)]
        self._checked = [False] * header.blocks
        with memoryview(buffer)[header.tail :] as tail:
            if sha256(tail).hexdigest() != header.tail_sha256:
                raise RegistryError(f"{where}: tail_sha256 does not fit the ids; the file was edited")
        lengths = np.diff(self._ends, prepend=np.zeros(1, dtype="<u8"))
        last = int(self._ends[-1]) if header.rows else 0
        if last != header.id_bytes or ((lengths < 1) | (lengths > LONGEST_ID)).any():
            raise RegistryError(f"{where}: the ends of ids are out of order")

    @staticmethod
    def open(path: Path) -> CompactIndex:
        """Map a file. Raises RegistryError when it is no index, of another version, cut, or edited."""
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                header = read_header(file.read(HEADER_BYTES), size, str(path))
                return CompactIndex(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ), header, str(path))
        except OSError as error:
            raise RegistryError(f"{path}: {error.strerror or one_line(str(error))}") from error

    @staticmethod
    def from_sketches(items: Iterable[tuple[str, Sketch]]) -> CompactIndex:
        """The same in memory, for a small registry. Raises RegistryError as `write_index`."""
        file = io.BytesIO()
        write_to(file, items, "index")
        data = file.getvalue()
        return CompactIndex(data, read_header(data[:HEADER_BYTES], len(data), "index"), "index")

    def __len__(self) -> int:
        return self._header.rows

    def __enter__(self) -> CompactIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file; nothing can be searched afterwards."""
        self._ends = np.empty(0, dtype="<u8")
        if isinstance(self._buffer, mmap.mmap):
            self._buffer.close()

    def items(self) -> Iterator[tuple[str, Sketch]]:
        """All models in order: ``write_index(path, chain(old.items(), more))`` appends."""
        for block in range(self._header.blocks):
            words = np.array(self._block(block))
            self._release(block)
            for column in range(words.shape[1]):
                yield self.id(block * BLOCK + column), sketch_of_column(words[:, column])

    def id(self, row: int) -> str:
        """Of one row. Raises RegistryError for bytes that are no UTF-8."""
        start = int(self._ends[row - 1]) if row else 0
        raw = bytes(self._buffer[self._ids_at + start : self._ids_at + int(self._ends[row])])
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise RegistryError(f"{self._where}: the id of row {row} is no UTF-8") from error

    def search(self, sketch: Sketch, top: int = 64, jobs: int = 2) -> list[Hit]:
        """Models that agree with `sketch`, greatest z first; a model may come up for several reasons.

        For every part, and for the body as a whole, the `top` models of greatest agreement, however small it is
        (`compact.AGREES` says what is more than chance); then up to `top` models for equal content, and for each other equal
        digest.

        Parameters
        ----------
        top
            At least 1.
        jobs
            Threads; never changes the answer.

        Raises
        ------
        RegistryError
            The sketch is of another method, or a block does not have the digest that the index states.
        """
        query = _Query(column_of(sketch, "sketch"), top)
        lanes = [range(lane, self._header.blocks, max(1, jobs)) for lane in range(max(1, jobs))]
        with ThreadPoolExecutor(len(lanes)) as pool:
            found = list(pool.map(lambda blocks: self._search(query, blocks), lanes))
        hits = []
        for part in dict.fromkeys(name for lane in found for name in lane):
            for key in _best([lane[part] for lane in found if part in lane], top):
                distance, row = divmod(int(key), MOST_ROWS)
                hits.append(_hit(self.id(row), part, distance))
        return sorted(hits, key=lambda h: (-h.z, h.part, h.id))

    def _search(self, query: _Query, blocks: Iterable[int]) -> dict[str, NDArray[np.int64]]:
        best: dict[str, NDArray[np.int64]] = {}
        for block in blocks:
            for part, keys in query.keys(self._block(block), block * BLOCK):
                best[part] = _best([best[part], keys] if part in best else [keys], query.top)
            self._release(block)
        return best

    def _block(self, block: int) -> Words:
        """Words of a block, shape (WORDS, models); checked against its digest the first time."""
        rows, start = min(BLOCK, self._header.rows - block * BLOCK), self._start(block)
        words: Words = np.frombuffer(self._buffer, dtype="<u8", count=rows * WORDS, offset=start).reshape(WORDS, rows)
        if not self._checked[block]:
            if sha256(words.data).digest() != self._digests[block]:
                raise RegistryError(f"{self._where}: block {block} does not have its SHA-256; the file was edited")
            self._checked[block] = True
        return words

    def _start(self, block: int) -> int:
        return HEADER_BYTES + block * BLOCK * WORDS * 8

    def _release(self, block: int) -> None:
        """Give the pages of a block back that no other block shares."""
        if isinstance(self._buffer, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            start = -(-self._start(block) // mmap.PAGESIZE) * mmap.PAGESIZE
            end = min(self._start(block + 1), self._header.tail) // mmap.PAGESIZE * mmap.PAGESIZE
            if start < end:
                self._buffer.madvise(mmap.MADV_DONTNEED, start, end - start)


@dataclass(frozen=True, slots=True)
class _Query:
    column: Words
    top: int

    def keys(self, block: Words, first: int) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """By part, (unequal bits, row) of each comparable model as one number; (unequal digests, row) for equal digests."""
        together = np.zeros(block.shape[1], dtype=np.int64)
        in_both = np.ones(block.shape[1], dtype=bool)
        for name, lines, shift in part_lines():
            tag = int(self.column[TAGS]) >> shift & 0xFFFF
            same = (block[TAGS] >> np.uint64(shift)) & np.uint64(0xFFFF) == np.uint64(tag)
            alike = np.flatnonzero(same) if tag else np.empty(0, dtype=np.intp)
            if len(alike):
                few = len(alike) * _FEW < block.shape[1]
                unequal = _unequal(block[lines], self.column[lines], alike if few else None)
                unequal = unequal if few else unequal[alike]
                yield name, _keys(unequal, alike + first)
            if name in BODY_PARTS:
                in_both &= same if tag else False
                together[alike] += unequal if len(alike) else 0
        rows = np.flatnonzero(in_both)
        if len(rows):
            yield BODY, _keys(together[rows], rows + first)
        for name, equal in self._equal_digests(block):
            rows = np.flatnonzero(equal)
            if len(rows):
                yield name, _keys(len(DIGEST_NAMES) - equal[rows], rows + first)

    def _equal_digests(self, block: Words) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """How many digests of each model are equal: of content together, in any order, and of each other fact."""
        stated = self.column[DIGESTS:]
        for i, name in enumerate(DIGEST_NAMES):
            if stated[i] and i not in _CONTENTS:
                yield name, (block[DIGESTS + i] == stated[i]).astype(np.int64)
        held = [block[DIGESTS + i] for i in _CONTENTS]
        sought = [stated[i] for i in _CONTENTS if stated[i]]
        if sought:
            yield CONTENT, np.sum([np.any([line == word for line in held], axis=0) for word in sought], axis=0)


def _hit(model_id: str, part: str, distance: int) -> Hit:
    if part in _BITS:
        agreement = agreement_of(distance, _BITS[part])
        return Hit(model_id, part, agreement.z, agreement.correlation)
    return Hit(model_id, part, float(len(DIGEST_NAMES) - distance) if part == CONTENT else 0.0, 1.0)


def _unequal(lines: Words, words: Words, chosen: NDArray[np.intp] | None) -> NDArray[np.uint16]:
    """Unequal bits of each column; line by line, so that a line stays in the cache."""
    total = np.zeros(lines.shape[1] if chosen is None else len(chosen), dtype=np.uint16)
    for line, word in zip(lines, words, strict=True):
        total += popcount((line if chosen is None else line[chosen]) ^ word)
    return total


def _keys(distances: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[np.int64]:
    """Order of distance, then of rows, in one number."""
    keys: NDArray[np.int64] = distances.astype(np.int64) * MOST_ROWS + rows
    return keys


def _best(keys: Sequence[NDArray[np.int64]], top: int) -> NDArray[np.int64]:
    """The `top` least keys, sorted."""
    together = np.concatenate(keys)
    return np.sort(np.partition(together, top - 1)[:top] if len(together) > top else together)
