"""LEP, layer energy profile: how the size of the weights is spread over the layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import UndefinedSignalError
from provenance_gate.fingerprint.interface import Evidence, SignalKind, SignalResult, SignalValue
from provenance_gate.fingerprint.observe import Observations
from provenance_gate.fingerprint.signals.arithmetic import pearson, to_unit
from provenance_gate.fingerprint.signals.reference_names import layer_of


class LayerEnergy:
    """(r + 1) / 2 of two energy profiles, in [0, 1] (reference definition).

    Per layer the sum of its matrices' Frobenius norms, divided by the largest layer; profiles of unequal depth are
    interpolated to the shallower. Exact when the model was read whole; else norms are estimated from the sampled rows, with
    a standard error by the delta method. Unrelated models: anything up to 1.0, depth profiles look alike.
    """

    name = "lep"
    kind = SignalKind.WEIGHTS

    def measure(self, observations: Observations) -> SignalResult:
        """Profiles of shape (layers,), float64: `sampled` with `sampled_error`, and `exact` where possible."""
        if observations.windows is not None:
            return observations.windows
        names = [t.name for t in observations.artifact.stored if len(t.shape) >= 2 and layer_of(t.name) is not None]
        if not names:
            return NotMeasured("no matrix has a layer number in its name")
        squares, errors = _estimated_squares(observations)
        sampled = _per_layer({n: float(np.sqrt(squares.get(n, 0.0))) for n in names})
        # d sqrt(s) = ds / (2 sqrt(s))
        variances = {n: errors.get(n, 0.0) / (4.0 * squares[n]) if squares.get(n) else 0.0 for n in names}
        arrays = {"sampled": sampled, "sampled_error": np.sqrt(_per_layer(variances))}
        if not np.isfinite(sampled).all():
            return NotMeasured("a matrix holds NaN or infinity")
        whole = observations.whole
        if isinstance(whole, NotMeasured):
            return SignalValue("sampled", arrays=arrays)
        exact = _per_layer({n: float(np.sqrt(whole[n].sum_of_squares)) for n in names})
        if not np.isfinite(exact).all():
            return NotMeasured("a matrix holds NaN or infinity")
        return SignalValue("exact", arrays={**arrays, "exact": exact})

    def compare(self, artifact: SignalValue, base: SignalValue) -> Evidence:
        """Exact against exact, else sampled against sampled."""
        level = "0.5 to 1.0: depth profiles look alike"
        if artifact.method == base.method == "exact":
            return Evidence(self.name, _similarity(artifact.arrays["exact"], base.arrays["exact"]), "exact", level)
        a, b = artifact.arrays["sampled"], base.arrays["sampled"]
        value = _similarity(a, b)
        variance = _variance(a, b, artifact.arrays["sampled_error"]) + _variance(b, a, base.arrays["sampled_error"])
        return Evidence(self.name, value, "sampled", level, float(np.sqrt(variance)))


def _estimated_squares(observations: Observations) -> tuple[dict[str, float], dict[str, float]]:
    """Per stored tensor: estimated sum of squares, and the variance of that estimate over the sampled rows."""
    squares: dict[str, float] = {}
    variances: dict[str, float] = {}
    for rows in observations.rows.values():
        energy = np.einsum("ij,ij->i", rows.values, rows.values, dtype=np.float64)
        total, count = rows.shape[0], len(energy)
        squares[rows.stored_name] = squares.get(rows.stored_name, 0.0) + total * float(energy.mean())
        spread = float(energy.var(ddof=1)) if count > 1 else float(energy.mean()) ** 2
        variance = total**2 * spread / count * (1.0 - count / total)
        variances[rows.stored_name] = variances.get(rows.stored_name, 0.0) + variance
    return squares, variances


def _per_layer(values: dict[str, float]) -> NDArray[np.float64]:
    layers: dict[int, float] = {}
    for name in sorted(values):
        layer = layer_of(name)
        if layer is not None:
            layers[layer] = layers.get(layer, 0.0) + values[name]
    return np.array([layers[k] for k in sorted(layers)])


def _similarity(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return to_unit(pearson(*_profiles(a, b)))


def _profiles(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    count = min(len(a), len(b))
    if count < 2 or not (a.max() > 0 and b.max() > 0):
        raise UndefinedSignalError("fewer than two layers with weights")
    x, y = a / a.max(), b / b.max()
    if len(x) != len(y):
        grid = np.linspace(0.0, 1.0, count)
        x, y = (np.interp(grid, np.linspace(0.0, 1.0, len(v)), v) for v in (x, y))
    return x, y


def _variance(values: NDArray[np.float64], other: NDArray[np.float64], errors: NDArray[np.float64]) -> float:
    """Delta method: central differences of the similarity in each layer's energy."""
    total = 0.0
    for i, error in enumerate(errors):
        step = np.zeros_like(values)
        step[i] = max(1e-4 * values[i], 1e-12)
        slope = (_similarity(values + step, other) - _similarity(values - step, other)) / (2.0 * step[i])
        total += (slope * float(error)) ** 2
    return total
