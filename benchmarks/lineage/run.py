"""Compare every pair with the gate; one JSON line per pair and version of the code, so that a run resumes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import provenance_gate
from benchmarks.lineage.pairs import Pair
from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import ProvenanceGateError


@dataclass(frozen=True)
class Result:
    """What the gate said of one pair. None: not measured, or refused (then `relation` is "refused")."""

    artifact: str
    base: str
    score: float | None
    relation: str
    kinds: Sequence[str]
    p_value: float | None
    inheritance: float | None
    identity_score: float | None
    signals: Mapping[str, float | None]
    tier: int
    reason: str
    seconds: float


def code_version() -> str:
    """Digest of the package's sources: results of other versions are not reused."""
    root = Path(provenance_gate.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def models_version(folders: tuple[Path, Path]) -> str:
    """Changes when a model is built again: sizes and times of the weight files."""
    files = [f for folder in folders for f in sorted(folder.glob("*.safetensors"))]
    marks = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return hashlib.sha256(repr(marks).encode()).hexdigest()[:16]


def compare(artifact: str, base: str, folders: tuple[Path, Path]) -> Result:
    """One comparison, timed, in this process."""
    start = time.perf_counter()
    try:
        found = provenance_gate.compare(str(folders[0]), str(folders[1]))
    except ProvenanceGateError as error:
        seconds = time.perf_counter() - start
        return Result(artifact, base, None, "refused", (), None, None, None, {}, 0, str(error), seconds)
    seconds = time.perf_counter() - start
    return Result(
        artifact,
        base,
        _number(found.score),
        found.relation.value,
        found.kinds,
        _number(found.p_value),
        _number(found.inheritance),
        _number(found.identity_score),
        {name: _number(evidence.value) for name, evidence in found.signals.items()},
        found.tier,
        found.reason,
        seconds,
    )


def run_pairs(cache: Path, chosen: Sequence[Pair], results: Path) -> list[tuple[Pair, Result]]:
    """Compare those whose models exist; what an earlier run of the same code found is not compared again."""
    present = [p for p in chosen if all(f.exists() for f in p.paths(cache))]
    if len(present) < len(chosen):
        print(f"{len(chosen) - len(present)} of {len(chosen)} pairs are left out: their models are not built yet")
    wanted = [(p.artifact, p.base, p.paths(cache)) for p in present]
    found = run_all(wanted, results)
    return [(p, found[p.artifact, p.base]) for p in present]


def run_all(wanted: Iterable[tuple[str, str, tuple[Path, Path]]], results: Path) -> dict[tuple[str, str], Result]:
    """Results by artifact and base, from the file where they are there."""
    code = code_version()
    known = _known(results, code)
    listed = [(*w, models_version(w[2])) for w in wanted]
    found = {(a, b): known[a, b, models] for a, b, _, models in listed if (a, b, models) in known}
    todo = [w for w in listed if (w[0], w[1]) not in found]
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("a", encoding="utf-8") as out:
        for done, (artifact, base, folders, models) in enumerate(todo):
            result = compare(artifact, base, folders)
            found[artifact, base] = result
            out.write(json.dumps({"code": code, "models": models, **asdict(result)}) + "\n")
            out.flush()
            if done % 50 == 49:
                print(f"{done + 1} of {len(todo)} pairs", flush=True)
    return found


def run_manifest(manifest: Path, models: Path, results: Path, tell: Callable[[str], None] = print) -> None:
    """The pairs of public models in `manifest`, those that lie below `models` as org/name."""
    listed = json.loads(manifest.read_text(encoding="utf-8"))
    rows = [(p, (models / p["b"], models / p["a"])) for p in listed]
    present = [(p["b"], p["a"], f) for p, f in rows if all(x.is_dir() for x in f)]
    found = run_all(present, results)
    tell("| Artifact | Base | Label | Difficulty | Relation seen | Score | identity_score | Seconds |")
    tell("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for pair, _ in rows:
        result = found.get((pair["b"], pair["a"]))
        start = f"| {pair['b']} | {pair['a']} | {pair['label']} ({pair['relation']}) | {pair['difficulty']} |"
        if result is None:
            tell(f"{start} absent | | | |")
        else:
            score, identity = (
                "not measured" if v is None else f"{v:.2f}" for v in (result.score, result.identity_score)
            )
            tell(f"{start} {result.relation} | {score} | {identity} | {result.seconds:.2f} |")
    tell(f"\n{len(present)} of {len(rows)} pairs had both models at hand.")


def _known(results: Path, code: str) -> dict[tuple[str, str, str], Result]:
    found = {}
    if results.exists():
        for line in results.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row.pop("code") == code:
                models = row.pop("models", "")
                found[row["artifact"], row["base"], models] = Result(**row)
    return found


def _number(value: float | NotMeasured) -> float | None:
    return None if isinstance(value, NotMeasured) else float(value)
