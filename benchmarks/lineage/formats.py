"""Do quantized forms of derived models still find their base? Formats times derivations, against the float base.

    python -m benchmarks.lineage.formats [--cache DIR]

Every Llama-shaped model of the benchmark is written in every format of `tests/formats.py` and compared with its base and with
its base's twin; one line per format.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import provenance_gate
from benchmarks.lineage import bases
from benchmarks.lineage.pairs import pairs
from provenance_gate.artifact.load import open_artifact
from tests.formats import QUANTIZERS, write_quantized, write_torch

ORIGINS = ("llama-a", "llama-c")
_FORMATS = (*QUANTIZERS, "torch")
_PAPERS = ("config.json", "tokenizer.json", "tokenizer_config.json", "README.md")


@dataclass(frozen=True)
class Seen:
    """One model in one format: its scores against its base and against a stranger, and the relation to the base."""

    kind: str
    score: float
    relation: str
    stranger: float


def children(cache: Path) -> Iterator[tuple[str, str, Path]]:
    """(base, kind, folder) of the related models whose tensors are those of a Llama in one file."""
    for origin in ORIGINS:
        yield origin, "copy", bases.path(cache, origin)
        for pair in pairs():
            artifact, base = pair.paths(cache)
            whole = pair.label.value == "related" and base.name == origin and "stranger" not in pair.kind
            if whole and "fabrication" not in pair.kind and artifact.exists():
                yield origin, pair.kind, artifact


def compare(cache: Path, origin: str, kind: str, folder: Path, name: str, place: Path) -> Seen | None:
    """Write, compare, remove. None for models whose widths no group of 32 divides."""
    opened = open_artifact(folder).artifact
    tensors = {t.name: t.reader.read(0, t.size).reshape(t.shape) for t in opened.stored}
    inside = [v.shape for n, v in tensors.items() if v.ndim == 2 and "layers" in n]
    if any(rows % 8 or columns % 32 or rows * columns % 64 for rows, columns in inside):
        return None
    written = place / "model"
    write_torch(written, tensors) if name == "torch" else write_quantized(written, tensors, QUANTIZERS[name])
    for paper in _PAPERS:
        if (folder / paper).exists():
            shutil.copy(folder / paper, written / paper)
    found = [provenance_gate.compare(str(written), str(bases.path(cache, base))) for base in (origin, f"{origin}-twin")]
    shutil.rmtree(written)
    scores = [x.score if isinstance(x.score, float) else 0.5 for x in found]
    return Seen(kind, scores[0], found[0].relation.value, scores[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(__file__).parent / ".cache")
    cache = parser.parse_args().cache
    models = list(children(cache))
    print(
        "| Format | models | base found (>= 0.70) | least score | copies reformatted | strangers >= 0.70 | highest stranger |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in _FORMATS:
        with tempfile.TemporaryDirectory() as place:
            found = [s for o, k, f in models if (s := compare(cache, o, k, f, name, Path(place))) is not None]
        copies = [s for s in found if s.kind == "copy"]
        same = sum(s.relation in ("reformatted", "identical") for s in copies)
        print(
            f"| {name} | {len(found)} | {sum(s.score >= 0.7 for s in found)} | {min(s.score for s in found):.3f} | "
            f"{same} of {len(copies)} | {sum(s.stranger >= 0.7 for s in found)} | {max(s.stranger for s in found):.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
