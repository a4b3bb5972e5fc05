"""Stored numbers of the reference system as values of our signals, where both measure the same quantity.

What was measured otherwise is `NotMeasured`, or carries another parameter, which `compare_signal` refuses:

- Above 20 GB the reference system sums squares of 32 rows a matrix instead of norms, and takes its sampled values from these
  rows: layer energy and weight values are other quantities there.
- It keeps tensors in the order of the files, ours are in the order of their names. The two differ for a model in several
  shards: layer 10 comes before layer 2 by name, and a layer may lie in two shards.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import RegistryError
from provenance_gate.fingerprint.interface import Json, SignalResult, SignalValue
from provenance_gate.fingerprint.signals.wvc import PARAMETERS, packed
from provenance_gate.registry.reference_features import Features, Reading
from provenance_gate.registry.reference_parquet import DeepSignals

NEVER_STORED: Mapping[str, SignalResult] = {
    "voa": NotMeasured("the imported database holds no token strings"),
    "content_identity": NotMeasured("the imported database holds no digests of tensors"),
    "weight_correlation": NotMeasured(
        "the imported database holds no rows of the weights: descent cannot be shown from it, only from the base itself"
    ),
}

_STORED: Mapping[str, str] = {
    "eas": "eas_self_sim",
    "end": "end_histogram",
    "nlf": "nlf_vector",
    "lep": "lep_profile",
    "wvc": "wvc_layer_sigs",
}
_BY_ROWS = ("lep", "wvc")
_EVERY_VALUE = (Reading.WHOLE, Reading.SHARDED)
_NAME_ORDER = (Reading.WHOLE, Reading.ROWS)
_FILE_ORDER: Mapping[str, Json] = {"order": "file"}
_ROUNDING = 1e-3


def stored_names(reading: Reading) -> tuple[str, ...]:
    """What to read of the parquet file: values from sampled rows are left there."""
    return tuple(name for key, name in _STORED.items() if reading in _EVERY_VALUE or key not in _BY_ROWS)


def without_weights(reason: str) -> dict[str, SignalResult]:
    """All signals of the weights, absent."""
    return dict.fromkeys(_STORED, NotMeasured(reason))


def weight_signals(lines: DeepSignals, layout: Features, reading: Reading, where: str) -> dict[str, SignalResult]:
    """The five signals of the weights.

    Parameters
    ----------
    lines
        The parquet file's vectors.
    layout
        `signals` of the features: the shapes that they state, and how the norm vector is laid out.
    where
        What messages call the parquet file.

    Raises
    ------
    RegistryError
        A signal does not have the stated shape, or holds what its definition cannot give.
    """
    found = without_weights("the imported database lacks this signal of the model")
    if "eas_self_sim" in lines:
        found["eas"] = _similarity(lines["eas_self_sim"], layout, f"{where}: eas_self_sim")
    if "end_histogram" in lines:
        found["end"] = _histogram(lines["end_histogram"][0], layout, f"{where}: end_histogram")
    if "nlf_vector" in lines:
        found["nlf"] = _norms(lines["nlf_vector"][0], layout, reading, f"{where}: nlf_vector")
    if "lep_profile" in lines:
        found["lep"] = _profile(lines["lep_profile"][0], layout, f"{where}: lep_profile")
    if "wvc_layer_sigs" in lines:
        found["wvc"] = _values(lines["wvc_layer_sigs"], layout, reading, f"{where}: wvc_layer_sigs")
    if reading not in _EVERY_VALUE:
        reason = "measured differently, from 32 rows a matrix as for every model above 20 GB or of unknown size"
        found |= dict.fromkeys(_BY_ROWS, NotMeasured(f"{reason}: not comparable"))
    return found


def _similarity(columns: Mapping[int, NDArray[np.float32]], layout: Features, where: str) -> SignalResult:
    count = len(columns)
    if set(columns) != set(range(count)) or any(len(column) != count for column in columns.values()):
        raise RegistryError(f"{where}: expected a square matrix without gaps")
    shape = layout.items("eas_self_sim_shape")
    if shape and shape != [count, count]:
        raise RegistryError(f"{where}: {count} x {count} values, eas_self_sim_shape states another shape")
    matrix = np.stack([columns[i] for i in range(count)], axis=1)
    if np.abs(matrix).max() > 1.0 + _ROUNDING:
        raise RegistryError(f"{where}: expected cosines in [-1, 1], found {np.abs(matrix).max():g}")
    return SignalValue("exact", {"anchors": 64}, arrays={"similarity": matrix})


def _histogram(values: NDArray[np.float32], layout: Features, where: str) -> SignalResult:
    _check_length(values, layout, "end_histogram_bins", where)
    if values.min() < 0 or abs(float(values.sum(dtype=np.float64)) - 1.0) > _ROUNDING:
        raise RegistryError(f"{where}: expected shares that add up to 1")
    return SignalValue("exact", {"bins": len(values)}, arrays={"histogram": values})


def _norms(values: NDArray[np.float32], layout: Features, reading: Reading, where: str) -> SignalResult:
    _check_length(values, layout, "nlf_vector_length", where)
    mode, tensors = layout.text("nlf_mode"), layout.integer("nlf_num_layers")
    if mode not in ("direct", "stats") or not tensors:
        return NotMeasured("the imported database does not say how its norm vector is laid out")
    if len(values) % tensors if mode == "direct" else len(values) != 4 * tensors:
        raise RegistryError(f"{where}: {len(values):,} values do not fit nlf_mode {mode} of {tensors:,} tensors")
    facts: dict[str, Json] = {"tensors": tensors, "direct": mode == "direct"}
    order = {"order": "name"} if reading in _NAME_ORDER else _FILE_ORDER
    return SignalValue("exact", order, facts, {"vector": values})


def _profile(values: NDArray[np.float32], layout: Features, where: str) -> SignalResult:
    _check_length(values, layout, "lep_profile_length", where)
    if values.min() < 0 or values.max() > 1.0 + _ROUNDING:
        raise RegistryError(f"{where}: expected energies in [0, 1]")
    # A layer number that no matrix has is a zero there, and nothing here.
    kept = values[values > 0].astype(np.float64)
    return SignalValue("exact", arrays={"exact": kept}) if len(kept) else NotMeasured("every layer has the energy 0")


def _values(layers: Mapping[int, NDArray[np.float32]], layout: Features, reading: Reading, where: str) -> SignalResult:
    stated = layout.integer("wvc_layer_count")
    if stated and stated != len(layers):
        raise RegistryError(f"{where}: {len(layers)} layers, wvc_layer_count states {stated}")
    parameters = {**PARAMETERS, **(_FILE_ORDER if reading is Reading.SHARDED else {})}
    return SignalValue("exact", parameters, arrays=packed("exact", layers))


def _check_length(values: NDArray[np.float32], layout: Features, key: str, where: str) -> None:
    stated = layout.integer(key)
    if stated and stated != len(values):
        raise RegistryError(f"{where}: {len(values):,} values, {key} states {stated:,}")
