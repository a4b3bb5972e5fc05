"""EAS, embedding anchor similarity: do two embedding tables see 64 common tokens in the same arrangement?"""

from __future__ import annotations

import numpy as np

from provenance_gate.artifact.anchors import select_anchors
from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.sources.ahead import rows_ahead
from provenance_gate.errors import UndefinedSignalError
from provenance_gate.fingerprint.interface import Evidence, SignalKind, SignalResult, SignalValue
from provenance_gate.fingerprint.observe import Observations
from provenance_gate.fingerprint.signals.arithmetic import pearson, to_unit

_FEWEST_ANCHORS = 16
_FEWEST_COMPARED = 8


class EmbeddingAnchors:
    """(r + 1) / 2 of the strict upper triangles of the anchors' cosine matrices, in [0, 1] (reference definition).

    Blind to rotation and scale of the embedding space, and to all of the model behind it. Unrelated models: 0.5 for random
    tables, up to 0.8 between models trained on the same language.
    """

    name = "eas"
    kind = SignalKind.WEIGHTS

    def measure(self, observations: Observations) -> SignalResult:
        """Cosine matrix of the anchor rows, shape (K, K), float32. Always exact: it reads K rows."""
        table, facts = observations.embedding, observations.artifact.tokenizer
        if isinstance(table, NotMeasured):
            return table
        if isinstance(facts, NotMeasured):
            return facts
        anchors = select_anchors(facts, table.shape[0])
        if len(anchors) < _FEWEST_ANCHORS:
            return NotMeasured(f"only {len(anchors)} anchor tokens, {_FEWEST_ANCHORS} are needed")
        rows_ahead(table, anchors)
        rows = np.concatenate([table.read_rows(i, i + 1) for i in anchors]).astype(np.float64)
        if not np.isfinite(rows).all():
            return NotMeasured("the embedding table holds NaN or infinity")
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-8)
        return SignalValue("exact", {"anchors": 64}, arrays={"similarity": (rows @ rows.T).astype(np.float32)})

    def compare(self, artifact: SignalValue, base: SignalValue) -> Evidence:
        """Pearson of the triangles over the first min(K, K') anchors."""
        a, b = artifact.arrays["similarity"], base.arrays["similarity"]
        count = min(len(a), len(b))
        if count < _FEWEST_COMPARED:
            raise UndefinedSignalError(f"only {count} common anchors, {_FEWEST_COMPARED} are needed")
        upper = np.triu_indices(count, 1)
        value = to_unit(pearson(a[:count, :count][upper], b[:count, :count][upper]))
        return Evidence(self.name, value, "exact", "0.5 for random tables, up to 0.8 for one language")
