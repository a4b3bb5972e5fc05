"""Which weight files of a folder belong together: one set is one model, and a folder may hold it several times.

A set is a file, its shards (``stem-00001-of-00003``), or the shards of an index. Of one format there may be several: GGUF
quantizations side by side, ``model.fp16.safetensors`` beside ``model.safetensors``, Mistral's ``consolidated`` layout beside
shards. Only files at the root count: subfolders hold other modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from provenance_gate.artifact.interface import FileRecord, WeightFormat
from provenance_gate.errors import ArtifactError, one_line

MAX_SETS: Final = 64
"""More than any published folder holds; each is opened and compared."""

_STEMS: Final = ("model", "pytorch_model", "diffusion_pytorch_model", "consolidated")
"""What loaders look for, in the order in which one of them is the model."""
_MISTRAL: Final = "consolidated"
_NUMBERS: Final = re.compile(r"-([0-9]{5})-of-([0-9]{5})(?=\.|$)")
_ASIDE: Final = re.compile(r"mmproj|imatrix")
"""Names of GGUF files that hold no language model. Their headers are asked, too: a name hides nothing."""


@dataclass(frozen=True, slots=True)
class WeightSet:
    """The files of one model in one format. `variant` is the middle of ``model.fp16.safetensors``, "" without one."""

    format: WeightFormat
    files: tuple[FileRecord, ...]
    variant: str = ""

    @property
    def name(self) -> str:
        """The first file's name, safe to print."""
        return one_line(str(self.files[0].path), 80)

    @property
    def names(self) -> list[str]:
        return [str(f.path) for f in self.files]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(f.size for f in self.files)


@dataclass(frozen=True, slots=True)
class _Place:
    stem: str
    variant: str
    of: str


def at_root(files: Iterable[FileRecord], kind: WeightFormat) -> list[FileRecord]:
    """The files of one format at the root, sorted by name."""
    return sorted((f for f in files if len(f.path.parts) == 1 and f.format is kind), key=lambda f: str(f.path))


def known_sets(records: Sequence[FileRecord], suffix: str) -> tuple[WeightSet, ...]:
    """The sets among files whose names loaders know, the model first: by stem, then without a variant before with one, a
    single file before shards, then the largest.
    """
    sets: dict[_Place, list[FileRecord]] = {}
    for record in records:
        place = _place(str(record.path), suffix)
        if place is not None:
            sets.setdefault(place, []).append(record)
    ordered = sorted(
        sets.items(),
        key=lambda item: (
            bool(item[0].variant) or item[0].stem == _MISTRAL,
            _STEMS.index(item[0].stem),
            bool(item[0].of),
            -sum(f.size for f in item[1]),
            str(item[1][0].path),
        ),
    )
    return _counted([WeightSet(r[0].format or WeightFormat.PICKLE, tuple(r), place.variant) for place, r in ordered])


def gguf_sets(records: Sequence[FileRecord]) -> tuple[WeightSet, ...]:
    """The GGUF models of a folder, the most precise first: of one model the larger file holds more bits per weight.

    Files that are named like projectors of images or importance matrices come last.
    """
    sets: dict[tuple[str, str], list[FileRecord]] = {}
    for record in records:
        name = str(record.path)
        found = _NUMBERS.search(name)
        sets.setdefault((_NUMBERS.sub("", name), found[2] if found else ""), []).append(record)
    models = [WeightSet(WeightFormat.GGUF, tuple(r)) for r in sets.values()]
    return _counted(sorted(models, key=lambda s: (is_aside(s), -s.size, s.names)))


def is_aside(found: WeightSet) -> bool:
    """Whether a GGUF set is named like a projector of images or an importance matrix."""
    return _ASIDE.search(str(found.files[0].path).lower()) is not None


def named_by(names: Iterable[str], records: Mapping[str, FileRecord]) -> WeightSet:
    """The set of the files that an index names."""
    return WeightSet(WeightFormat.SAFETENSORS, tuple(records[name] for name in sorted(set(names))))


def first_names(sets: Sequence[WeightSet]) -> str:
    """The names of the first few sets, for a note."""
    return ", ".join(s.name for s in sets[:5]) + (f" and {len(sets) - 5} more" if len(sets) > 5 else "")


def _place(name: str, suffix: str) -> _Place | None:
    if not name.endswith(suffix):
        return None
    found = _NUMBERS.search(name)
    stem, dot, variant = _NUMBERS.sub("", name).removesuffix(suffix).partition(".")
    if stem not in _STEMS or (dot and not re.fullmatch(r"[A-Za-z0-9_]{1,40}", variant)):
        return None
    return _Place(stem, variant, found[2] if found else "")


def _counted(sets: Sequence[WeightSet]) -> tuple[WeightSet, ...]:
    if len(sets) > MAX_SETS:
        raise ArtifactError(
            f"{sets[0].name}: {len(sets)} sets of {sets[0].format.value} weights in one folder, expected at most {MAX_SETS}"
        )
    return tuple(sets)
