"""The real all-MiniLM-L6-v2 and derivatives of it; and the values that the reference system printed for them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from provenance_gate.artifact.load import open_artifact
from provenance_gate.fingerprint.interface import Fingerprint
from provenance_gate.fingerprint.measure import measure
from provenance_gate.lineage.compare import compare
from provenance_gate.lineage.interface import BaseRef, Lineage, Relation
from tests.models import Tensors, changed, minilm, noisy, write_shards

EXPECTED = json.loads((Path(__file__).parent / "reference_values.json").read_text())
METADATA = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


@pytest.fixture(scope="module")
def original() -> Tensors:
    return dict(load_file(minilm() / "model.safetensors"))


@pytest.fixture(scope="module")
def base(original: Tensors) -> Fingerprint:
    return measure(open_artifact(minilm()).artifact)


def folder_with(path: Path, tensors: Tensors, shards: int = 1, **config: object) -> Path:
    path.mkdir(parents=True)
    for name in METADATA:
        shutil.copy(minilm() / name, path / name)
    facts = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**facts, **config}))
    write_shards(path, tensors, shards)
    return path


def lineage(folder: Path, base: Fingerprint) -> Lineage:
    found = compare(measure(open_artifact(folder).artifact), base, BaseRef("minilm", "minilm"))
    assert isinstance(found.score, float), found.reason
    return found


def floats(tensors: Tensors) -> Tensors:
    return {k: v for k, v in tensors.items() if v.dtype == np.float32}


def int8_round_trip(values: np.ndarray) -> np.ndarray:
    scale = np.abs(values).max(axis=1, keepdims=True) / 127
    return np.round(values / scale) * scale


def renamed(tensors: Tensors) -> Tensors:
    order = np.random.default_rng(0).permutation(len(tensors))
    return {f"tensor_{order[i]:03d}": v for i, v in enumerate(tensors.values())}


def pruned(tensors: Tensors, share: float) -> Tensors:
    return changed(tensors, lambda v: np.where(np.abs(v) >= np.quantile(np.abs(v), share), v, 0))


DERIVED: dict[str, Callable[[Tensors], Tensors]] = {
    "float16": lambda t: {k: v.astype(np.float16) for k, v in t.items()},
    "prefixed names": lambda t: {f"bert.{k}": v for k, v in t.items()},
    "scrambled names": renamed,
    "noise of 5 %": lambda t: noisy(t, 0.05),
    "half of the weights pruned": lambda t: pruned(t, 0.5),
    "int8 round trip": lambda t: changed(t, int8_round_trip),
}


@pytest.mark.parametrize("kind", DERIVED)
def test_a_derivative_is_shown(tmp_path: Path, original: Tensors, base: Fingerprint, kind: str) -> None:
    found = lineage(folder_with(tmp_path / "m", DERIVED[kind](floats(original))), base)
    assert found.relation in (Relation.REFORMATTED, Relation.DERIVED)
    assert isinstance(found.score, float) and found.score >= 0.95


def test_new_shards_are_identical(tmp_path: Path, original: Tensors, base: Fingerprint) -> None:
    found = lineage(folder_with(tmp_path / "m", original, shards=3), base)
    assert (found.score, found.relation) == (1.0, Relation.IDENTICAL)


def test_bfloat16_is_reformatted(tmp_path: Path, original: Tensors, base: Fingerprint) -> None:
    folder = folder_with(tmp_path / "m", {"placeholder": np.zeros(1, np.float32)})
    header: dict[str, object] = {}
    at, data = 0, []
    for name, values in floats(original).items():
        bits = values.view(np.uint32)
        raw = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        data.append(raw)
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data))
    found = lineage(folder, base)
    assert (found.score, found.relation) == (1.0, Relation.REFORMATTED)
    for name in ("eas", "end", "nlf", "lep", "wvc"):
        assert found.signals[name].value == pytest.approx(1.0, abs=1e-2)


def shuffled(tensors: Tensors) -> Tensors:
    rng = np.random.default_rng(1)
    return changed(tensors, lambda v: v[rng.permutation(v.shape[0])][:, rng.permutation(v.shape[1])])


def reinitialized(tensors: Tensors) -> Tensors:
    rng = np.random.default_rng(2)
    return changed(tensors, lambda v: v.mean() + v.std() * rng.standard_normal(v.shape))


@pytest.mark.parametrize("change", [shuffled, reinitialized])
def test_the_same_metadata_over_other_weights_is_independent(
    tmp_path: Path, original: Tensors, base: Fingerprint, change: Callable[[Tensors], Tensors]
) -> None:
    found = lineage(folder_with(tmp_path / "m", change(floats(original))), base)
    assert found.relation is Relation.INDEPENDENT
    assert isinstance(found.score, float) and found.score <= 0.30
    assert found.signals["mfi"].value == 1.0


def test_z_over_shuffles_of_a_real_model_is_standard_normal(base: Fingerprint) -> None:
    """Neurons of the real model in random order, against the real model: independent by construction."""
    from provenance_gate.fingerprint.permutation import combined_test, pair_statistics
    from provenance_gate.fingerprint.signals.weight_correlation import rows_of
    from provenance_gate.lineage.layers import feed_forward_writers

    value = base.signals["weight_correlation"]
    writers = [np.asarray(w) for w in feed_forward_writers(rows_of(value)).values()]  # type: ignore[arg-type]
    rng = np.random.default_rng(3)
    z = []
    for _ in range(600):
        moved = [w[:, :16, rng.permutation(w.shape[2])] for w in writers]
        test = combined_test(
            pair_statistics(moved, [w[:, :16] for w in writers]), [(i, i) for i in range(len(writers))]
        )
        assert test is not None
        z.append(test.z)
    # 600 draws know the mean to 0.041 and the deviation to 0.029: the bounds of 0.1 are 2.4 and 3.4 errors wide.
    assert abs(np.mean(z)) < 0.1
    assert abs(np.std(z) - 1.0) < 0.1


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory, original: Tensors) -> dict[str, Fingerprint]:
    """The deterministic variants on which the reference values were computed."""
    root = tmp_path_factory.mktemp("variants")
    made: dict[str, tuple[Tensors, dict[str, object]]] = {
        "original": (original, {}),
        "float16": ({k: v.astype(np.float16) if v.dtype == np.float32 else v for k, v in original.items()}, {}),
        "noise05": (_reference_noise(original, 0.05, 0), {}),
        "noise100": (_reference_noise(original, 1.0, 1), {}),
        "prune50": (pruned(original, 0.5), {}),
        "reinit": (_reference_reinit(original, 2), {}),
        "layers0235": (_keep_layers(original, (0, 2, 3, 5)), {"num_hidden_layers": 4}),
    }
    prints = {}
    for name, (tensors, change) in made.items():
        folder = folder_with(root / name, {}, **change)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        prints[name] = measure(open_artifact(folder).artifact)
        shutil.rmtree(folder)
    return prints


def _reference_noise(tensors: Tensors, share: float, seed: int) -> Tensors:
    rng = np.random.default_rng(seed)
    found = dict(tensors)
    for name in sorted(k for k, v in tensors.items() if v.ndim == 2):
        values = tensors[name]
        noise = share * values.std() * rng.standard_normal(values.shape, dtype=np.float32)
        # The buffer of position ids is a matrix too; the reference run turned it into float32.
        found[name] = (values + noise).astype(np.float32)
    return found


def _reference_reinit(tensors: Tensors, seed: int) -> Tensors:
    rng = np.random.default_rng(seed)
    found = dict(tensors)
    for name in sorted(tensors):
        values = tensors[name]
        if values.ndim == 2:
            random = rng.standard_normal(values.shape, dtype=np.float32)
            found[name] = (values.mean() + values.std() * random).astype(np.float32)
        elif values.ndim == 1 and values.dtype == np.float32:
            found[name] = rng.permutation(values)
    return found


def _keep_layers(tensors: Tensors, kept: tuple[int, ...]) -> Tensors:
    found = {}
    for name, values in tensors.items():
        parts = name.split(".")
        if "layer" in parts:
            at = parts.index("layer") + 1
            if int(parts[at]) not in kept:
                continue
            parts[at] = str(kept.index(int(parts[at])))
        found[".".join(parts)] = values
    return found


@pytest.mark.parametrize("name", EXPECTED)
def test_the_reference_signals_have_the_reference_values(name: str, variants: dict[str, Fingerprint]) -> None:
    found = compare(variants[name], variants["original"], BaseRef("original", "original"))
    expected = EXPECTED[name]
    for signal, value in expected["signals"].items():
        assert found.signals[signal].value == pytest.approx(value, abs=1e-3), signal
    assert found.signals["mfi"].value == pytest.approx(expected["scores"]["mfi_score"], abs=1e-3)
    assert found.signals["mfi"].detail["tier"] == expected["scores"]["mfi_tier"]
    assert found.identity_score == pytest.approx(expected["scores"]["identity_score"], abs=1e-3)


def test_where_the_reference_confirms_random_weights_we_do_not(variants: dict[str, Fingerprint]) -> None:
    assert EXPECTED["reinit"]["scores"]["provenance_decision"] == "Confirmed Match"
    found = compare(variants["reinit"], variants["original"], BaseRef("original", "original"))
    assert found.relation is Relation.INDEPENDENT
