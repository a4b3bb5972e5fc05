"""WVC, weight-value cosine: sampled values of corresponding layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import COMPONENT_OF_ROLE, Component, NotMeasured, TensorKey
from provenance_gate.errors import UndefinedSignalError
from provenance_gate.fingerprint.interface import Evidence, Json, SignalKind, SignalResult, SignalValue
from provenance_gate.fingerprint.observe import STRIDED, Observations, SampledRows
from provenance_gate.fingerprint.signals.arithmetic import cosine
from provenance_gate.fingerprint.signals.reference_names import hugging_face_name, is_projection, layer_of

_SAMPLED = 256
"""Values per matrix kept for the sampled form."""
PARAMETERS: Mapping[str, Json] = {"strided": STRIDED, "sampled": _SAMPLED}
_FEWEST_VALUES = 64
_BODY = (Component.ATTENTION, Component.FEED_FORWARD, Component.EXPERTS)


class WeightValueCosine:
    """Mean over common layers of the cosine of their sampled values, clamped to [0, 1] per layer (reference definition).

    Exact: 4096 strided values of each projection. Sampled: values of the sampled rows, with the standard error of the mean
    over layers. Unrelated models: 0.00 to 0.02.
    """

    name = "wvc"
    kind = SignalKind.WEIGHTS

    def measure(self, observations: Observations) -> SignalResult:
        """One vector a layer, all concatenated: `exact` (float32) and `sampled` (float32) with their lengths."""
        if observations.windows is not None:
            return observations.windows
        sampled = _by_layer(
            (rows.stored_name, rows.values.reshape(-1)[:_SAMPLED])
            for key, rows in sorted(observations.rows.items(), key=_by_name)
            if COMPONENT_OF_ROLE.get(key.role) in _BODY
        )
        whole = observations.whole
        exact: dict[int, NDArray[np.float32]] = {}
        if not isinstance(whole, NotMeasured):
            matrices = (t.name for t in observations.artifact.stored if len(t.shape) >= 2 and is_projection(t.name))
            ordered = sorted(matrices, key=hugging_face_name)
            exact = _by_layer((name, whole[name].strided[:STRIDED]) for name in ordered)
        if not sampled and not exact:
            return NotMeasured("no attention or feed-forward matrix has a layer number in its name")
        if not all(np.isfinite(v).all() for v in (*sampled.values(), *exact.values())):
            return NotMeasured("a matrix holds NaN or infinity")
        return SignalValue(
            "exact" if exact else "sampled",
            PARAMETERS,
            arrays={**packed("sampled", sampled), **(packed("exact", exact) if exact else {})},
        )

    def compare(self, artifact: SignalValue, base: SignalValue) -> Evidence:
        """Exact against exact, else sampled against sampled."""
        method = "exact" if artifact.method == base.method == "exact" else "sampled"
        if not all(method in value.arrays for value in (artifact, base)):
            raise UndefinedSignalError("one value is exact and the other sampled")
        a, b = _unpacked(method, artifact), _unpacked(method, base)
        values = [_layer_cosine(a[layer], b[layer]) for layer in sorted(a.keys() & b.keys())]
        compared = [v for v in values if v is not None]
        if len(compared) < 2:
            raise UndefinedSignalError("fewer than two common layers")
        error = None if method == "exact" else float(np.std(compared, ddof=1) / np.sqrt(len(compared)))
        return Evidence(self.name, float(np.mean(compared)), method, "0.00 to 0.02", error)


def _by_name(item: tuple[TensorKey, SampledRows]) -> tuple[str, str]:
    return hugging_face_name(item[1].stored_name), str(item[0])


def _layer_cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float | None:
    count = min(len(a), len(b))
    return max(0.0, cosine(a[:count], b[:count])) if count >= _FEWEST_VALUES else None


def _by_layer(named: Iterable[tuple[str, NDArray[np.float32]]]) -> dict[int, NDArray[np.float32]]:
    parts: dict[int, list[NDArray[np.float32]]] = {}
    for name, values in named:
        layer = layer_of(name)
        if layer is not None:
            parts.setdefault(layer, []).append(values)
    return {layer: np.concatenate(values) for layer, values in sorted(parts.items())}


def packed(name: str, layers: Mapping[int, NDArray[np.float32]]) -> dict[str, NDArray[np.generic]]:
    """One vector a layer as three arrays: all values, the layers, and how many values each has."""
    values = list(layers.values())
    return {
        name: np.concatenate(values) if values else np.empty(0, np.float32),
        f"{name}_layers": np.array(list(layers), dtype=np.int32),
        f"{name}_lengths": np.array([len(v) for v in values], dtype=np.int32),
    }


def _unpacked(name: str, value: SignalValue) -> dict[int, NDArray[np.float32]]:
    layers, lengths = value.arrays[f"{name}_layers"], value.arrays[f"{name}_lengths"]
    parts = np.split(value.arrays[name], np.cumsum(lengths)[:-1]) if len(lengths) else []
    return {int(layer): part for layer, part in zip(layers, parts, strict=True)}
