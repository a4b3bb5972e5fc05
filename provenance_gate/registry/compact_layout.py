"""The file of a compact index: how it is laid out, written, and checked.

All numbers are little-endian::

    header    4096 bytes: magic, SHA-256 of the rest, length, JSON with method, sections, counts and the digest of the tail
    blocks    of `BLOCK` models, the last one shorter; a matrix of uint64, one line a word, one column a model
    tail      end of each id (uint64 each), the ids (UTF-8), SHA-256 of each block

The words of a column are the signs of each part, one word with the parts' 16-bit tags, and one word a digest; 0 where absent.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import numpy as np

from provenance_gate.errors import FingerprintError, RegistryError, one_line
from provenance_gate.fingerprint.compact import DIGEST_NAMES, PART_BITS, SKETCH_METHOD, TAG_BYTES, Sketch, split_part
from provenance_gate.registry.popcount import Words

BLOCK = 16384
"""Models of a block: one of its lines fits the second-level cache."""
LONGEST_ID = 512
"""Bytes of an id."""
MOST_ROWS = 1 << 28
HEADER_BYTES = 4096
DIGEST_BYTES = 32

_MAGIC = b"PGINDEX1"
_PART_WORDS = {name: bits // 64 for name, bits in PART_BITS.items()}
TAGS = sum(_PART_WORDS.values())
"""Line of the tags."""
DIGESTS = TAGS + 1
"""First line of the digests, in the order of `DIGEST_NAMES`."""
WORDS = DIGESTS + len(DIGEST_NAMES)
_LAYOUT: Mapping[str, Any] = {
    "method": SKETCH_METHOD,
    "sections": [*([n, w] for n, w in _PART_WORDS.items()), ["tags", 1], ["digests", len(DIGEST_NAMES)]],
    "block": BLOCK,
}


@dataclass(frozen=True, slots=True)
class Header:
    """What the header states: the number of models, the bytes of their ids, and the digest of the tail."""

    rows: int
    id_bytes: int
    tail_sha256: str

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.rows // BLOCK)

    @property
    def tail(self) -> int:
        """Where the tail begins."""
        return HEADER_BYTES + self.rows * WORDS * 8

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.tail + 8 * self.rows + self.id_bytes + DIGEST_BYTES * self.blocks


def part_lines() -> Iterator[tuple[str, slice, int]]:
    """Each part with its lines, and by how many bits its tag is shifted in the line of tags."""
    at = 0
    for i, (name, words) in enumerate(_PART_WORDS.items()):
        yield name, slice(at, at + words), 16 * i
        at += words


def column_of(sketch: Sketch, where: str) -> Words:
    """Words of one model, shape (WORDS,). Raises RegistryError for a sketch of another method, or a malformed one."""
    if sketch.method != SKETCH_METHOD:
        raise RegistryError(f"{where}: a sketch by {one_line(sketch.method, 60)!r}, expected {SKETCH_METHOD!r}")
    words = np.zeros(WORDS, dtype="<u8")
    for name, lines, shift in part_lines():
        if name in sketch.parts:
            try:
                tag, signs = split_part(sketch, name)
            except FingerprintError as error:
                raise RegistryError(f"{where}: {error}") from error
            words[lines] = np.frombuffer(signs.tobytes(), dtype="<u8")
            words[TAGS] |= np.uint64(tag << shift)
    for i, name in enumerate(DIGEST_NAMES):
        words[DIGESTS + i] = sketch.digests.get(name, 0)
    return words


def sketch_of_column(words: Words) -> Sketch:
    """The inverse of `column_of`."""
    parts = {}
    for name, lines, shift in part_lines():
        if tag := int(words[TAGS]) >> shift & 0xFFFF:
            raw = tag.to_bytes(TAG_BYTES, "big") + words[lines].astype("<u8").tobytes()
            parts[name] = np.frombuffer(raw, dtype=np.uint8)
    return Sketch(parts, {n: int(words[DIGESTS + i]) for i, n in enumerate(DIGEST_NAMES) if words[DIGESTS + i]})


def write_index(path: Path, items: Iterable[tuple[str, Sketch]]) -> int:
    """Write an index and return how many models it holds; memory is that of one block, whatever their number.

    An older file is replaced only by a complete one. Ids should be distinct; they are not compared with each other.

    Raises
    ------
    RegistryError
        The place cannot be written, an id is empty or longer than 512 bytes, or a sketch is malformed or of another method.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            try:
                rows = write_to(file, items, str(path))
                file.close()
                temporary.replace(path)
            finally:
                with suppress(OSError):
                    file.close()
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise RegistryError(f"{path}: {error.strerror or one_line(str(error))}") from error
    return rows


def write_to(file: IO[bytes], items: Iterable[tuple[str, Sketch]], where: str) -> int:
    """The same into a file that is open and empty."""
    file.write(bytes(HEADER_BYTES))
    block = np.zeros((WORDS, BLOCK), dtype="<u8")
    filled = rows = 0
    block_digests = bytearray()
    with tempfile.TemporaryFile() as ends, tempfile.TemporaryFile() as ids:
        for model_id, sketch in items:
            block[:, filled] = column_of(sketch, f"{where}: {one_line(model_id, 80)}")
            ids.write(_id_bytes(model_id, where))
            ends.write(ids.tell().to_bytes(8, "little"))
            filled, rows = filled + 1, rows + 1
            if filled == BLOCK:
                block_digests += _write_block(file, block)
                filled = 0
        if filled:
            block_digests += _write_block(file, block[:, :filled])
        id_bytes, digest = ids.tell(), sha256()
        for part in (ends, ids, io.BytesIO(bytes(block_digests))):
            part.seek(0)
            while piece := part.read(1 << 20):
                digest.update(piece)
                file.write(piece)
    file.seek(0)
    file.write(_header_bytes(Header(rows, id_bytes, digest.hexdigest())))
    return rows


def _id_bytes(model_id: str, where: str) -> bytes:
    try:
        raw = model_id.encode()
    except UnicodeEncodeError:
        raw = b""
    if not 0 < len(raw) <= LONGEST_ID:
        raise RegistryError(f"{where}: id {one_line(model_id, 80)!r}: expected 1 to {LONGEST_ID} bytes of UTF-8")
    return raw


def _write_block(file: IO[bytes], words: Words) -> bytes:
    data = np.ascontiguousarray(words)
    file.write(data.data)
    return sha256(data.data).digest()


def _header_bytes(header: Header) -> bytes:
    facts = {"rows": header.rows, "id_bytes": header.id_bytes, "tail_sha256": header.tail_sha256}
    text = json.dumps({**_LAYOUT, **facts}, sort_keys=True, separators=(",", ":")).encode()
    body = len(text).to_bytes(4, "little") + text.ljust(HEADER_BYTES - 44, b" ")
    return _MAGIC + sha256(body).digest() + body


def read_header(raw: bytes, size: int, where: str) -> Header:
    """Parse the first 4096 bytes of a file of `size` bytes. Raises RegistryError; afterwards every place lies in the file."""
    if len(raw) < HEADER_BYTES or raw[:8] != _MAGIC:
        raise RegistryError(f"{where}: not a compact index, or one that was cut")
    body = raw[40:]
    length = int.from_bytes(body[:4], "little")
    if sha256(body).digest() != raw[8:40] or length > len(body) - 4:
        raise RegistryError(f"{where}: the header does not have its SHA-256; the file was cut or edited")
    try:
        facts = json.loads(body[4 : 4 + length])
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"{where}: the header is no JSON") from error
    match facts:
        case {"rows": int(rows), "id_bytes": int(id_bytes), "tail_sha256": str(digest), **layout} if layout == _LAYOUT:
            header = Header(rows, id_bytes, digest)
        case _:
            raise RegistryError(f"{where}: an index of another version than {SKETCH_METHOD}; build it again")
    if not 0 <= rows <= MOST_ROWS or not rows <= id_bytes <= rows * LONGEST_ID:
        raise RegistryError(f"{where}: {rows:,} models with {id_bytes:,} bytes of ids cannot be")
    if size != header.size:
        raise RegistryError(f"{where}: {size:,} bytes, expected {header.size:,}; the file was cut or added to")
    return header
