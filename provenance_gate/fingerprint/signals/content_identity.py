"""Content identity: which tensors are bit-equal, whatever files, names, order or float width they are stored in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import UndefinedSignalError
from provenance_gate.fingerprint.interface import Evidence, SignalKind, SignalResult, SignalValue
from provenance_gate.fingerprint.observe import Observations


class ContentIdentity:
    """Share of the artifact's parameters that stand in tensors which the base holds too, in [0, 1].

    Tensors are compared by SHA-256 of their values as float32; constant ones (zeros, gains of one) are left out on both
    sides. Exact when the models were read whole; else digests are of the sampled rows, and the value is an upper bound.
    Unrelated models: 0.
    """

    name = "content_identity"
    kind = SignalKind.WEIGHTS

    def measure(self, observations: Observations) -> SignalResult:
        """First 128 bits of each digest, shape (n, 2), uint64, sorted, and the parameters behind each, shape (n,)."""
        found = sorted((c.sha256[:32], c.size) for c in observations.contents.values() if not c.constant and c.size > 1)
        if not found:
            return NotMeasured("every tensor is constant")
        words = [[int(digest[:16], 16), int(digest[16:], 16)] for digest, _ in found]
        sizes = [size for _, size in found]
        return SignalValue(
            "exact" if observations.exact else "sampled",
            {"digest": "sha256-128 of float32", "seed": observations.plan.seed},
            arrays={"digests": np.array(words, dtype=np.uint64), "sizes": np.array(sizes, dtype=np.int64)},
        )

    def compare(self, artifact: SignalValue, base: SignalValue) -> Evidence:
        """The share. Raises UndefinedSignalError when one side was read whole and the other sampled."""
        if artifact.method != base.method or artifact.parameters != base.parameters:
            raise UndefinedSignalError("one model was read whole and the other sampled; --exact reads both whole")
        theirs = _keys(base.arrays["digests"])
        sizes = artifact.arrays["sizes"]
        same = np.isin(_keys(artifact.arrays["digests"]), theirs)
        value = float(sizes[same].sum() / sizes.sum())
        detail = {
            "tensors": len(sizes),
            "equal_tensors": int(same.sum()),
            "base_parameters": int(base.arrays["sizes"].sum()),
            "parameters": int(sizes.sum()),
        }
        return Evidence(self.name, value, artifact.method, "0", detail=dict(detail))


def _keys(digests: NDArray[np.uint64]) -> NDArray[np.void]:
    pairs = np.ascontiguousarray(digests)
    return pairs.view([("high", np.uint64), ("low", np.uint64)]).reshape(-1)
