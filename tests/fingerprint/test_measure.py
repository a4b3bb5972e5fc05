"""A fingerprint of a model is the same however its files are laid out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.load import open_artifact
from provenance_gate.errors import FingerprintError, UndefinedSignalError
from provenance_gate.fingerprint.container import (
    fingerprint_bytes,
    fingerprint_schema,
    is_fingerprint,
    load_fingerprint,
    save_fingerprint,
)
from provenance_gate.fingerprint.interface import Fingerprint, SignalValue
from provenance_gate.fingerprint.measure import compare_signal, measure
from provenance_gate.fingerprint.plan import SamplingPlan
from provenance_gate.fingerprint.signals import SIGNALS
from tests.models import Tensors, llama, noisy, write_model

WEIGHT_SIGNALS = ("eas", "end", "nlf", "lep", "wvc", "weight_correlation")


def measured(folder: Path, **options: object) -> Fingerprint:
    return measure(open_artifact(folder, "model").artifact, **options)  # type: ignore[arg-type]


def content(fingerprint: Fingerprint) -> bytes:
    """The file without the digests and names of the subject's files."""
    from dataclasses import replace

    return fingerprint_bytes(replace(fingerprint, subject=replace(fingerprint.subject, files=())))


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return llama(1)


@pytest.mark.parametrize("shards", [2, 7])
@pytest.mark.parametrize("exact", [True, False])
def test_shards_do_not_change_the_fingerprint(tmp_path: Path, tensors: Tensors, shards: int, exact: bool) -> None:
    one = measured(write_model(tmp_path / "one", tensors), exact=exact)
    many = measured(write_model(tmp_path / "many", tensors, shards=shards), exact=exact, jobs=1)
    assert content(one) == content(many)


def test_tensor_order_does_not_change_the_fingerprint(tmp_path: Path, tensors: Tensors) -> None:
    import json
    import struct

    folder = write_model(tmp_path / "b", tensors)
    header: dict[str, object] = {}
    at, data = 0, []
    for name in sorted(tensors, reverse=True):
        raw = tensors[name].tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        data.append(raw)
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))
    assert content(measured(write_model(tmp_path / "a", tensors))) == content(measured(folder))


@pytest.mark.parametrize("exact", [True, False])
def test_float32_and_bfloat16_agree_in_every_signal(tmp_path: Path, tensors: Tensors, exact: bool) -> None:
    full = measured(write_model(tmp_path / "f32", tensors), exact=exact)
    half = measured(_bfloat16(write_model(tmp_path / "bf16", tensors), tensors), exact=exact)
    for signal in SIGNALS:
        if signal.name in WEIGHT_SIGNALS:
            value = compare_signal(signal, half, full).value
            assert isinstance(value, float), value
            assert value == pytest.approx(1.0, abs=1e-2)


def _bfloat16(folder: Path, tensors: Tensors) -> Path:
    import json
    import struct

    header: dict[str, object] = {}
    at, data = 0, []
    for name, values in tensors.items():
        bits = values.view(np.uint32)
        raw = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        data.append(raw)
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))
    return folder


def test_every_signal_of_a_model_with_itself_is_at_its_maximum(tmp_path: Path, tensors: Tensors) -> None:
    mine = measured(write_model(tmp_path / "m", tensors))
    for signal in SIGNALS:
        value = compare_signal(signal, mine, mine).value
        assert isinstance(value, float), signal.name
        # A tokenizer without merges is defined to reach 0.925.
        assert value == pytest.approx(0.925 if signal.name == "tfv" else 1.0, abs=1e-6), signal.name


def test_more_noise_never_means_more_similar(tmp_path: Path, tensors: Tensors) -> None:
    base = measured(write_model(tmp_path / "base", tensors))
    correlation = next(s for s in SIGNALS if s.name == "weight_correlation")
    values = []
    for share in (0.0, 0.1, 0.5, 2.0):
        other = measured(write_model(tmp_path / f"n{share}", noisy(tensors, share)))
        value = compare_signal(correlation, other, base).value
        assert isinstance(value, float)
        values.append(value)
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(1.0)


def test_sampled_estimates_agree_with_exact_values(tmp_path: Path, tensors: Tensors) -> None:
    base, other = write_model(tmp_path / "base", tensors), write_model(tmp_path / "other", noisy(tensors, 0.5))
    for name in ("lep", "wvc", "end"):
        signal = next(s for s in SIGNALS if s.name == name)
        exact = compare_signal(signal, measured(other, exact=True), measured(base, exact=True))
        sampled = compare_signal(signal, measured(other, exact=False), measured(base, exact=False))
        mixed = compare_signal(signal, measured(other, exact=True), measured(base, exact=False))
        assert (exact.method, sampled.method, mixed.method) == ("exact", "sampled", "sampled")
        assert mixed.value == sampled.value
        assert sampled.standard_error is not None
        assert isinstance(exact.value, float) and isinstance(sampled.value, float)
        assert abs(exact.value - sampled.value) <= max(5 * sampled.standard_error, 0.05), name


def test_weights_are_not_read_below_tier_two(tmp_path: Path, tensors: Tensors) -> None:
    opened = open_artifact(write_model(tmp_path / "m", tensors))
    before = opened.counter.bytes_read
    found = measure(opened.artifact, max_tier=1)
    assert opened.counter.bytes_read == before
    assert isinstance(found.signals["weight_correlation"], NotMeasured)
    assert isinstance(found.signals["mfi"], SignalValue)


def test_nan_weights_are_not_measured(tmp_path: Path, tensors: Tensors) -> None:
    broken = dict(tensors)
    name = "model.layers.2.mlp.down_proj.weight"
    broken[name] = tensors[name].copy()
    broken[name][-1, -1] = np.nan
    value = measured(write_model(tmp_path / "m", broken)).signals["weight_correlation"]
    assert isinstance(value, NotMeasured)
    assert "down_proj" in value.reason and "NaN" in value.reason


def test_plans_with_other_seeds_are_not_comparable(tmp_path: Path, tensors: Tensors) -> None:
    folder = write_model(tmp_path / "m", tensors)
    correlation = next(s for s in SIGNALS if s.name == "weight_correlation")
    found = compare_signal(correlation, measured(folder, plan=SamplingPlan("x")), measured(folder))
    assert isinstance(found.value, NotMeasured)
    assert "not comparable" in found.value.reason


def test_a_model_without_embeddings_tokenizer_or_layers_says_what_is_absent(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", {"only.weight": np.ones((4, 4), np.float32)}, with_tokenizer=False)
    signals = measured(folder).signals
    for name in ("eas", "end", "nlf", "lep", "wvc", "tfv", "voa", "content_identity"):
        value = signals[name]
        assert isinstance(value, NotMeasured), name
        assert value.reason


def test_a_saved_fingerprint_comes_back_equal(tmp_path: Path, tensors: Tensors) -> None:
    mine = measured(write_model(tmp_path / "m", tensors, base="org/base"))
    save_fingerprint(mine, tmp_path / "m.fp.safetensors")
    back = load_fingerprint(tmp_path / "m.fp.safetensors")
    assert fingerprint_bytes(back) == fingerprint_bytes(mine)
    assert back.subject.claims == mine.subject.claims
    assert is_fingerprint(tmp_path / "m.fp.safetensors")
    assert not is_fingerprint(tmp_path / "m" / "model.safetensors")


def test_the_json_part_fits_its_schema(tmp_path: Path, tensors: Tensors) -> None:
    import json

    import jsonschema
    from safetensors import safe_open

    save_fingerprint(measured(write_model(tmp_path / "m", tensors)), tmp_path / "f")
    with safe_open(tmp_path / "f", "numpy") as file:
        header = json.loads(file.metadata()["provenance_gate"])
    jsonschema.Draft202012Validator.check_schema(fingerprint_schema())
    jsonschema.validate(header, fingerprint_schema())


def test_an_edited_file_is_refused(tmp_path: Path, tensors: Tensors) -> None:
    path = tmp_path / "f"
    save_fingerprint(measured(write_model(tmp_path / "m", tensors)), path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(FingerprintError, match="cut or edited"):
        load_fingerprint(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a fingerprint"),
        (b"\xff" * 64, "not a fingerprint"),
        (b"\x02\0\0\0\0\0\0\0{}", "no 'provenance_gate'"),
    ],
)
def test_what_is_no_fingerprint_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(FingerprintError, match=message):
        load_fingerprint(tmp_path / "f")
    with pytest.raises(FingerprintError, match="No such file"):
        load_fingerprint(tmp_path / "absent")


def test_a_stored_value_of_the_wrong_form_is_an_error_with_the_signal(tmp_path: Path, tensors: Tensors) -> None:
    from dataclasses import replace

    mine = measured(write_model(tmp_path / "m", tensors))
    forged = replace(mine, signals={**mine.signals, "eas": SignalValue("exact", {"anchors": 64})})
    eas = next(s for s in SIGNALS if s.name == "eas")
    with pytest.raises(FingerprintError, match="eas: a stored value"):
        compare_signal(eas, forged, mine)


def test_undefined_arithmetic_is_named() -> None:
    from provenance_gate.fingerprint.signals.arithmetic import cosine, pearson

    with pytest.raises(UndefinedSignalError):
        cosine(np.zeros(3), np.ones(3))
    with pytest.raises(UndefinedSignalError):
        pearson(np.ones(3), np.arange(3.0))
    assert pearson(np.arange(5.0), -np.arange(5.0)) == pytest.approx(-1.0)
