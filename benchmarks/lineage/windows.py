"""The test seen through windows: of a matrix that is stored turned only some columns of some rows are compared. Trained models.

    python -m benchmarks.lineage.windows [--cache DIR] [--rows 4] [--columns 128] [--draws 3]

Of each pair of the benchmark the feed-forward output matrices are cut to a few rows and columns at a random place, as few as
a packed 8B model shares with its base (benchmark models have a tenth of its layers), and tested as the gate does. Strangers
should give p <= x in a share x of cases at most; of descendants it is shown how many the cut matrices alone show.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import defaultdict
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lineage.kinds import Label
from benchmarks.lineage.pairs import pairs
from provenance_gate.artifact.interface import Role, TensorKey
from provenance_gate.artifact.load import open_artifact
from provenance_gate.errors import ProvenanceGateError
from provenance_gate.fingerprint.interface import SignalValue
from provenance_gate.fingerprint.measure import measure
from provenance_gate.fingerprint.rows import KeptRows
from provenance_gate.fingerprint.signals.weight_correlation import rows_of
from provenance_gate.lineage.decide import DERIVED_LOG10_P
from provenance_gate.lineage.layers import align_layers

Rows = dict[TensorKey, KeptRows]


@cache
def output_matrices(folder: Path) -> Rows:
    """Sampled rows of the matrices that write the feed-forward blocks' output; empty for what cannot be measured."""
    try:
        value = measure(open_artifact(folder).artifact, exact=False).signals["weight_correlation"]
    except ProvenanceGateError:
        return {}
    if not isinstance(value, SignalValue):
        return {}
    return {k: r for k, r in rows_of(value).items() if k.role is Role.FFN_DOWN}


def cut(rows: Rows, seed: int, count: int, columns: int) -> Rows:
    """A block of each matrix, at a place that shape and seed choose."""
    found = {}
    for key, kept in rows.items():
        height, width = kept.values.shape
        if width < columns + 32 or height < count:
            continue
        rng = np.random.default_rng([seed, *kept.shape])
        first, left = int(rng.integers(height - count + 1)), 32 * int(rng.integers((width - columns) // 32 + 1))
        found[key] = replace(kept, held=np.ascontiguousarray(kept.values[first : first + count, left : left + columns]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(__file__).parent / ".cache")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--columns", type=int, default=128)
    parser.add_argument("--draws", type=int, default=3)
    options = parser.parse_args()
    found: dict[tuple[str, Label], list[float]] = defaultdict(list)
    for number, pair in enumerate(pairs()):
        artifact, base = pair.paths(options.cache)
        if not artifact.exists() or not base.exists():
            continue
        for draw in range(options.draws):
            seed = options.draws * number + draw
            a, b = (cut(output_matrices(p), seed, options.rows, options.columns) for p in (artifact, base))
            alignment = align_layers(a, b) if a and b else None
            if alignment is not None:
                found[pair.split, pair.label].append(alignment.test.log10_p)
    print(f"{options.rows} rows x {options.columns} columns of each layer, {options.draws} places a pair")
    print("| Split | Pairs | tests | p <= 0.05 | p <= 0.01 | p <= 0.001 | least p | p <= 1e-6 |")
    print("| --- " * 8 + "|")
    for (split, label), values in sorted(found.items(), key=lambda item: (item[0][0], item[0][1].value)):
        logs = np.array(values)
        shares = " | ".join(f"{float((logs <= math.log10(p)).mean()):.4f}" for p in (0.05, 0.01, 0.001))
        shown = float((logs <= DERIVED_LOG10_P).mean())
        print(f"| {split} | {label.value} | {len(logs)} | {shares} | 1e{logs.min():.1f} | {shown:.3f} |")


if __name__ == "__main__":
    main()
