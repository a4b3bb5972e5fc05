"""NLF, norm layer fingerprint: the gains and biases of the normalization layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import UndefinedSignalError
from provenance_gate.fingerprint.interface import Evidence, SignalKind, SignalResult, SignalValue
from provenance_gate.fingerprint.observe import Observations
from provenance_gate.fingerprint.signals.arithmetic import cosine
from provenance_gate.fingerprint.signals.reference_names import hugging_face_name, is_norm

_SHORTEST = 64
_MOST_VALUES = 1 << 23


class NormGains:
    """Cosine of the concatenated norm vectors, clamped to [0, 1] (reference definition). Always exact.

    Gains start at 1 and stay near it, so unrelated models reach 0.9 and more: the value says little.
    """

    name = "nlf"
    kind = SignalKind.WEIGHTS

    def measure(self, observations: Observations) -> SignalResult:
        """Concatenation in name order when all vectors have one length, else (mean, std, max, min) of each; float32."""
        wanted = [
            t for t in observations.artifact.stored if len(t.shape) == 1 and t.size >= _SHORTEST and is_norm(t.name)
        ]
        wanted.sort(key=lambda t: hugging_face_name(t.name))
        if not wanted:
            return NotMeasured("no normalization vector with 64 or more elements")
        if sum(t.size for t in wanted) > _MOST_VALUES:
            return NotMeasured("more normalization values than any known model has")
        vectors = [t.reader.read(0, t.size).astype(np.float64) for t in wanted]
        direct = len({len(v) for v in vectors}) == 1
        vector = np.concatenate(vectors) if direct else _summary(vectors)
        if not np.isfinite(vector).all():
            return NotMeasured("a normalization vector holds NaN or infinity")
        facts = {"tensors": len(vectors), "direct": direct}
        return SignalValue("exact", {"order": "name"}, dict(facts), {"vector": vector.astype(np.float32)})

    def compare(self, artifact: SignalValue, base: SignalValue) -> Evidence:
        """Vectors of unequal form are summarized tensor by tensor first, then cut to the shorter."""
        a, b = artifact.arrays["vector"], base.arrays["vector"]
        if not (artifact.facts["direct"] and base.facts["direct"] and len(a) == len(b)):
            a, b = _summarized(artifact), _summarized(base)
            count = min(len(a), len(b))
            a, b = a[:count], b[:count]
        return Evidence(self.name, max(0.0, cosine(a, b)), "exact", "0.9 and more: gains stay near their start")


def _summary(vectors: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.array([s for v in vectors for s in (v.mean(), v.std(), v.max(), v.min())])


def _summarized(value: SignalValue) -> NDArray[np.float64]:
    vector = value.arrays["vector"].astype(np.float64)
    tensors = value.facts["tensors"]
    if not value.facts["direct"]:
        return vector
    if not isinstance(tensors, int) or tensors < 1 or len(vector) < tensors:
        raise UndefinedSignalError("the stored norm vector does not match its tensor count")
    size = len(vector) // tensors
    return _summary([vector[i * size : (i + 1) * size] for i in range(tensors)])
