"""Compare local models of 1.1e9 parameters in bfloat16 (2.2 GB each): a child, a stranger, and the base in disguise.

Budgets: 0.5 s where nothing has to be undone, 10 s where the residual stream was rotated, 400 MB resident. Then the child is
scanned against the shipped catalog without a network: 1 s.

usage: compare_cost.py [FOLDER]    where to put 8.8 GB for a while (default: the system's temporary folder)
"""

from __future__ import annotations

import json
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

from common import GATE, TINY_LLAMA, machine, run, settle, spread, write_checkpoint, write_rotated

from provenance_gate.artifact.load import open_artifact
from provenance_gate.fingerprint.measure import measure

RUNS = 9
INSIDE = """
import sys, time
import provenance_gate
artifact, base, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
provenance_gate.compare(artifact, base)
for _ in range(count):
    start = time.perf_counter()
    provenance_gate.compare(artifact, base)
    print(time.perf_counter() - start)
"""


def main() -> None:
    """Write the models, compare them, print time, memory and bytes."""
    print(f"machine          {machine()}")
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as place:
        base, child, stranger, rotated = (Path(place) / n for n in ("base", "child", "stranger", "rotated"))
        # In a process of its own: a child is charged with the memory that its parent had when it was forked.
        writer = get_context("spawn").Process(target=write_models, args=(base, child, stranger, rotated))
        writer.start()
        writer.join()
        settle(base)
        for artifact, budget, runs in ((child, 0.5, RUNS), (stranger, 0.5, RUNS), (rotated, 10.0, 3)):
            report(artifact, base, budget, runs)
        report_scan(child)


def report_scan(artifact: Path) -> None:
    """`scan` as a process; nothing is hashed."""
    runs = [run([*GATE, "scan", str(artifact), "--offline", "--format", "json"]) for _ in range(RUNS)]
    searched = json.loads(runs[0].output)["searched"]
    print(f"\nscan of {artifact.name} against {searched['records']} catalog records")
    print(f"process          {spread([r.seconds for r in runs])} s, budget 1 s")
    print(f"peak resident    {spread([r.peak_mb for r in runs], 0)} MB, budget 400 MB")


def write_models(base: Path, child: Path, stranger: Path, rotated: Path) -> None:
    """The four models."""
    write_checkpoint(base, TINY_LLAMA, seed=1)
    write_checkpoint(child, TINY_LLAMA, seed=2, base=base, claim="org/base")
    write_checkpoint(stranger, TINY_LLAMA, seed=3)
    write_rotated(rotated, TINY_LLAMA, base)


def report(artifact: Path, base: Path, budget: float, count: int) -> None:
    """One pair: as a process, and within this one."""
    command = [*GATE, "compare", str(artifact), str(base), "--format", "json"]
    settle(artifact)
    run(command)
    runs = [run(command) for _ in range(count)]
    inside = run([sys.executable, "-c", INSIDE, str(artifact), str(base), str(count)])
    lineage = json.loads(runs[0].output)["lineage"]
    opened = open_artifact(artifact)
    measure(opened.artifact)
    share = opened.counter.bytes_read / opened.artifact.weight_bytes
    print(f"\n{artifact.name}: {lineage['relation']}, score {lineage['score']}, tier {lineage['tier']}")
    print(f"process          {spread([r.seconds for r in runs])} s, budget {budget} s")
    print(f"in one process   {spread([float(v) for v in inside.output.split()])} s, budget {budget} s")
    print(f"peak resident    {spread([r.peak_mb for r in runs], 0)} MB, budget 400 MB")
    print(f"fingerprint      {share:.2%} of the weights read, {opened.counter.requests} requests")


if __name__ == "__main__":
    main()
