"""Weight correlation: sampled rows of every matrix, to be compared tensor by tensor and tested by permuting hidden units."""

from __future__ import annotations

import numpy as np

from provenance_gate.artifact.interface import COMPONENT_OF_ROLE, Component, NotMeasured, TensorKey
from provenance_gate.errors import UndefinedSignalError, one_line
from provenance_gate.fingerprint.interface import Evidence, Json, SignalKind, SignalResult, SignalValue
from provenance_gate.fingerprint.observe import Observations
from provenance_gate.fingerprint.rows import KeptRows, on_common_blocks, pack_keys, pack_rows, unpack_keys, unpack_rows
from provenance_gate.fingerprint.signals.arithmetic import cosine

BODY = (Component.ATTENTION, Component.FEED_FORWARD, Component.EXPERTS)


class WeightCorrelation:
    """Mean cosine of the sampled rows of corresponding body matrices, weighted by their size, in [-1, 1].

    `compare` pairs tensors of equal key and shape only; the lineage room pairs layers and renamed tensors as well, and tests
    the result (`permutation.py`). Unrelated models: below 0.01 in magnitude, whatever their config says; fine-tunes: 0.9 and
    more; heavy continued pretraining: 0.3 and more. Evasion: reordering hidden units blinds it (its test stays silent, so the
    answer is `independent` or `undecided`, never a false `derived`).
    """

    name = "weight_correlation"
    kind = SignalKind.WEIGHTS

    def measure(self, observations: Observations) -> SignalResult:
        """The rows, and the number of attention heads that config.json states."""
        if not observations.rows:
            return NotMeasured("no weight matrix could be read")
        for rows in observations.rows.values():
            if not np.isfinite(rows.values).all():
                return NotMeasured(f"{one_line(rows.stored_name)} holds NaN or infinity")
        whole = observations.whole
        if not isinstance(whole, NotMeasured):
            for name, tensor in sorted(whole.items()):
                if not np.isfinite(tensor.sum_of_squares):
                    return NotMeasured(f"{one_line(name)} holds NaN or infinity")
        table, arrays = pack_rows(observations.rows.values())
        config = observations.artifact.config
        heads = None if isinstance(config, NotMeasured) else config.num_attention_heads
        plan = observations.plan
        facts = {"tensors": table, "attention_heads": heads, "roles_from": observations.artifact.roles_from}
        if observations.unread:
            facts["unread"] = pack_keys(observations.unread)
        parameters: dict[str, Json] = {"plan": plan.version, "seed": plan.seed}
        if plan.tall:
            parameters["tall"] = True
        return SignalValue("sampled", parameters, facts, arrays)

    def compare(self, artifact: SignalValue, base: SignalValue) -> Evidence:
        """Over tensors of equal key and shape."""
        a, b = on_common_blocks(rows_of(artifact), rows_of(base))
        pairs = [(a[k], b[k]) for k in a if k in b and COMPONENT_OF_ROLE.get(k.role) in BODY]
        return mean_correlation(pairs)


def mean_correlation(pairs: list[tuple[KeptRows, KeptRows]]) -> Evidence:
    """Size-weighted mean cosine of `pairs`; those of unequal shape are left out.

    Raises UndefinedSignalError when none is left.
    """
    values, sizes = [], []
    for ours, theirs in pairs:
        value = pair_cosine(ours, theirs)
        if value is not None:
            values.append(value)
            sizes.append(float(ours.shape[0]) * ours.shape[1])
    if not values:
        raise UndefinedSignalError("no attention or feed-forward matrix has the same place and shape in both models")
    mean = float(np.average(values, weights=sizes))
    spread = float(np.std(values) / np.sqrt(len(values)))
    return Evidence(
        WeightCorrelation.name, mean, "sampled", "below 0.01 in magnitude", spread, detail={"tensors": len(values)}
    )


def pair_cosine(ours: KeptRows, theirs: KeptRows) -> float | None:
    """Cosine over the rows that both kept, in [-1, 1]; None when shapes differ or a side is zero."""
    if ours.shape != theirs.shape or ours.first != theirs.first:
        return None
    count = min(ours.count, theirs.count)
    try:
        return cosine(ours.top(count).reshape(-1), theirs.top(count).reshape(-1))
    except UndefinedSignalError:
        return None


def unread_of(value: SignalValue) -> frozenset[TensorKey]:
    """Matrices of the model that were passed over. Raises FingerprintError when the list is malformed."""
    return unpack_keys(value.facts.get("unread", []))


def rows_of(value: SignalValue) -> dict[TensorKey, KeptRows]:
    """The rows of a measured value, unpacked."""
    return unpack_rows(value.facts["tensors"], value.arrays)
