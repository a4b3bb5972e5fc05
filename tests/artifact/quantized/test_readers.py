"""Reading in parts: the same values, no more bytes or memory than the blocks need."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from provenance_gate.artifact.interface import StoredTensor
from provenance_gate.artifact.quantized import RawReader, dequantized, tables
from provenance_gate.errors import ArtifactError

from ..build import opened_file, save
from . import build
from .build import Bytes, Part, opened, parts, whole
from .test_vectors import CASES


def made(name: str, seed: int = 0) -> tuple[dict[str, Part], np.ndarray]:
    """Larger modules of random parts, with their values by the plain formula."""
    rng = np.random.default_rng(seed)
    turn = list(rng.permutation(np.arange(320) // 64))
    return {
        "gptq2": lambda: build.gptq(rng, 96, 320, 5, 2),
        "gptq3": lambda: build.gptq(rng, 96, 320, 5, 3),
        "gptq4": lambda: build.gptq(rng, 96, 320, 5, 4),
        "gptq8": lambda: build.gptq(rng, 96, 320, 5, 8),
        "gptq3_order": lambda: build.gptq(rng, 96, 320, 5, 3, turn),
        "gptq4_order": lambda: build.gptq(rng, 96, 320, 5, 4, turn),
        "gptq_one_group": lambda: build.gptq(rng, 32, 320, 1, 4),
        "awq": lambda: build.awq(rng, 72, 320, 5),
        "awq_partial": lambda: build.awq(rng, 8, 300, 3),
        "packed4": lambda: build.compressed(rng, (33, 320), 5, 4),
        "packed4_zeros": lambda: build.compressed(rng, (33, 320), 5, 4, zeros=True),
        "packed4_partial": lambda: build.compressed(rng, (33, 300), 3, 4, zeros=True),
        "packed4_order": lambda: build.compressed(rng, (33, 320), 5, 4, zeros=True, index=turn),
        "packed8_channel": lambda: build.compressed(rng, (33, 321), 1, 8),
        "packed3": lambda: build.compressed(rng, (65, 320), 5, 3, zeros=True),
        "packed3_old": lambda: build.compressed(rng, (65, 320), 5, 3, dense=False, zeros=True),
        "packed6_old": lambda: build.compressed(rng, (65, 320), 5, 6, dense=False, zeros=True),
    }[name]()


MADE = (
    "gptq2", "gptq3", "gptq4", "gptq8", "gptq3_order", "gptq4_order", "gptq_one_group", "awq", "awq_partial", "packed4",
    "packed4_zeros", "packed4_partial", "packed4_order", "packed8_channel", "packed3", "packed3_old", "packed6_old",
)  # fmt: skip


def one(values: dict[str, Part]) -> StoredTensor:
    (tensor,), _ = opened(values)
    return tensor


@pytest.mark.parametrize("name", MADE)
def test_values_are_those_of_the_plain_formula(name: str) -> None:
    values, expected = made(name)
    tensor = one(values)
    assert tensor.shape == expected.shape
    np.testing.assert_array_equal(whole(tensor), expected)


@pytest.mark.parametrize("name", [*MADE, *CASES])
@pytest.mark.parametrize("block", [tables.BLOCK, 32, 256, 4096])
def test_any_range_is_that_slice_of_the_whole(name: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = one(CASES[name][0] if name in CASES else made(name)[0])
    expected = whole(tensor).reshape(-1)
    monkeypatch.setattr(tables, "BLOCK", block)
    rng = np.random.default_rng(1)
    np.testing.assert_array_equal(tensor.reader.read(0, tensor.size), expected)
    for start, stop in np.sort(rng.integers(0, tensor.size + 1, (6, 2)), axis=1):
        np.testing.assert_array_equal(tensor.reader.read(int(start), int(stop - start)), expected[start:stop])
    columns = tensor.shape[-1]
    for row in (0, tensor.size // columns - 1):
        np.testing.assert_array_equal(
            tensor.reader.read(row * columns, columns), expected[row * columns : (row + 1) * columns]
        )
    assert tensor.reader.read(tensor.size, 0).shape == (0,)


@pytest.mark.parametrize("chunk", [1, 300])
@pytest.mark.parametrize("name", ["gptq3_order", "awq", "packed3"])
def test_the_size_of_reads_changes_no_value(name: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values, expected = made(name)
    tensor = one(values)
    monkeypatch.setattr(tables, "_CHUNK", chunk)
    monkeypatch.setattr(tables, "_LONG", 4 * chunk)
    columns = tensor.shape[1]
    np.testing.assert_array_equal(tensor.reader.read(7 * columns, 20 * columns).reshape(20, columns), expected[7:27])


@pytest.mark.parametrize("name", ["gptq4", "nf4", "block_fp8"])
@pytest.mark.parametrize(("start", "count"), [(-1, 1), (0, -1), (0, 10**9), (10**9, 0)])
def test_a_range_outside_is_an_index_error(name: str, start: int, count: int) -> None:
    tensor = one(CASES[name][0])
    with pytest.raises(IndexError):
        tensor.reader.read(start, count)


def read_bytes(stored: tuple[StoredTensor, ...]) -> int:
    return sum(t.reader.bytes_read for t in stored if isinstance(t.reader, Bytes))


@pytest.mark.parametrize(
    "name", ["packed4", "packed4_zeros", "packed3", "packed8_channel", "block_fp8", "int8", "mxfp4", "nf4"]
)
def test_rows_that_lie_together_cost_their_own_bytes(name: str) -> None:
    stored = parts(CASES[name][0] if name in CASES else made(name)[0])
    (tensor,), _ = dequantized(stored, None)
    before = read_bytes(stored)
    columns = tensor.shape[-1]
    tensor.reader.read(columns, columns)
    rows = tensor.size // columns
    assert read_bytes(stored) - before <= 3 * tensor.nbytes / rows + 600


@pytest.mark.parametrize("name", ["gptq4", "gptq4_order", "awq"])
@pytest.mark.parametrize("rows", [1, 3, 72])
def test_any_rows_of_a_turned_matrix_cost_one_pass(name: str, rows: int) -> None:
    stored = parts(made(name)[0])
    (tensor,), _ = dequantized(stored, None)
    before = read_bytes(stored)
    tensor.reader.read(tensor.shape[1] * 0 + 5, rows * tensor.shape[1] - 5)
    assert read_bytes(stored) - before <= tensor.nbytes


@pytest.mark.parametrize("scheme", ["gptq", "awq", "packed", "fp8"])
def test_memory_stays_small_beside_the_result(scheme: str) -> None:
    out, columns = 2048, 4096
    rng = np.random.default_rng(0)

    def words(*shape: int) -> np.ndarray:
        return rng.integers(-(2**31), 2**31, shape).astype(np.int32)

    scales = np.full((32, out), 0.01, np.float16)
    values: dict[str, Part] = {
        "gptq": {"m.qweight": words(512, out), "m.qzeros": words(32, out // 8), "m.scales": scales},
        "awq": {"m.qweight": words(columns, out // 8), "m.qzeros": words(32, out // 8), "m.scales": scales},
        "packed": {
            "m.weight_packed": words(out, 512),
            "m.weight_scale": scales.T.copy(),
            "m.weight_shape": np.array([out, columns]),
        },
        "fp8": {
            "m.weight": ("F8_E4M3", np.zeros((out, columns), np.uint8)),
            "m.weight_scale_inv": np.ones((16, 32), np.float32),
        },
    }[scheme]  # type: ignore[assignment]
    tensor = one(values)
    tracemalloc.start()
    try:
        for start, count in ((0, tensor.size), (9 * columns, 64 * columns)):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            result = tensor.reader.read(start, count)
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak - result.nbytes < 40 << 20
            del result
    finally:
        tracemalloc.stop()


def test_the_bytes_of_a_dequantized_tensor_cannot_be_asked_for() -> None:
    reader = one(CASES["gptq4"][0]).reader
    assert isinstance(reader, RawReader)
    with pytest.raises(ArtifactError, match="no stored bytes"):
        reader.raw(0, 1)


def test_parts_of_a_format_without_bytes_are_refused_when_read() -> None:
    class Plain:
        def read(self, start: int, count: int) -> np.ndarray:
            return np.zeros(count, np.float32)

    stored = parts(CASES["awq"][0])
    bare = tuple(StoredTensor(t.name, t.dtype, t.shape, t.nbytes, t.path, Plain()) for t in stored)
    with pytest.raises(ArtifactError, match=r"model.safetensors: tensor 'm\.q.*cannot be read from this weight format"):
        (tensor,), _ = dequantized(bare, None)
        tensor.reader.read(0, 1)


def test_a_reader_that_gives_too_few_bytes_is_refused() -> None:
    stored = parts(CASES["awq"][0])
    for tensor in stored:
        assert isinstance(tensor.reader, Bytes)
        tensor.reader.raw = lambda start, count: b"\0"  # type: ignore[method-assign]
    with pytest.raises(ArtifactError, match="1 bytes for"):
        (tensor,), _ = dequantized(stored, None)
        tensor.reader.read(0, 1)


def test_a_file_on_disk_is_read_like_parts_in_memory(tmp_path: Path) -> None:
    values, expected = made("gptq4_order")
    plain = {name: value for name, value in values.items() if not isinstance(value, tuple)}
    stored = opened_file(save(tmp_path / "model.safetensors", plain))
    if not isinstance(stored[0].reader, RawReader):
        pytest.skip("the safetensors reader gives no raw bytes yet")
    (tensor,), _ = dequantized(stored, {"quant_method": "gptq"})
    np.testing.assert_array_equal(whole(tensor), expected)
