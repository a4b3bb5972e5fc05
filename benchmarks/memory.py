"""Peak memory, time and bytes read of `compare` and `check`: models of 1.1e9 parameters in each format against the bf16 base.

    python -m benchmarks.memory [--folder DIR] [--format NAME]... [--tokenizers]

Each model is written (4.4 GB lie in DIR at most), compared, checked in processes of their own, and deleted. Budget: 400 MB
resident whatever the format, and no more for hostile token lists (`--tokenizers`: in GGUF headers and
tokenizer.json, opened alone).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import GATE, TINY_LLAMA, machine

BUDGET_MB = 400
OPEN = "import sys, pathlib; from provenance_gate.artifact.load import open_artifact; open_artifact(pathlib.Path(sys.argv[1]))"


@dataclass(frozen=True)
class Cost:
    """One process. `read_mb`: everything that it read, the interpreter's own files included; `cpu` its processor seconds."""

    seconds: float
    cpu: float
    peak_mb: float
    read_mb: float
    output: str
    code: int


def measured(command: Sequence[str]) -> Cost:
    """Run a command; the bytes that it read are those of the kernel's accounting (Linux)."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    told = dict(line.split(": ") for line in Path(f"/proc/{process.pid}/io").read_text().splitlines())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(seconds, cpu, usage.ru_maxrss / 1024, int(told["rchar"]) / 1e6, output, process.returncode)


def apart(work: Callable[..., object], *args: object) -> None:
    """In a process of its own: a child is charged with the memory that its parent had when it was forked."""
    process = get_context("spawn").Process(target=work, args=args)
    process.start()
    process.join()
    assert process.exitcode == 0


def write(folder: Path, kind: str, noise: float = 0.0) -> None:
    from benchmarks.large_models import Matrices
    from benchmarks.large_models import write as write_model

    write_model(folder, Matrices(TINY_LLAMA, noise=noise), kind, claim="org/base")


def report(place: Path, name: str, kind: str, noise: float = 0.0) -> None:
    """One line of the table."""
    model = place / "model"
    apart(write, model, kind, noise)
    size = sum(f.stat().st_size for f in model.iterdir()) / 1e9
    compare = measured([*GATE, "compare", str(model), str(place / "base"), "--format", "json", "--no-cache"])
    bom = str(place / "bom.json")
    check = measured([*GATE, "check", str(model), "--base", f"org/base={place / 'base'}", "--bom", bom, "--no-cache"])
    try:
        lineage = json.loads(compare.output)["lineage"]
        found = f"{lineage['relation']} {lineage['score']}"
    except (ValueError, KeyError):
        found = " ".join(compare.output.split())[:120]
    shutil.rmtree(model)
    cells = [name, f"{size:.2f}", found]
    for cost in (compare, check):
        over = " **over**" if cost.peak_mb > BUDGET_MB else ""
        cells += [f"{cost.peak_mb:.0f}{over}", f"{cost.seconds:.1f} ({cost.cpu:.1f})", f"{cost.read_mb:.0f}"]
    print(f"| {' | '.join(cells)} | {check.code} |", flush=True)


def report_tokenizers(place: Path) -> None:
    from benchmarks.large_tokenizers import FILES, write_tokenizer
    from benchmarks.large_vocabularies import LISTS, write_list

    print("| Token list | MB | peak MB | s (cpu) | answer |")
    print("| --- " * 5 + "|")
    for name in FILES:
        apart(write_tokenizer, place / "model", name)
        report_tokenizer(f"tokenizer.json: {name}", place / "model", place / "model" / "tokenizer.json")
    for name in LISTS:
        apart(write_list, place / "model.gguf", name)
        report_tokenizer(f"GGUF: {name}", place / "model.gguf", place / "model.gguf")


def report_tokenizer(name: str, opened: Path, file: Path) -> None:
    """One line of the table."""
    cost = measured([sys.executable, "-c", OPEN, str(opened)])
    lines = cost.output.strip().splitlines()
    answer = "read" if not lines and not cost.code else lines[-1].rpartition("Error: ")[2][:100]
    cells = [
        name,
        f"{file.stat().st_size / 1e6:.0f}",
        f"{cost.peak_mb:.0f}",
        f"{cost.seconds:.2f} ({cost.cpu:.2f})",
        answer,
    ]
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    from benchmarks.large_models import FORMATS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the models may lie; default: the system's temporary folder")
    parser.add_argument("--format", action="append", choices=FORMATS, metavar="NAME", help="by default all")
    parser.add_argument(
        "--tokenizers", action="store_true", help="token lists of GGUF files and tokenizer.json instead of models"
    )
    options = parser.parse_args()
    print(f"machine: {machine()}; budget {BUDGET_MB} MB\n")
    if options.folder is not None:
        Path(options.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        place = Path(folder)
        if options.tokenizers:
            report_tokenizers(place)
            return
        apart(write, place / "base", "bf16")
        print(
            "| Format | GB | relation, score | compare: peak MB | s (cpu) | read MB | check: peak MB | s (cpu) | read MB | exit |"
        )
        print("| --- " * 10 + "|")
        for kind in options.format or FORMATS:
            report(place, kind, kind)
        if not options.format:
            report(place, "bf16, a child with 30 % noise", "bf16", 0.3)


if __name__ == "__main__":
    main()
