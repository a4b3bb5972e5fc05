"""Where the thresholds of the lineage room lie: what strangers reach and what children keep, by split.

    python -m benchmarks.lineage.calibrate [--cache DIR]

Each line is one statistic: the largest value over pairs that must stay below its threshold, the smallest over pairs that the
statistic must carry, and the threshold in the code. Thresholds are chosen between the two values of the fit split; the report
split shows whether they hold. The exit status is 1 where one lies outside the gap of the fit split.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.lineage.bases import ALL_SPLITS, FIT
from benchmarks.lineage.pairs import Pair, pairs
from provenance_gate.alignment.interface import Trace
from provenance_gate.alignment.trace import trace
from provenance_gate.artifact.load import open_artifact
from provenance_gate.fingerprint.measure import measure
from provenance_gate.lineage import components, decide, traced
from provenance_gate.lineage.compare import compare
from provenance_gate.lineage.interface import BaseRef, Lineage

STRANGERS = frozenset({"independent"})
SIBLINGS = frozenset({"shared_init"})
_GRAFTS = ("transplanted", "table", "fabrication", "merge with a stranger", "interleaved", "passthrough")


@dataclass(frozen=True)
class Seen:
    """One pair: plain comparison and trace, whichever of them the gate would have used."""

    pair: Pair
    lineage: Lineage
    trace: Trace | None

    def plain(self, name: str) -> float | None:
        """A number of the weight correlation's detail."""
        value = self.lineage.signals["weight_correlation"].detail.get(name)
        return value if isinstance(value, float) else None

    @property
    def block_share(self) -> float | None:
        return max((n.share for n in self.trace.neurons), default=None) if self.trace else None

    @property
    def traced_share(self) -> float | None:
        return self.trace.share if self.trace else None

    @property
    def traced_correlation(self) -> float | None:
        return traced.weighted(self.trace.neurons) if self.trace else None

    @property
    def traced_learned(self) -> float | None:
        blocks = self.trace.neurons if self.trace else ()
        return sum(n.learned for n in blocks) / len(blocks) if blocks else None

    @property
    def heads(self) -> float | None:
        heads = self.trace.heads if self.trace else ()
        return sum(h.correlation for h in heads) / len(heads) if heads else None


@dataclass(frozen=True)
class Statistic:
    """`above`: what must stay below the threshold; `below`: what must stay above it."""

    name: str
    threshold: float
    value: Callable[[Seen], float | None]
    above: Callable[[Pair], bool]
    below: Callable[[Pair], bool]


def _label(*labels: str) -> Callable[[Pair], bool]:
    return lambda p: p.label.value in labels if hasattr(p.label, "value") else str(p.label) in labels


def _disguised(pair: Pair) -> bool:
    return _label("related")(pair) and ("disguised" in pair.kind or pair.kind in _ALIGNED)


def _plain_child(pair: Pair) -> bool:
    """Children whose tensors stand where the base's do."""
    hidden = pair.kind in _ALIGNED or "disguised" in pair.kind or pair.kind in _RESHAPED
    return _label("related")(pair) and not hidden and not any(word in pair.kind for word in _GRAFTS)


_ALIGNED = ("neurons permuted", "residual permuted", "residual rotated", "signs flipped", "neurons scaled")
_RESHAPED = (
    *(
        "neurons removed",
        "neurons removed and healed",
        "neurons copied",
        "residual widened",
        "heads removed",
        "upcycled",
    ),
    *("upcycled and trained", "heads permuted", "values rotated", "queries scaled"),
)

STATISTICS = (
    Statistic(
        "body correlation", components.DEPENDENT, lambda s: s.plain("aligned"), _label("independent"), _plain_child
    ),
    Statistic("learned directions", decide.LEARNED, lambda s: s.plain("learned"), _label("shared_init"), _plain_child),
    Statistic(
        "body correlation, siblings",
        decide.BULK,
        lambda s: s.plain("aligned"),
        _label("shared_init"),
        lambda p: p.kind == "continued pretraining, heavy",
    ),
    Statistic(
        "neurons found, all blocks", traced.STRANGER_SHARE, lambda s: s.traced_share, _label("independent"), _disguised
    ),
    Statistic(
        "neurons found, best block", traced.BLOCK_SHARE, lambda s: s.block_share, _label("independent"), _disguised
    ),
    Statistic(
        "traced correlation", traced.DEPENDENT, lambda s: s.traced_correlation, _label("independent"), _disguised
    ),
    Statistic("traced heads", traced.HEADS_DEPENDENT, lambda s: s.heads, _label("independent"), _disguised),
    Statistic(
        "traced learned directions", traced.LEARNED, lambda s: s.traced_learned, _label("shared_init"), _disguised
    ),
)


def look(cache: Path, chosen: Iterable[Pair]) -> Iterator[Seen]:
    """Both comparisons of every pair whose models are built."""
    for pair in chosen:
        ours, theirs = pair.paths(cache)
        if not (ours.exists() and theirs.exists()):
            continue
        artifact, base = open_artifact(ours).artifact, open_artifact(theirs).artifact
        plain = compare(measure(artifact, exact=False), measure(base, exact=False), BaseRef(pair.base, pair.base))
        found = trace(artifact, base)
        yield Seen(pair, plain, found if isinstance(found, Trace) else None)


def table(seen: Sequence[Seen], split: str) -> tuple[list[str], bool]:
    """Markdown lines of one split, and whether every threshold lies in its gap."""
    lines = [
        f"\n## Split: {split} ({len(seen)} pairs)\n",
        "| Statistic | largest that must stay below | threshold | smallest that must stay above |",
        "| --- | --- | --- | --- |",
    ]
    sound = True
    for statistic in STATISTICS:
        high = _extreme(seen, statistic.above, statistic.value, largest=True)
        low = _extreme(seen, statistic.below, statistic.value, largest=False)
        sound &= (high is None or high[0] < statistic.threshold) and (low is None or low[0] >= statistic.threshold)
        lines.append(f"| {statistic.name} | {_shown(high)} | {statistic.threshold} | {_shown(low)} |")
    return lines, sound


def _extreme(
    seen: Sequence[Seen], wanted: Callable[[Pair], bool], value: Callable[[Seen], float | None], *, largest: bool
) -> tuple[float, Pair] | None:
    found = [(v, s.pair) for s in seen if wanted(s.pair) and (v := value(s)) is not None]
    key: Callable[[tuple[float, Pair]], float] = lambda item: item[0]  # noqa: E731
    return (max(found, key=key) if largest else min(found, key=key)) if found else None


def _shown(found: tuple[float, Pair] | None) -> str:
    return "none" if found is None else f"{found[0]:.3f} ({found[1].artifact.split('/')[-1]})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(__file__).parent / ".cache")
    cache = parser.parse_args().cache
    fitted = True
    for split in ALL_SPLITS:
        lines, sound = table(list(look(cache, [p for p in pairs() if p.split == split])), split)
        print("\n".join(lines))
        fitted &= sound or split != FIT
    return 0 if fitted else 1


if __name__ == "__main__":
    sys.exit(main())
