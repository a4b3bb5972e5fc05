"""Do quantized forms of derived models still find their base? Formats times derivations, against the float base.

    python -m benchmarks.lineage.formats [--cache DIR] [--format NAME]... [--every N]

Every Llama-shaped model of the benchmark is written in every format of `tests/formats.py`, in the GGUF types that rows of these
widths can have, and as PyTorch file, and compared with its base and with its base's twin; one line per format. Signals are those
of the copies of the bases, the lower value of two.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import provenance_gate
from benchmarks.lineage import bases
from benchmarks.lineage.gguf_files import write_gguf
from benchmarks.lineage.pairs import pairs
from provenance_gate.artifact.load import open_artifact
from tests.formats import QUANTIZERS, write_quantized, write_torch

SIGNALS = ("weight_correlation", "wvc", "eas", "end", "lep", "nlf")
ORIGINS = ("llama-a", "llama-c")
GGUF_TYPES = ("F16", "BF16", "Q8_0", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL", "MXFP4")
"""K-quants need rows of a multiple of 256, which these models do not have: llama.cpp writes Q5_0 for Q4_K then, Q8_0 for Q6_K."""

FORMATS = (*QUANTIZERS, "torch", *(f"gguf {kind}" for kind in GGUF_TYPES))
_PAPERS = ("config.json", "tokenizer.json", "tokenizer_config.json", "README.md")


@dataclass(frozen=True)
class Seen:
    """One model in one format: its scores against its base and against a stranger, relation and signals to the base."""

    kind: str
    score: float
    relation: str
    stranger: float
    signals: Mapping[str, float]


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
    """Write, compare, remove. None for models whose widths no group of 32 divides; GGUF keeps such matrices in F16."""
    opened = open_artifact(folder).artifact
    tensors = {t.name: t.reader.read(0, t.size).reshape(t.shape) for t in opened.stored}
    written = place / "model"
    if name.startswith("gguf "):
        write_gguf(written, folder, tensors, name.removeprefix("gguf "))
    else:
        inside = [v.shape for n, v in tensors.items() if v.ndim == 2 and "layers" in n]
        if any(rows % 8 or columns % 32 or rows * columns % 64 for rows, columns in inside):
            return None
        write_torch(written, tensors) if name == "torch" else write_quantized(written, tensors, QUANTIZERS[name])
        for paper in _PAPERS:
            if (folder / paper).exists():
                shutil.copy(folder / paper, written / paper)
    found = [provenance_gate.compare(str(written), str(bases.path(cache, base))) for base in (origin, f"{origin}-twin")]
    shutil.rmtree(written)
    scores = [x.score if isinstance(x.score, float) else 0.5 for x in found]
    values = {name: found[0].signals[name].value for name in SIGNALS}
    measured = {name: value for name, value in values.items() if isinstance(value, float)}
    return Seen(kind, scores[0], found[0].relation.value, scores[1], measured)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(__file__).parent / ".cache")
    parser.add_argument("--format", action="append", choices=FORMATS, metavar="NAME", help="by default all")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="one derivative out of N, and the copies")
    options = parser.parse_args()
    cache = options.cache
    models = [m for n, m in enumerate(children(cache)) if m[1] == "copy" or n % options.every == 0]
    print(
        "| Format | models | base found (>= 0.70) | least score | copies reformatted | least score of a copy "
        f"| strangers <= 0.30 | highest stranger | {' | '.join(SIGNALS)} |"
    )
    print("| --- " * (8 + len(SIGNALS)) + "|")
    for name in options.format or FORMATS:
        with tempfile.TemporaryDirectory() as place:
            found = [s for o, k, f in models if (s := compare(cache, o, k, f, name, Path(place))) is not None]
        copies = [s for s in found if s.kind == "copy"]
        same = sum(s.relation in ("reformatted", "identical") for s in copies)
        print(
            f"| {name} | {len(found)} | {sum(s.score >= 0.7 for s in found)} | {min(s.score for s in found):.3f} | "
            f"{same} of {len(copies)} | {min(s.score for s in copies):.3f} | {sum(s.stranger <= 0.3 for s in found)} | "
            f"{max(s.stranger for s in found):.3f} | "
            f"{' | '.join(f'{min(s.signals.get(name, 0.0) for s in copies):.3f}' for name in SIGNALS)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
