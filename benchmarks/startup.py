"""Start-up: `provenance-gate --help` against an empty interpreter. Budget: 0.25 s (median)."""

from __future__ import annotations

import sys

from common import GATE, machine, run, spread

RUNS = 21


def main() -> None:
    """Print both, alternating."""
    ours, empty = [], []
    for _ in range(RUNS):
        ours.append(run([*GATE, "--help"]).seconds)
        empty.append(run([sys.executable, "-c", "pass"]).seconds)
    heavy = {"numpy", "rich", "tokenizers", "jsonschema"}
    code = f"import sys, provenance_gate.cli; print(sorted({heavy} & set(sys.modules)))"
    print(f"machine                {machine()}")
    print(f"provenance-gate --help {spread(ours)} s, budget 0.25 s")
    print(f"python -c pass         {spread(empty)} s")
    print(f"heavy modules imported {run([sys.executable, '-c', code]).output.strip()}")


if __name__ == "__main__":
    main()
