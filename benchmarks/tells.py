"""Where the weight tells fire: untouched, trained and foreign tables and norms, distances by layer, and merges, by split.

    python -m benchmarks.tells [--cache DIR] [--split fit|report|blind] [--keep FILE]
    python -m benchmarks.tells --merges [--cache DIR] [--split ...]
    python -m benchmarks.tells --generation [--cache DIR] [--split ...]
    python -m benchmarks.tells --dip

Pairs and models are those of `benchmarks/lineage`. Thresholds are set on `fit`; `report` and `blind` show whether they hold.
`--keep` writes the numbers of each pair as JSON lines and reads those that are there. `--dip` prints the table of `dip_test`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lineage import kinds, mechanical, trained
from benchmarks.lineage.bases import ALL_SPLITS
from benchmarks.lineage.kinds import Label
from benchmarks.lineage.pairs import Pair, pairs
from benchmarks.tell_calls import READING, calls, open_model, print_calls, print_generation
from provenance_gate.lineage.interface import BaseRef, Lineage
from provenance_gate.reading import lineage_of
from provenance_gate.tells.embedding_cosine import EmbeddingCosine
from provenance_gate.tells.interface import Case, Side, Tell, TellStatus
from provenance_gate.tells.layer_delta import LayerDelta
from provenance_gate.tells.norm_vectors import NormVectorTell
from provenance_gate.tells.statistics import DIPS, TAILS, dip

UNTOUCHED, TRAINED, STRANGER, OTHER = "untouched", "trained", "stranger", "other"
CLASSES = (UNTOUCHED, TRAINED, STRANGER)
_TRAINED_FIRST = ("fine-tuned, then disguised", "continued heavily, then disguised")
_BORROWED = (kinds.FROZEN_TABLE, kinds.TRAINED_TABLE, kinds.CHILD_OF_BORROWER, kinds.OTHER_BODY)


@dataclass(frozen=True)
class Row:
    """One pair: what is true of its table and its norms, what the three tells said, and their numbers."""

    artifact: str
    base: str
    kind: str
    split: str
    label: str
    table: str
    norms: str
    fired: Mapping[str, str]
    numbers: Mapping[str, Any]

    def value(self, tell: str, name: str) -> float | None:
        """One number, None where it was not measured."""
        found = self.numbers.get(tell, {}).get(name)
        return float(found) if isinstance(found, (int, float)) else None


def table_class(pair: Pair) -> str:
    """What was done to the embedding table, by how the pair was made."""
    kind = pair.kind
    if kind == kinds.FROZEN_TABLE or kind == "LoRA merged" or kind == "fabricated, table grafted":
        return UNTOUCHED
    if kind in _BORROWED:
        return TRAINED if kind == kinds.TRAINED_TABLE else OTHER
    if kind in _TRAINED_FIRST or _is_trained(kind) or kind == kinds.TWICE_FROM_ONCE:
        return TRAINED
    if pair.label is Label.INDEPENDENT:
        return STRANGER
    # Noise and pruning of the benchmark change the matrices of the layers only.
    whole = kind in mechanical.SINGLE or kind in mechanical.DISGUISED or "passthrough" in kind or "interleaved" in kind
    return UNTOUCHED if whole and kind != "abliterated" else OTHER


def norm_class(pair: Pair) -> str:
    """The same of the norm gains."""
    kind = pair.kind
    if kind in (*_TRAINED_FIRST, kinds.TWICE_FROM_ONCE) or (_is_trained(kind) and kind != "LoRA merged"):
        return TRAINED
    if pair.label is Label.INDEPENDENT:
        return STRANGER
    folded = "folded" in kind or ("rotated" in kind and "values" not in kind)
    if kind in ("disguised", "disguised, noise 30 %") or folded:
        return OTHER
    if kind in ("LoRA merged", "fabricated, norms grafted"):
        return UNTOUCHED
    return UNTOUCHED if kind in mechanical.SINGLE or kind in mechanical.DISGUISED else OTHER


def _is_trained(kind: str) -> bool:
    return kind != kinds.RANDOM_STUDENT and kind != "LoRA merged" and any(kind == t.kind for t in trained.TRAINED)


def _side(path: Path) -> Side:
    model = open_model(path)
    return Side(path.name, model.fingerprint, model.opened.artifact if model.opened else None)


def _lineage(ours: Path, base: Path) -> Lineage:
    return lineage_of(open_model(ours), open_model(base), BaseRef(base.name, base.name), (), READING)


def measure(pair: Pair, cache: Path) -> Row:
    """All three tells of one pair."""
    ours, base = pair.paths(cache)
    case = Case(_side(ours), ((_side(base), _lineage(ours, base)),))
    tells: Sequence[Tell] = (EmbeddingCosine(), LayerDelta(), NormVectorTell())
    found = {t.name: t.measure(case) for t in tells}
    numbers: dict[str, Any] = {}
    for name, result in found.items():
        kept = dict(result.numbers)
        kept.pop("vectors", None), kept.pop("histogram", None), kept.pop("moved", None)
        if name == LayerDelta.name and result.status is not TellStatus.NOT_MEASURED:
            changes = kept["parents"][0]
            layers = changes["layer_correlation"]
            kept = {"layers": layers, "least": min(layers), "most": max(layers), "mean": float(np.mean(layers))}
            kept |= {"third": float(np.quantile(layers, 2 / 3)), "change": float(np.median(changes["layer_change"]))}
            kept |= {"dip_p_value": changes["dip_p_value"], "aligned": changes["aligned"]}
        numbers[name] = kept
    fired = {name: result.status.value for name, result in found.items()}
    return Row(
        pair.artifact,
        pair.base,
        pair.kind,
        pair.split,
        pair.label.value,
        table_class(pair),
        norm_class(pair),
        fired,
        numbers,
    )


def rows(cache: Path, split: str | None, keep: Path | None) -> list[Row]:
    """Of every pair that is built, in the order of artifacts, so that each is read once."""
    known = {}
    if keep is not None and keep.is_file():
        listed = (Row(**json.loads(line)) for line in keep.read_text("utf-8").splitlines())
        known = {(r.artifact, r.base): r for r in listed}
    chosen = [p for p in pairs() if split in (None, p.split) and all(f.exists() for f in p.paths(cache))]
    chosen.sort(key=lambda p: (p.split, p.artifact))
    found = []
    for pair in chosen:
        row = known.get((pair.artifact, pair.base))
        if row is None:
            row = measure(pair, cache)
            if keep is not None:
                with keep.open("a", encoding="utf-8") as out:
                    out.write(json.dumps(asdict(row)) + "\n")
        found.append(replace(row, table=table_class(pair), norms=norm_class(pair)))
    return found


def area(high: Sequence[float], low: Sequence[float]) -> float:
    """Area under the ROC curve: how often a value of `high` exceeds one of `low`, ties half."""
    a, b = np.array(high)[:, None], np.array(low)[None, :]
    return float((a > b).mean() + 0.5 * (a == b).mean())


def print_statistic(found: Sequence[Row], tell: str, name: str, truth: str) -> None:
    """One line a split: extremes of each class, and areas under the ROC curve."""
    for split in ALL_SPLITS:
        values = {}
        for c in CLASSES:
            mine = (r.value(tell, name) for r in found if r.split == split and getattr(r, truth) == c)
            values[c] = [v for v in mine if v is not None]
        if not all(values.values()):
            continue
        low, middle = np.quantile(values[UNTOUCHED], [0.0, 0.05])
        areas = [area(values[UNTOUCHED], values[c]) for c in (TRAINED, STRANGER)]
        print(
            f"| {name} | {split} | {low:.3g} / {middle:.3g} | {min(values[TRAINED]):.3g} to {max(values[TRAINED]):.3g} | "
            f"{max(values[STRANGER]):.3g} | {areas[0]:.3f} | {areas[1]:.3f} |"
        )


def print_pairs(found: Sequence[Row]) -> None:
    """Tables of tells 11, 12 and 13."""
    head = (
        "| Statistic | Split | untouched, least / 5 % | trained | strangers, most | area: trained | area: strangers |"
    )
    rule = "| --- | --- | --- | --- | --- | --- | --- |"
    for tell, truth, names in (
        (
            EmbeddingCosine.name,
            "table",
            (
                "mean",
                "median",
                "percentile_10",
                "share_above_0.99",
                "share_above_0.999",
                "share_above_0.9999",
                "share_unmoved",
            ),
        ),
        (
            NormVectorTell.name,
            "norms",
            (
                *("share_bit_equal", "share_equal_to_rounding", "share_same_values"),
                *("median_ks_p_value", "share_ks_p_above_0.5"),
            ),
        ),
    ):
        print(f"\n{tell}\n\n{head}\n{rule}")
        for name in names:
            print_statistic(found, tell, name, truth)
        print(
            "\n| Split | untouched, fired | trained, fired | strangers, fired | not measured |\n| --- | --- | --- | --- | --- |"
        )
        for split in ALL_SPLITS:
            mine = [r for r in found if r.split == split]
            cells = [_share(tell, [r for r in mine if getattr(r, truth) == c]) for c in CLASSES]
            absent = sum(r.fired[tell] == TellStatus.NOT_MEASURED.value for r in mine)
            print(f"| {split} | {' | '.join(cells)} | {absent} of {len(mine)} |")
    _print_delta(found)
    for row in found:
        for tell, truth in ((EmbeddingCosine.name, row.table), (NormVectorTell.name, row.norms)):
            state = row.fired[tell]
            if (truth == UNTOUCHED and state == "quiet") or (truth in (TRAINED, STRANGER) and state == "fired"):
                print(f"{tell} {state}, {truth}: {row.split} {row.artifact} against {row.base} ({row.kind})")
        state = row.fired[LayerDelta.name]
        if (row.label == "related" and state == "quiet") or (row.label == "independent" and state == "fired"):
            print(f"layer-delta {state}: {row.split} {row.artifact} against {row.base} ({row.kind})")


def _share(tell: str, found: Sequence[Row]) -> str:
    measured = [r for r in found if r.fired[tell] != TellStatus.NOT_MEASURED.value]
    return f"{sum(r.fired[tell] == TellStatus.FIRED.value for r in measured)} of {len(measured)}"


def _print_delta(found: Sequence[Row]) -> None:
    name = LayerDelta.name
    print(f"\n{name}\n\n| Split | Label | Correlation of the layer at a third from the top | fired | dip p <= 0.01 |")
    print("| --- | --- | --- | --- | --- |")
    for split in ALL_SPLITS:
        for label in ("related", "independent", "shared_init", "fabricated"):
            mine = [r for r in found if (r.split, r.label) == (split, label)]
            values = [v for r in mine if (v := r.value(name, "third")) is not None]
            dips = [v for r in mine if (v := r.value(name, "dip_p_value")) is not None]
            if values:
                print(
                    f"| {split} | {label} | {min(values):.3f} to {max(values):.3f} | {_share(name, mine)} | "
                    f"{sum(v <= 0.01 for v in dips)} of {len(dips)} |"
                )
    print("\nDip p <= 0.01 by kind (all splits):")
    for kind in dict.fromkeys(r.kind for r in found if r.label == "related"):
        dips = [v for r in found if r.kind == kind and (v := r.value(name, "dip_p_value")) is not None]
        if sum(v <= 0.01 for v in dips):
            print(f"  {kind}: {sum(v <= 0.01 for v in dips)} of {len(dips)}")


def print_dips(draws: int = 20000) -> None:
    """sqrt(n) times the dip of uniform samples, by size and tail."""
    for size in DIPS:
        rng = np.random.default_rng([11, size])
        scaled = [dip(rng.uniform(size=size)) * math.sqrt(size) for _ in range(draws)]
        cells = ", ".join(f"{q:.4f}" for q in np.quantile(scaled, [1 - t for t in TAILS]))
        print(f"    {size}: ({cells}),")


def main() -> None:
    """Parse the arguments and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tells", description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path(__file__).parent / "lineage" / ".cache")
    parser.add_argument("--split", choices=ALL_SPLITS)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--merges", action="store_true")
    parser.add_argument("--generation", action="store_true")
    parser.add_argument("--dip", action="store_true")
    args = parser.parse_args()
    if args.dip:
        print_dips()
    elif args.generation:
        print_generation(args.cache, args.split)
    elif args.merges:
        print_calls(list(calls(args.cache, args.split)))
    else:
        print_pairs(rows(args.cache, args.split, args.keep))


if __name__ == "__main__":
    main()
