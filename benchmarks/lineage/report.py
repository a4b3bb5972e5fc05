"""The tables and the picture of a run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import machine
from benchmarks.lineage.bases import ALL_SPLITS
from benchmarks.lineage.kinds import KINDS, Label
from benchmarks.lineage.pairs import Pair
from benchmarks.lineage.run import Result

DERIVED = 0.70
REFERENCE_MATCH = 0.75
"""From here on the reference system calls its identity_score a match; equal config facts are one whatever the score."""

Row = tuple[Pair, Result]
Method = tuple[str, Callable[[Result], float | None], float | None]


def reference_verdict(result: Result) -> float | None:
    """1 where the reference system says match: equal config facts, else its identity_score at 0.75 or above."""
    if result.relation == "refused":
        return None
    identity = result.identity_score
    return float(result.signals.get("mfi") == 1.0 or (identity is not None and identity >= REFERENCE_MATCH))


def area_under_curve(related: Sequence[float | None], others: Sequence[float | None]) -> float:
    """Chance that a related pair scores above another one, ties half; what is not measured ranks below everything."""
    high = np.array([-np.inf if v is None else v for v in related])
    low = np.array([-np.inf if v is None else v for v in others])
    if not len(high) or not len(low):
        return float("nan")
    above = (high[:, None] > low[None]).mean()
    return float(above + 0.5 * (high[:, None] == low[None]).mean())


def write_report(rows: Sequence[Row], code: str) -> str:
    """Everything as Markdown."""
    lines = ["# Lineage benchmark", "", f"Code {code}; {machine()}; {len(rows)} pairs.", ""]
    for split in ALL_SPLITS:
        chosen = [r for r in rows if r[0].split == split]
        if chosen:
            lines += [f"## Split: {split}", "", *_summary(chosen), "", *_by_kind(chosen), "", *_methods(chosen), ""]
            lines += [*_mistakes(chosen), ""]
    return "\n".join(lines)


def _summary(rows: Sequence[Row]) -> Iterator[str]:
    yield "| Label | pairs | score >= 0.70 | between | score <= 0.30 | not measured |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for label in Label:
        scores = [r.score for p, r in rows if p.label == label]
        if scores:
            known = [s for s in scores if s is not None]
            high, low = sum(s >= DERIVED for s in known), sum(s <= 0.30 for s in known)
            yield (
                f"| {label.value} | {len(scores)} | {high} ({high / len(scores):.1%}) | {len(known) - high - low} "
                f"| {low} | {len(scores) - len(known)} |"
            )


def _by_kind(rows: Sequence[Row]) -> Iterator[str]:
    yield "| Kind | Label | n | at 0.70 | score min / median / max | relation seen | seconds median / max |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for kind, label in KINDS:
        found = [r for p, r in rows if p.kind == kind]
        if not found:
            continue
        known = sorted(r.score for r in found if r.score is not None)
        spread = f"{known[0]:.2f} / {statistics.median(known):.2f} / {known[-1]:.2f}" if known else "not measured"
        seen = [r.relation for r in found]
        relations = ", ".join(f"{s} {seen.count(s)}" for s in sorted(set(seen), key=lambda s: (-seen.count(s), s)))
        times = [r.seconds for r in found]
        share = sum(s >= DERIVED for s in known) / len(found)
        yield (
            f"| {kind} | {label.value} | {len(found)} | {share:.0%} | {spread} | {relations} "
            f"| {statistics.median(times):.2f} / {max(times):.2f} |"
        )


def _methods(rows: Sequence[Row]) -> Iterator[str]:
    signals = sorted({name for _, r in rows for name in r.signals})
    methods: list[Method] = [("our score", lambda r: r.score, DERIVED)]
    methods.append(("reference verdict", reference_verdict, 1.0))
    methods.append(("reference identity_score", lambda r: r.identity_score, REFERENCE_MATCH))
    methods += [(f"signal {name}", lambda r, n=name: r.signals.get(n), None) for name in signals]  # type: ignore[misc]
    yield "| Method | measured | AUC, related to independent | AUC, related to fabricated | recall | false positives |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, value, limit in methods:
        by_label = {label: [value(r) for p, r in rows if p.label == label] for label in Label}
        related, strangers = by_label[Label.RELATED], by_label[Label.INDEPENDENT]
        fabricated = by_label[Label.FABRICATED]
        everything = [*related, *strangers, *fabricated]
        measured = sum(v is not None for v in everything) / max(1, len(everything))
        rates = " | |"
        if limit is None:
            # A signal is judged where it speaks; a verdict on every pair.
            related, strangers, fabricated = (_present(x) for x in (related, strangers, fabricated))
        else:
            wrong = [v for v in (*strangers, *fabricated) if v is not None and v >= limit]
            hit = sum(v is not None and v >= limit for v in related) / max(1, len(related))
            rates = f" {hit:.1%} | {len(wrong)} of {len(strangers) + len(fabricated)} |"
        first, second = area_under_curve(related, strangers), area_under_curve(related, fabricated)
        yield f"| {name} | {measured:.0%} | {first:.4f} | {second:.4f} |{rates}"


def _present(values: Sequence[float | None]) -> list[float | None]:
    return [v for v in values if v is not None]


def _mistakes(rows: Sequence[Row]) -> Iterator[str]:
    wrong = [
        (p, r)
        for p, r in rows
        if (r.score is not None and r.score >= DERIVED and p.label in (Label.INDEPENDENT, Label.FABRICATED))
        or (p.label == Label.RELATED and (r.score is None or r.score < DERIVED))
    ]
    yield f"Pairs on the wrong side of 0.70: {len(wrong)}."
    if wrong:
        yield ""
        yield "| Artifact | Base | Kind | Label | Score | Relation | Reason |"
        yield "| --- | --- | --- | --- | --- | --- | --- |"
    for p, r in wrong:
        score = "not measured" if r.score is None else f"{r.score:.2f}"
        yield f"| {p.artifact} | {p.base} | {p.kind} | {p.label.value} | {score} | {r.relation} | {r.reason} |"


_CURVES: Mapping[str, Callable[[Result], float | None]] = {
    "our score": lambda r: r.score,
    "reference identity_score": lambda r: r.identity_score,
    "signal wvc": lambda r: r.signals.get("wvc"),
    "signal eas": lambda r: r.signals.get("eas"),
}


def _roc(values: Sequence[tuple[Pair, float | None]]) -> tuple[list[float], list[float]]:
    """Accepted share of others and of related pairs as the cut falls; what was not measured is accepted last."""
    wanted = {Label.RELATED: 1, Label.INDEPENDENT: 0, Label.FABRICATED: 0}
    known = [(-1.0 if v is None else v, wanted[p.label]) for p, v in values if p.label in wanted]
    related = sum(truth for _, truth in known)
    others, found, x, y = 0, 0, [0.0], [0.0]
    for cut in sorted({v for v, _ in known}, reverse=True):
        found += sum(truth for v, truth in known if v == cut)
        others += sum(1 - truth for v, truth in known if v == cut)
        x.append(others / max(1, len(known) - related))
        y.append(found / max(1, related))
    return x, y


def draw(rows: Sequence[Row], path: Path) -> bool:
    """Distributions of the score by label and split; False where matplotlib is absent."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(13, 9), layout="constrained")
    for row, split in enumerate(ALL_SPLITS):
        for column, (title, value) in enumerate((("score", "score"), ("reference identity_score", "identity_score"))):
            axes = figure.add_subplot(len(ALL_SPLITS), 3, 3 * row + column + 1)
            for label in Label:
                found = [getattr(r, value) for p, r in rows if p.split == split and p.label == label]
                known = [v for v in found if v is not None]
                if known:
                    axes.hist(known, bins=25, range=(0, 1), histtype="step", label=f"{label.value} ({len(found)})")
            axes.set_yscale("log")
            axes.set_xlabel(title)
            axes.set_title(f"{split} split")
            axes.legend(fontsize=7)
        axes = figure.add_subplot(len(ALL_SPLITS), 3, 3 * row + 3)
        for title, value in _CURVES.items():
            axes.plot(*_roc([(p, value(r)) for p, r in rows if p.split == split]), drawstyle="steps-post", label=title)
        axes.set_xlabel("share of strangers and forgeries accepted")
        axes.set_ylabel("share of related found")
        axes.set_title(f"{split} split")
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)
    return True
