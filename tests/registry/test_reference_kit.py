"""The reference system's database, imported: its scores come back, and what was measured otherwise is not compared."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.load import open_artifact
from provenance_gate.errors import FingerprintError
from provenance_gate.fingerprint.container import load_fingerprint, save_fingerprint
from provenance_gate.fingerprint.interface import Fingerprint, SignalValue
from provenance_gate.fingerprint.measure import measure
from provenance_gate.lineage.compare import compare
from provenance_gate.lineage.interface import BaseRef, Lineage, Relation
from provenance_gate.registry.reference_kit import Imported, import_reference
from tests.models import Tensors, llama, minilm, noisy, write_model
from tests.registry.reference_database import Asset, Signals, copied, expected_scores, stored, write_database

pytest.importorskip("pyarrow")
REF = BaseRef("acme/base", "acme/base")
EMBEDDING = "model.embed_tokens.weight"
WEIGHTS = ("eas", "end", "nlf", "lep", "wvc")


def asset_of(folder: Path, tensors: Tensors, model_id: str = "acme/base") -> tuple[Asset, Signals]:
    return stored(write_model(folder, tensors), tensors, model_id, EMBEDDING)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Asset, Signals]:
    return asset_of(tmp_path_factory.mktemp("model") / "base", llama(1))


@pytest.fixture
def base(whole: tuple[Asset, Signals]) -> tuple[Asset, Signals]:
    return copied(whole[0]), whole[1]


def imported(folder: Path, *assets: Asset, **manifest: object) -> Imported:
    (found,) = import_reference(write_database(folder, *assets, **manifest))
    return found


def fingerprint_of(found: Imported) -> Fingerprint:
    assert found.fingerprint is not None, found.problems
    return found.fingerprint


def measured(folder: Path, tensors: Tensors, **options: object) -> Fingerprint:
    return measure(open_artifact(write_model(folder, tensors)).artifact, **options)  # type: ignore[arg-type]


def reason(lineage: Lineage, signal: str) -> str:
    value = lineage.signals[signal].value
    assert isinstance(value, NotMeasured), value
    return value.reason


@pytest.mark.parametrize("kind", ["copy", "noise of 5 %", "noise of 100 %", "stranger"])
def test_an_import_gives_the_scores_of_the_plain_definitions(
    tmp_path: Path, base: tuple[Asset, Signals], kind: str
) -> None:
    tensors = {
        "copy": llama(1),
        "noise of 5 %": noisy(llama(1), 0.05),
        "noise of 100 %": noisy(llama(1), 1.0),
        "stranger": llama(2),
    }[kind]
    _, theirs = asset_of(tmp_path / "other", tensors)
    expected = expected_scores(theirs, base[1])
    lineage = compare(measured(tmp_path / "m", tensors), fingerprint_of(imported(tmp_path / "db", base[0])), REF)
    for signal in WEIGHTS:
        assert lineage.signals[signal].value == pytest.approx(expected[signal], abs=1e-3), signal
    assert lineage.identity_score == pytest.approx(expected["identity"], abs=1e-3)
    assert (lineage.signals["mfi"].value, lineage.signals["mfi"].detail["tier"]) == (1.0, 1)
    assert lineage.signals["tfv"].value == pytest.approx(0.925, abs=1e-3)


@pytest.mark.parametrize("tensors", [llama(1), noisy(llama(1), 0.05)], ids=["copy", "fine-tune"])
def test_an_imported_base_never_shows_descent(tmp_path: Path, base: tuple[Asset, Signals], tensors: Tensors) -> None:
    lineage = compare(measured(tmp_path / "m", tensors), fingerprint_of(imported(tmp_path / "db", base[0])), REF)
    assert lineage.relation is Relation.UNDECIDED
    assert isinstance(lineage.score, NotMeasured) and "holds no rows of the weights" in lineage.score.reason
    assert isinstance(lineage.p_value, NotMeasured) and not lineage.components
    assert isinstance(lineage.identity_score, float) and lineage.identity_score > 0.95
    for signal in ("voa", "content_identity", "weight_correlation"):
        assert "the imported database holds no" in reason(lineage, signal)


def test_sampled_values_of_ours_are_not_compared(tmp_path: Path, base: tuple[Asset, Signals]) -> None:
    artifact = measured(tmp_path / "m", llama(1), exact=False)
    lineage = compare(artifact, fingerprint_of(imported(tmp_path / "db", base[0])), REF)
    for signal in ("end", "lep", "wvc"):
        assert "measured differently" in reason(lineage, signal) and "not comparable" in reason(lineage, signal)
    assert lineage.signals["eas"].value == pytest.approx(1.0, abs=1e-3)
    assert lineage.signals["nlf"].value == pytest.approx(1.0, abs=1e-3)


T5_OF_13_BILLION = {"model_type": "t5", "hidden_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 64}
T5_OF_13_BILLION |= {"intermediate_size": 10240, "vocab_size": 250112, "num_key_value_heads": None}


@pytest.mark.parametrize(
    "facts",
    [
        {"hidden_size": 8192, "num_hidden_layers": 80, "intermediate_size": 28672},
        T5_OF_13_BILLION,
    ],
    ids=["70B", "two stacks"],
)
def test_values_from_rows_of_a_large_model_are_not_compared(
    tmp_path: Path, base: tuple[Asset, Signals], facts: dict[str, object]
) -> None:
    base[0].features["mfi"] |= facts
    lineage = compare(measured(tmp_path / "m", llama(1)), fingerprint_of(imported(tmp_path / "db", base[0])), REF)
    for signal in ("lep", "wvc"):
        assert "32 rows" in reason(lineage, signal) and "not comparable" in reason(lineage, signal)
    for signal in ("eas", "end", "nlf"):
        assert lineage.signals[signal].value == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("facts", [{"model_type": "qwen3_moe"}, {"hidden_size": None}], ids=["mixture", "unknown size"])
def test_of_a_model_of_unknown_size_only_the_embeddings_are_compared(
    tmp_path: Path, base: tuple[Asset, Signals], facts: dict[str, object]
) -> None:
    base[0].features["mfi"] |= facts
    lineage = compare(measured(tmp_path / "m", llama(1)), fingerprint_of(imported(tmp_path / "db", base[0])), REF)
    for signal in ("lep", "wvc", "nlf"):
        assert "measured differently" in reason(lineage, signal) and "not comparable" in reason(lineage, signal)
    assert lineage.signals["eas"].value == lineage.signals["end"].value == pytest.approx(1.0, abs=1e-3)


def test_the_size_bucket_counts_as_well(tmp_path: Path, base: tuple[Asset, Signals]) -> None:
    base[0].catalog["param_bucket"] = "10-40B"
    assert isinstance(fingerprint_of(imported(tmp_path / "db", base[0])).signals["lep"], NotMeasured)


def test_the_tensor_order_of_a_sharded_model_is_not_ours(tmp_path: Path, base: tuple[Asset, Signals]) -> None:
    base[0].features["mfi"] |= {"hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 11008}
    lineage = compare(measured(tmp_path / "m", llama(1)), fingerprint_of(imported(tmp_path / "db", base[0])), REF)
    for signal in ("nlf", "wvc"):
        assert "order" in reason(lineage, signal) and "not comparable" in reason(lineage, signal)
    assert lineage.signals["lep"].value == pytest.approx(1.0, abs=1e-3)


def test_two_imported_models_are_compared(tmp_path: Path, base: tuple[Asset, Signals]) -> None:
    other, theirs = asset_of(tmp_path / "other", noisy(llama(1), 0.5), "acme/other")
    first, second = (
        fingerprint_of(found) for found in import_reference(write_database(tmp_path / "db", base[0], other))
    )
    lineage = compare(second, first, REF)
    assert lineage.identity_score == pytest.approx(expected_scores(theirs, base[1])["identity"], abs=1e-3)
    assert lineage.relation is Relation.UNDECIDED


def test_another_major_version_is_not_comparable(tmp_path: Path, base: tuple[Asset, Signals]) -> None:
    found = fingerprint_of(imported(tmp_path / "db", base[0], version="2.0.0"))
    assert found.method == "model-provenance-kit/2.0.0"
    lineage = compare(measured(tmp_path / "m", llama(1)), found, REF)
    assert all(isinstance(e.value, NotMeasured) for e in lineage.signals.values())


def test_two_methods_of_ours_stay_incomparable(tmp_path: Path) -> None:
    ours = measured(tmp_path / "m", llama(1))
    later = replace(ours, method="provenance-gate-fingerprint/2")
    assert "not comparable" in reason(compare(ours, later, REF), "eas")


def test_an_imported_fingerprint_survives_its_file(tmp_path: Path, base: tuple[Asset, Signals]) -> None:
    found = fingerprint_of(imported(tmp_path / "db", base[0]))
    save_fingerprint(found, tmp_path / "f.safetensors")
    kept = load_fingerprint(tmp_path / "f.safetensors")
    assert kept.method == found.method
    artifact = measured(tmp_path / "m", noisy(llama(1), 0.5))
    assert compare(artifact, kept, REF).identity_score == compare(artifact, found, REF).identity_score


def test_rows_in_an_imported_fingerprint_are_not_believed(tmp_path: Path, base: tuple[Asset, Signals]) -> None:
    ours = measured(tmp_path / "m", llama(1))
    forged = replace(ours, method="model-provenance-kit/1.0.0")
    for artifact in (ours, forged):
        assert compare(artifact, forged, REF).relation is Relation.UNDECIDED
    save_fingerprint(forged, tmp_path / "f.safetensors")
    with pytest.raises(FingerprintError, match="'reason' is a required property"):
        load_fingerprint(tmp_path / "f.safetensors")


def test_an_asset_says_what_it_is(tmp_path: Path, base: tuple[Asset, Signals]) -> None:
    found = imported(tmp_path / "db", base[0])
    assert (found.id, found.source, found.problems) == ("acme/base", "hf://acme/base", ())
    assert fingerprint_of(found).method == "model-provenance-kit/1.0.0"
    assert found.record is not None and found.record["license"]["category"] == "unknown"


def test_the_record_fits_the_catalog(tmp_path: Path, base: tuple[Asset, Signals]) -> None:
    schema = resources.files("provenance_gate.registry").joinpath("schemas/catalog.schema.json").read_text("utf-8")
    jsonschema.Draft202012Validator(json.loads(schema)).validate([imported(tmp_path / "db", base[0]).record])


@pytest.mark.parametrize("name", ["acme/OTHER", "other", "other__hf-safetensors"])
def test_ids_choose_assets(tmp_path: Path, base: tuple[Asset, Signals], name: str) -> None:
    other, _ = asset_of(tmp_path / "other", llama(2), "acme/other")
    folder = write_database(tmp_path / "db", base[0], other)
    assert [found.id for found in import_reference(folder, [name])] == ["acme/other"]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://huggingface.co/gpt2", ("gpt2", "hf://gpt2")),
        ("hf://acme/base", ("acme/base", "hf://acme/base")),
        ("https://example.org/base", ("base__hf-safetensors", "https://example.org/base")),
        ("file:///etc/passwd", ("base__hf-safetensors", None)),
        (
            "https://huggingface.co/acme/base/../../x",
            ("base__hf-safetensors", "https://huggingface.co/acme/base/../../x"),
        ),
        (None, ("base__hf-safetensors", None)),
    ],
)
def test_the_address_gives_id_and_source(
    tmp_path: Path, base: tuple[Asset, Signals], uri: str | None, expected: tuple[str, str | None]
) -> None:
    base[0].catalog["source_uri"] = uri
    found = imported(tmp_path / "db", base[0])
    assert (found.id, found.source) == expected


def test_two_assets_of_one_repository_keep_their_own_ids(tmp_path: Path, base: tuple[Asset, Signals]) -> None:
    other, _ = asset_of(tmp_path / "other", llama(2), "acme/other")
    other.catalog["source_uri"] = base[0].catalog["source_uri"]
    found = list(import_reference(write_database(tmp_path / "db", base[0], other)))
    assert [each.id for each in found] == ["acme/base", "other__hf-safetensors"]


def test_signals_that_were_not_downloaded_are_absent(tmp_path: Path, base: tuple[Asset, Signals]) -> None:
    folder = write_database(tmp_path / "db", base[0])
    shutil.rmtree(folder / "features/deep-signals")
    (found,) = import_reference(folder)
    lineage = compare(measured(tmp_path / "m", llama(1)), fingerprint_of(found), REF)
    assert all("were not downloaded" in reason(lineage, signal) for signal in WEIGHTS)
    assert lineage.signals["mfi"].value == 1.0
    assert isinstance(lineage.identity_score, NotMeasured)
    assert len(found.problems) == 1 and "not there" in found.problems[0]


def test_a_partial_asset_lacks_what_it_lacks(tmp_path: Path, base: tuple[Asset, Signals]) -> None:
    base[0].lines = [line for line in base[0].lines if line[0] != "wvc_layer_sigs"]
    signals = fingerprint_of(imported(tmp_path / "db", base[0])).signals
    assert isinstance(signals["wvc"], NotMeasured) and isinstance(signals["eas"], SignalValue)


def test_lines_may_come_in_any_order_and_signals_may_be_categories(tmp_path: Path, base: tuple[Asset, Signals]) -> None:
    import pyarrow as pa

    plain = fingerprint_of(imported(tmp_path / "db", base[0]))
    order = np.random.default_rng(0).permutation(len(base[0].lines))
    base[0].lines = [base[0].lines[i] for i in order]
    base[0].columns = {"signal": pa.dictionary(pa.int8(), pa.string())}
    del base[0].features["artifact_refs"][0]["checksum"]
    mixed = fingerprint_of(imported(tmp_path / "db2", base[0]))
    for name in WEIGHTS:
        ours, theirs = plain.signals[name], mixed.signals[name]
        assert isinstance(ours, SignalValue) and isinstance(theirs, SignalValue)
        assert all(np.array_equal(ours.arrays[k], theirs.arrays[k]) for k in ours.arrays), name


def mfi_of(folder: Path, base: Asset, config: dict[str, object], **facts: object) -> tuple[object, object]:
    """Score and tier of a model whose config has `config`, against the stored base with `facts`."""
    model = write_model(folder / "m", llama(1))
    (model / "config.json").write_text(json.dumps({**json.loads((model / "config.json").read_text()), **config}))
    base.features["mfi"] |= facts
    artifact = measure(open_artifact(model).artifact, max_tier=1)
    found = compare(artifact, fingerprint_of(imported(folder / "db", base)), REF).signals["mfi"]
    return found.value, found.detail["tier"]


def test_a_rope_theta_of_null_is_absent_not_different(tmp_path: Path, base: tuple[Asset, Signals]) -> None:
    # Another context length makes it tier 3, where the base of the positions counts; all else is equal.
    config = {"rope_theta": 500000.0, "vocab_size": 160, "model_type": "mistral", "max_position_embeddings": 256}
    stored_facts = {"model_type": "mistral", "rope_theta": None, "rope_scaling": None}
    assert mfi_of(tmp_path, base[0], config, **stored_facts) == (1.0, 3)


def test_a_rope_theta_below_rope_scaling_is_found(tmp_path: Path, base: tuple[Asset, Signals]) -> None:
    stored_facts = {"rope_theta": None, "rope_scaling": {"rope_theta": 500000.0, "rope_type": "default"}}
    same, _ = mfi_of(tmp_path / "1", base[0], {"rope_theta": 500000.0, "max_position_embeddings": 256}, **stored_facts)
    other, _ = mfi_of(tmp_path / "2", base[0], {"rope_theta": 10000.0, "max_position_embeddings": 256}, **stored_facts)
    assert same == 1.0
    assert isinstance(other, float) and 0.8 < other < 1.0


def test_key_value_heads_that_the_library_filled_in_are_no_difference(
    tmp_path: Path, base: tuple[Asset, Signals]
) -> None:
    facts = {"num_key_value_heads": 4, "attention_style": "MHA"}
    assert mfi_of(tmp_path / "1", base[0], {"num_key_value_heads": None}, **facts) == (1.0, 1)
    assert mfi_of(tmp_path / "2", base[0], {"num_key_value_heads": 2}, **facts)[1] == 3


def test_an_architecture_hash_that_does_not_fit_is_reported(tmp_path: Path, base: tuple[Asset, Signals]) -> None:
    base[0].features["mfi"]["arch_hash"] = "0" * 64
    found = imported(tmp_path / "db", base[0])
    assert any("arch_hash does not fit" in problem for problem in found.problems)


def test_merges_that_are_not_stored_count_as_the_reference_system_counts_them(
    tmp_path: Path, base: tuple[Asset, Signals]
) -> None:
    ours = measured(tmp_path / "m", llama(1))
    facts = {"num_merges": 9, "merges_sha256": "a" * 64}
    value = ours.signals["tfv"]
    assert isinstance(value, SignalValue)
    ours = replace(ours, signals={**ours.signals, "tfv": replace(value, facts={**value.facts, **facts})})
    base[0].features["tfv"]["num_merges"] = 9
    found = compare(ours, fingerprint_of(imported(tmp_path / "db", base[0])), REF).signals["tfv"]
    assert found.value == pytest.approx(0.85, abs=1e-3)
    assert found.detail["merges"] == "not stored"


VALUES = json.loads((Path(__file__).parents[1] / "real" / "reference_values.json").read_text())


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Fingerprint:
    """all-MiniLM-L6-v2 as the reference system stores it."""
    tensors = dict(load_file(minilm() / "model.safetensors"))
    asset, _ = stored(minilm(), tensors, "sentence-transformers/all-MiniLM-L6-v2", "embeddings.word_embeddings.weight")
    return fingerprint_of(imported(tmp_path_factory.mktemp("real"), asset))


@pytest.mark.parametrize("name", VALUES)
def test_the_real_model_imported_gives_what_the_reference_system_printed(
    tmp_path: Path, real: Fingerprint, name: str
) -> None:
    from tests.real.test_minilm import _keep_layers, _reference_noise, _reference_reinit, folder_with, pruned

    original = dict(load_file(minilm() / "model.safetensors"))
    variant = {
        "original": lambda: original,
        "float16": lambda: {k: v.astype(np.float16) if v.dtype == np.float32 else v for k, v in original.items()},
        "noise05": lambda: _reference_noise(original, 0.05, 0),
        "noise100": lambda: _reference_noise(original, 1.0, 1),
        "prune50": lambda: pruned(original, 0.5),
        "reinit": lambda: _reference_reinit(original, 2),
        "layers0235": lambda: _keep_layers(original, (0, 2, 3, 5)),
    }[name]()
    folder = folder_with(tmp_path / "m", {}, **({"num_hidden_layers": 4} if name == "layers0235" else {}))
    save_file(variant, folder / "model.safetensors", metadata={"format": "pt"})
    found = compare(measure(open_artifact(folder).artifact), real, REF)
    for signal in (*WEIGHTS, "tfv"):
        assert found.signals[signal].value == pytest.approx(VALUES[name]["signals"][signal], abs=1e-3), signal
    assert found.identity_score == pytest.approx(VALUES[name]["scores"]["identity_score"], abs=1e-3)
    assert found.signals["mfi"].value == pytest.approx(VALUES[name]["scores"]["mfi_score"], abs=1e-3)
    assert found.signals["mfi"].detail["tier"] == VALUES[name]["scores"]["mfi_tier"]
    assert found.relation is Relation.UNDECIDED
