"""A small database in the layout that the reference system publishes, its numbers computed by the plain definitions."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from provenance_gate.artifact.anchors import select_anchors
from provenance_gate.artifact.interface import TokenizerFacts
from provenance_gate.artifact.load import open_artifact

Vector = NDArray[np.floating[Any]]
Signals = dict[str, Any]
Line = tuple[str, int | None, int, int | None, float]
COLUMNS = ("signal", "layer", "row", "col", "value")
PROJECTIONS = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "query",
    "key",
    "value",
    "dense",
)


def deep_signals(tensors: Mapping[str, NDArray[Any]], anchors: Sequence[int], embedding: str) -> Signals:
    """The five signals of the weights, each in the plainest form of its definition."""
    table = tensors[embedding].astype(np.float64)
    rows = table[list(anchors)]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    counts, _ = np.histogram(np.linalg.norm(table, axis=1), bins=20, density=True)
    norms = [
        tensors[n] for n in sorted(tensors) if tensors[n].ndim == 1 and "norm" in n.lower() and tensors[n].size >= 64
    ]
    energy: dict[int, float] = {}
    values: dict[int, list[Vector]] = {}
    for name in sorted(tensors):
        tensor, found = tensors[name], re.search(r"layers?\.(\d+)\.", name)
        if tensor.ndim < 2 or not found:
            continue
        layer = int(found.group(1))
        energy[layer] = energy.get(layer, 0.0) + float(np.linalg.norm(tensor.astype(np.float64)))
        if any(part in name for part in PROJECTIONS):
            flat = tensor.astype(np.float64).reshape(-1)
            values.setdefault(layer, []).append(flat[:: max(1, flat.size // 4096)][:4096])
    return {
        "eas_self_sim": rows @ rows.T,
        "end_histogram": counts / counts.sum(),
        "nlf_vector": np.concatenate(norms),
        "norm_tensors": len(norms),
        "lep_profile": np.array([energy[i] for i in sorted(energy)]) / max(energy.values()),
        "wvc_layer_sigs": {layer: np.concatenate(parts) for layer, parts in values.items()},
    }


def expected_scores(a: Signals, b: Signals) -> dict[str, float]:
    """What the reference system prints for two sets of signals of equal depth."""

    def cosine(x: Vector, y: Vector) -> float:
        return max(0.0, float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y))))

    upper = np.triu_indices(len(a["eas_self_sim"]), 1)
    pearson = [
        np.corrcoef(x, y)[0, 1]
        for x, y in (
            (a["eas_self_sim"][upper], b["eas_self_sim"][upper]),
            (a["lep_profile"], b["lep_profile"]),
        )
    ]
    layers = a["wvc_layer_sigs"].keys()
    scores = {
        "eas": (pearson[0] + 1) / 2,
        "nlf": cosine(a["nlf_vector"], b["nlf_vector"]),
        "lep": (pearson[1] + 1) / 2,
        "end": cosine(a["end_histogram"], b["end_histogram"]),
        "wvc": float(np.mean([cosine(a["wvc_layer_sigs"][i], b["wvc_layer_sigs"][i]) for i in layers])),
    }
    weights = {"eas": 0.36, "nlf": 0.08, "lep": 0.16, "end": 0.19, "wvc": 0.21}
    return {**scores, "identity": sum(weights[k] * scores[k] for k in weights)}


@dataclass
class Asset:
    """One model as it will be stored; tests change its parts before they write it."""

    asset_id: str
    features: dict[str, Any]
    lines: list[Line]
    catalog: dict[str, Any]
    checksum: str | None = None
    table: Any = None
    columns: dict[str, Any] = field(default_factory=dict)


def copied(asset: Asset) -> Asset:
    """A copy that a test may change."""
    return replace(asset, lines=list(asset.lines), features=deepcopy(asset.features), catalog=dict(asset.catalog))


def stored(folder: Path, tensors: Mapping[str, NDArray[Any]], model_id: str, embedding: str) -> tuple[Asset, Signals]:
    """The asset of a model folder, and the exact signals that it was written from."""
    artifact = open_artifact(folder).artifact
    tokenizer = artifact.tokenizer
    assert isinstance(tokenizer, TokenizerFacts)
    signals = deep_signals(tensors, select_anchors(tokenizer, tensors[embedding].shape[0]), embedding)
    config = json.loads((folder / "config.json").read_text())
    family, name = "acme--base", model_id.split("/")[-1]
    asset_id = f"{name}__hf-safetensors"
    features = {
        "asset_id": asset_id,
        "model_id": name,
        "family_id": family,
        "status": "ok",
        "missing_signals": [],
        "mfi": _mfi(config, tokenizer),
        "tfv": _tfv(tokenizer),
        "vocab": {"size": tokenizer.vocab_size},
        "signals": {
            "eas_self_sim_shape": list(signals["eas_self_sim"].shape),
            "eas_anchor_count": len(signals["eas_self_sim"]),
            "nlf_mode": "direct",
            "nlf_num_layers": signals["norm_tensors"],
            "nlf_vector_length": len(signals["nlf_vector"]),
            "end_histogram_bins": 20,
            "lep_profile_length": len(signals["lep_profile"]),
            "wvc_layer_count": len(signals["wvc_layer_sigs"]),
        },
        "artifact_refs": [
            {
                "artifact_id": f"{name}-deep-signals",
                "type": "deep_signals",
                "path": f"features/deep-signals/by-family/{family}/{asset_id}_deep-signals.parquet",
                "availability": "local",
            }
        ],
    }
    catalog = {
        "asset_id": asset_id,
        "model_id": name,
        "format": "safetensors",
        "feature_path": f"features/base/by-family/{family}/{asset_id}_features.json",
        "param_bucket": "<=1B",
        "source_uri": f"https://huggingface.co/{model_id}",
        "canonical_name": name,
    }
    return Asset(asset_id, features, list(long_form(signals)), catalog), signals


def _mfi(config: dict[str, Any], tokenizer: TokenizerFacts) -> dict[str, Any]:
    heads, groups = config["num_attention_heads"], config.get("num_key_value_heads")
    nine = {
        key: config.get(key)
        for key in (
            "model_type",
            "architectures",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "intermediate_size",
            "vocab_size",
            "max_position_embeddings",
        )
    }
    return {
        **nine,
        "hidden_act": config.get("hidden_act"),
        "rope_theta": config.get("rope_theta"),
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "bos_token_id": config.get("bos_token_id"),
        "eos_token_id": config.get("eos_token_id"),
        "attention_style": "MHA" if groups in (None, heads) else "GQA",
        "norm_type": "RMSNorm" if "rms_norm_eps" in config else "LayerNorm",
        "attention_bias": None,
        "qk_norm": False,
        "pos_encoding": config.get("position_embedding_type", "absolute"),
        "tokenizer_hash": hashlib.sha256(str(tokenizer.vocabulary_sha256).encode()).hexdigest(),
        "arch_hash": hashlib.sha256(json.dumps(list(nine.values())).encode()).hexdigest(),
    }


def _tfv(tokenizer: TokenizerFacts) -> dict[str, Any]:
    ids = tokenizer.special_ids
    return {
        "vocab_size": tokenizer.vocab_size,
        "tokenizer_class": tokenizer.class_name,
        "bos_token_id": ids.get("bos"),
        "eos_token_id": ids.get("eos"),
        "num_merges": tokenizer.num_merges,
        "merge_rule_hash": str(tokenizer.first_merges_sha256),
        "special_token_ids": {n: ids.get(n) for n in ("pad", "unk", "mask")},
        "avg_token_length": round(tokenizer.mean_token_length, 2),
        "pct_whitespace_prefix": round(tokenizer.space_mark_share, 4),
        "pct_byte_tokens": 0.001 if tokenizer.has_byte_tokens else 0.0,
        "script_distribution": {k: v for k, v in tokenizer.script_shares.items() if v},
    }


def long_form(signals: Signals) -> Iterator[Line]:
    """One number a line."""
    matrix = signals["eas_self_sim"]
    yield from (("eas_self_sim", None, r, c, float(v)) for (r, c), v in np.ndenumerate(matrix))
    for name in ("nlf_vector", "lep_profile", "end_histogram"):
        yield from ((name, None, row, None, float(v)) for row, v in enumerate(signals[name]))
    yield from (("wsp_signature", None, row, None, 0.5) for row in range(8))
    for layer, vector in signals["wvc_layer_sigs"].items():
        yield from (("wvc_layer_sigs", layer, row, None, float(v)) for row, v in enumerate(vector))


def write_database(folder: Path, *assets: Asset, **manifest: Any) -> Path:
    """Writes all files; each parquet file's checksum goes into the features unless the asset states another."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    shard = "catalog/by-family/acme--base.json"
    about = {"family_id": "acme--base", "display_name": "Base", "publisher": "acme"}
    _write(folder / shard, {"family": about, "assets": [a.catalog for a in assets]})
    listed = [{"family_id": "acme--base", "shard_path": shard, "asset_count": len(assets)}]
    _write(folder / "catalog/manifest.json", {"shard_strategy": "by_family", "shards": listed, **manifest})
    for asset in assets:
        path = folder / f"features/deep-signals/by-family/acme--base/{asset.asset_id}_deep-signals.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(asset.table if asset.table is not None else table(arrow, asset), path)
        digest = asset.checksum or f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        for ref in asset.features["artifact_refs"]:
            ref.setdefault("checksum", digest)
        _write(folder / f"features/base/by-family/acme--base/{asset.asset_id}_features.json", asset.features)
    return folder


def table(arrow: Any, asset: Asset) -> Any:
    """The lines of an asset as an arrow table; `columns` gives a column another type, or None to leave it out."""
    types = {
        "signal": arrow.string(),
        "layer": arrow.int32(),
        "row": arrow.int32(),
        "col": arrow.int32(),
        "value": arrow.float32(),
        **asset.columns,
    }
    columns = zip(*asset.lines, strict=True)
    named = {n: arrow.array(list(v), types[n]) for n, v in zip(COLUMNS, columns, strict=True) if types[n] is not None}
    return arrow.table(named)


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
