"""What each format leaves of a model: score, relation and signals of a copy against its float original.

    python benchmarks/formats.py

The original has Gaussian weights (tests/models.py); the quantizers are plain ones written from the formats' definitions.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import provenance_gate
from provenance_gate.artifact.interface import NotMeasured
from tests.formats import WRITERS
from tests.models import llama, noisy, write_model

SIGNALS = ("weight_correlation", "wvc", "eas", "end", "lep", "nlf")


def main() -> None:
    """Print one line per format."""
    with tempfile.TemporaryDirectory() as place:
        base = write_model(Path(place) / "base", llama(1))
        print(f"| Format | copy: relation | score | {' | '.join(SIGNALS)} | child with 30 % noise | stranger |")
        print("| --- " * (len(SIGNALS) + 5) + "|")
        for number, (name, write) in enumerate(WRITERS.items()):
            models = {"copy": llama(1), "child": noisy(llama(1), 0.3), "stranger": llama(2)}
            found = {
                kind: provenance_gate.compare(str(write(Path(place) / f"{kind}{number}", tensors)), str(base))
                for kind, tensors in models.items()
            }
            copy = found["copy"]
            values = " | ".join(_shown(copy.signals[s].value) for s in SIGNALS)
            others = " | ".join(f"{found[k].relation.value} {_shown(found[k].score)}" for k in ("child", "stranger"))
            print(f"| {name} | {copy.relation.value} | {_shown(copy.score)} | {values} | {others} |")


def _shown(value: float | NotMeasured) -> str:
    return "not measured" if isinstance(value, NotMeasured) else f"{value:.3f}"


if __name__ == "__main__":
    main()
