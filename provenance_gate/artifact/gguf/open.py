"""GGUF files to stored tensors, config, tokenizer and claims: one file, or all parts of a split one.

``gguf-split`` names parts ``name-00001-of-00003.gguf`` and writes into each ``split.no`` (from 0), ``split.count`` and
``split.tensors.count`` (of the whole model); the first part carries the metadata.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from provenance_gate.artifact.gguf.blocks import is_decodable, why_not
from provenance_gate.artifact.gguf.claims import read_gguf_claims
from provenance_gate.artifact.gguf.converter import Original, undo
from provenance_gate.artifact.gguf.facts import UNQUANTIZED, read_config
from provenance_gate.artifact.gguf.header import MAX_TENSORS, TensorInfo, read_header
from provenance_gate.artifact.gguf.metadata import Metadata
from provenance_gate.artifact.gguf.readers import BlockReader
from provenance_gate.artifact.gguf.vocabulary import read_vocabulary
from provenance_gate.artifact.interface import Claims, ModelConfig, NotMeasured, StoredTensor, TokenizerFacts
from provenance_gate.artifact.ranges import RangeSource
from provenance_gate.errors import ArtifactError, MalformedFileError, one_line

_PART: Final = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})\.gguf", re.DOTALL)
_MAX_PARTS: Final = 1000
_SPLIT: Final = frozenset({"split.no", "split.count", "split.tensors.count"})


@dataclass(frozen=True, slots=True)
class GgufModel:
    """What one model's GGUF files hold.

    Attributes
    ----------
    tensors
        Sorted by name; shapes row-major (out, in), dtype the name of the ggml type, values as in the original checkpoint.
    notes
        What a reader should know: value types that are not read, rows that could not be put back into order.
    """

    tensors: tuple[StoredTensor, ...]
    config: ModelConfig | NotMeasured
    tokenizer: TokenizerFacts | NotMeasured
    claims: Claims
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    source: RangeSource
    path: PurePosixPath
    metadata: Metadata
    tensors: tuple[TensorInfo, ...]
    number: int


def open_gguf(sources: Sequence[tuple[RangeSource, PurePosixPath]]) -> GgufModel:
    """Open a model from its file, or from all parts of it in any order.

    Reads the headers only; readers of tensors read what they are asked for, block range by block range.

    Raises
    ------
    MalformedFileError
        A file breaks the format; the message names file and field.
    ArtifactError
        No file, or a part is missing.
    """
    if not sources:
        raise ArtifactError("no GGUF file")
    if len(sources) > _MAX_PARTS:
        raise ArtifactError(f"{sources[0][0].name}: {len(sources)} parts, expected at most {_MAX_PARTS}")
    parts = _in_order(_read_parts(sources))
    metadata = parts[0].metadata
    infos = [info for part in parts for info in part.tensors]
    quantized = any(info.type_name not in UNQUANTIZED for info in infos)
    tokens = metadata.strings("tokenizer.ggml.tokens")
    tensors, notes = _tensors(parts, metadata)
    return GgufModel(
        tensors=tensors,
        config=read_config(
            metadata, {i.name for i in infos}, {i.type_name for i in infos}, None if tokens is None else len(tokens)
        ),
        tokenizer=read_vocabulary(metadata),
        claims=read_gguf_claims(metadata, parts[0].path, quantized),
        notes=(*_kind_notes(metadata), *notes, *_unread_types(infos)),
    )


def _read_parts(sources: Sequence[tuple[RangeSource, PurePosixPath]]) -> list[_Part]:
    """Headers of all files. The first part's metadata is the model's; of the others their place is kept."""
    parts: list[_Part] = []
    count = 0
    for source, path in sources:
        header = read_header(source)
        count += len(header.tensors)
        if count > MAX_TENSORS:
            raise MalformedFileError(
                f"{source.name}: tensor count: {count} with the parts before, at most {MAX_TENSORS}"
            )
        metadata = Metadata(source.name, header.metadata)
        number = metadata.integer("split.no") or 0
        if number or any(not part.number for part in parts):
            said = {key: value for key, value in header.metadata.items() if key in _SPLIT}
            metadata = Metadata(source.name, said)
        parts.append(_Part(source, path, metadata, header.tensors, number))
    return parts


def _in_order(parts: Sequence[_Part]) -> tuple[_Part, ...]:
    """The parts by number, each there once, as many as they say."""
    ordered = sorted(parts, key=lambda part: part.number)
    first = ordered[0].metadata
    count = first.integer("split.count") or 1
    for part in ordered:
        stated = part.metadata.integer("split.count") or 1
        if stated != count:
            raise MalformedFileError(f"{part.source.name}: split.count: {stated}, but {first.file} says {count}")
        if part.number >= count:
            raise MalformedFileError(f"{part.source.name}: split.no: {part.number}, of {count} parts")
        named = _PART.fullmatch(part.path.name)
        if named and count > 1 and (int(named[2]), int(named[3])) != (part.number + 1, count):
            raise MalformedFileError(
                f"{part.source.name}: split.no: part {part.number + 1} of {count}, unlike its name"
            )
    numbers = Counter(part.number for part in ordered)
    twice = next((n for n, times in numbers.items() if times > 1), None)
    if twice is not None:
        raise ArtifactError(f"{first.file}: {numbers[twice]} files for part {twice + 1} of {count}")
    if len(ordered) < count:
        missing = next(n for n in range(count) if n not in numbers)
        raise ArtifactError(f"{first.file}: part {missing + 1} of {count} is missing")
    total = first.integer("split.tensors.count")
    found = sum(len(part.tensors) for part in ordered)
    if count > 1 and total is not None and total != found:
        raise MalformedFileError(f"{first.file}: split.tensors.count: {total}, but the parts hold {found}")
    return tuple(ordered)


def _tensors(parts: Sequence[_Part], metadata: Metadata) -> tuple[tuple[StoredTensor, ...], list[str]]:
    architecture = metadata.text("general.architecture") or ""
    gated = frozenset(i.name for part in parts for i in part.tensors if ".ffn_gate." in i.name)
    tensors: dict[str, StoredTensor] = {}
    left: list[str] = []
    renamed = 0
    for part in parts:
        for info in part.tensors:
            original = _original(part, info, architecture, metadata, gated)
            if original.name in tensors:
                other = tensors[original.name].path
                raise MalformedFileError(f"{part.source.name}: tensor {one_line(info.name, 80)!r} is in {other} too")
            tensors[original.name] = StoredTensor(
                original.name, info.type_name, info.shape, info.nbytes, part.path, original.reader
            )
            renamed += original.name != info.name
            if original.note:
                left.append(original.note)
    notes = left[:3]
    if len(left) > 3:
        notes.append(f"{len(left) - 3} more tensors whose rows were left in the order of llama.cpp")
    if renamed:
        notes.append(f"{renamed} ffn_up tensors hold gate and up in one: listed as ffn_gate_up")
    return tuple(tensors[name] for name in sorted(tensors)), notes


def _original(part: _Part, info: TensorInfo, architecture: str, metadata: Metadata, gated: frozenset[str]) -> Original:
    count = 1
    for extent in info.shape:
        count *= extent
    reader = BlockReader(part.source, one_line(info.name, 80), info.kind, info.type_name, info.begin, count)
    return undo(architecture, metadata, info.name, info.shape, reader, gated)


def _kind_notes(metadata: Metadata) -> tuple[str, ...]:
    kind = metadata.text("general.type")
    return () if kind in (None, "", "model") else (f"general.type is {one_line(repr(kind), 40)}, not a model",)


def _unread_types(infos: Sequence[TensorInfo]) -> tuple[str, ...]:
    counts = Counter(i.type_name for i in infos if i.kind is None or not is_decodable(i.kind.name))
    if not counts:
        return ()
    shown = ", ".join(f"{name} ({times})" for name, times in sorted(counts.items())[:8])
    why = next((reason for name in sorted(counts) if (reason := why_not(name))), " by this version")
    return (f"tensors of types that are listed but not read{why}: {shown}",)
