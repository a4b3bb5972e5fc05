"""Compare two local models of 1.1e9 parameters in bfloat16 (2.2 GB each). Budget: 0.5 s, 400 MB resident.

usage: compare_cost.py [FOLDER]    where to put 4.4 GB for a while (default: the system's temporary folder)
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from common import GATE, TINY_LLAMA, machine, run, settle, spread, timed, write_checkpoint

import provenance_gate

RUNS = 9


def main() -> None:
    """Write the models, compare them, print time, memory and bytes."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as place:
        base = write_checkpoint(Path(place) / "base", TINY_LLAMA, seed=1)
        child = write_checkpoint(Path(place) / "child", TINY_LLAMA, seed=2, base=base, claim="org/base")
        command = [*GATE, "compare", str(child), str(base), "--format", "json"]
        settle(child, base)
        run(command)
        runs = [run(command) for _ in range(RUNS)]
        inside = [timed(lambda: provenance_gate.compare(str(child), str(base))) for _ in range(RUNS)]
        lineage = json.loads(runs[0].output)["lineage"]
        from provenance_gate.artifact.load import open_artifact
        from provenance_gate.fingerprint.measure import measure

        opened = open_artifact(child)
        measure(opened.artifact)
        share = opened.counter.bytes_read / opened.artifact.weight_bytes
    print(f"machine          {machine()}")
    print(f"found            {lineage['relation']}, score {lineage['score']}")
    print(f"process          {spread([r.seconds for r in runs])} s, budget 0.5 s")
    print(f"in one process   {spread(inside)} s, budget 0.5 s")
    print(f"peak resident    {spread([r.peak_mb for r in runs], 0)} MB, budget 400 MB")
    print(f"read per model   {share:.2%} of the weights, {opened.counter.requests} requests")


if __name__ == "__main__":
    main()
