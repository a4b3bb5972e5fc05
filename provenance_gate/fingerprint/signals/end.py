"""END, embedding norm distribution: histogram of the lengths of the embedding rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import UndefinedSignalError
from provenance_gate.fingerprint.interface import Evidence, SignalKind, SignalResult, SignalValue
from provenance_gate.fingerprint.observe import Observations
from provenance_gate.fingerprint.signals.arithmetic import cosine

_BINS = 20
_BLOCKS = 8


class EmbeddingNorms:
    """Cosine of two 20-bin histograms, each from its own smallest to its largest norm, in [0, 1] (reference definition).

    Exact over all rows when the model was read whole; else over the sampled rows, with a jackknife standard error.
    Unrelated models: 0.5 to 0.99; histograms of one shape agree by themselves.
    """

    name = "end"
    kind = SignalKind.WEIGHTS

    def measure(self, observations: Observations) -> SignalResult:
        """The histogram (exact) and the norms of the sampled rows, shape (n,), float32."""
        table = observations.embedding
        if isinstance(table, NotMeasured):
            return table
        sampled = np.linalg.norm(observations.rows[table.key].values.astype(np.float64), axis=1)
        if not np.isfinite(sampled).all():
            return NotMeasured("the embedding table holds NaN or infinity")
        arrays = {"sampled_norms": sampled.astype(np.float32)}
        whole = observations.whole
        if isinstance(whole, NotMeasured):
            return SignalValue("sampled", {"bins": _BINS}, arrays=arrays)
        norms = whole[table.stored.name].row_norms
        if not np.isfinite(norms).all():
            return NotMeasured("the embedding table holds NaN or infinity")
        return SignalValue("exact", {"bins": _BINS}, arrays={**arrays, "histogram": _histogram(norms)})

    def compare(self, artifact: SignalValue, base: SignalValue) -> Evidence:
        """Exact against exact, else sampled against sampled."""
        level = "0.5 to 0.99: most tables have norms of one shape"
        if artifact.method == base.method == "exact":
            value = cosine(artifact.arrays["histogram"], base.arrays["histogram"])
            return Evidence(self.name, max(0.0, value), "exact", level)
        a, b = artifact.arrays["sampled_norms"], base.arrays["sampled_norms"]
        value = _similarity(a, b)
        left_out = [
            _similarity(_without(a, i), _without(b, i)) for i in range(_BLOCKS) if min(len(a), len(b)) >= 2 * _BLOCKS
        ]
        error = _jackknife_error(left_out) if left_out else None
        return Evidence(self.name, value, "sampled", level, error)


def _histogram(norms: NDArray[np.floating]) -> NDArray[np.float32]:
    values = np.asarray(norms, np.float64)
    low, high = float(values.min()), float(values.max())
    # A table of equal norms: numpy widens the range by itself, unless the norms are so large that 1 is lost in rounding.
    if not high - low > 1e-9 * max(abs(high), 1e-30):
        low, high = low - 0.5 * max(abs(low), 1.0), high + 0.5 * max(abs(high), 1.0)
    density, _ = np.histogram(values, bins=_BINS, range=(low, high), density=True)
    histogram: NDArray[np.float32] = (density / density.sum()).astype(np.float32)
    return histogram


def _similarity(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    if not len(a) or not len(b):
        raise UndefinedSignalError("no embedding rows")
    return max(0.0, cosine(_histogram(a), _histogram(b)))


def _without(values: NDArray[np.floating], block: int) -> NDArray[np.floating]:
    kept: NDArray[np.floating] = values[np.arange(len(values)) * _BLOCKS // len(values) != block]
    return kept


def _jackknife_error(left_out: list[float]) -> float:
    values = np.array(left_out)
    return float(np.sqrt((len(values) - 1) / len(values) * ((values - values.mean()) ** 2).sum()))
