"""Check a local checkpoint, all file digests included, against only hashing it. Budgets: 1.30 x at 2 GB, 400 MB resident.

usage: check_cost.py [FOLDER]    where to put 4.4 GB for a while (default: the system's temporary folder)
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import GATE, TINY_LLAMA, machine, run, settle, spread, timed, write_checkpoint

RUNS = 7


def hash_all(folder: Path) -> None:
    """SHA-256 of every file, files in parallel: what the check is measured against."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(_digest, sorted(folder.iterdir())))


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(view[:count])
    return digest.hexdigest()


def main() -> None:
    """Write the models, check and hash in turn, print the ratio."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as place:
        base = write_checkpoint(Path(place) / "base", TINY_LLAMA, seed=1)
        child = write_checkpoint(Path(place) / "child", TINY_LLAMA, seed=2, base=base, claim="org/base")
        size = (child / "model.safetensors").stat().st_size
        command = [*GATE, "check", str(child), "--base", f"org/base={base}", "--bom", str(Path(place) / "bom.json")]
        settle(child, base)
        run(command)
        checks, hashes = [], []
        for _ in range(RUNS):
            hashes.append(timed(lambda: hash_all(child)))
            checks.append(run(command))
    ratios = [c.seconds / h for c, h in zip(checks, hashes, strict=True)]
    print(f"machine         {machine()}")
    print(f"checkpoint      {size / 1e9:.2f} GB in one file; exit codes {sorted({c.code for c in checks})}")
    print(f"hashing alone   {spread(hashes)} s")
    print(f"check           {spread([c.seconds for c in checks])} s")
    print(f"ratio           {spread(ratios)}, budget 1.30")
    print(f"peak resident   {spread([c.peak_mb for c in checks], 0)} MB, budget 400 MB")


if __name__ == "__main__":
    main()
