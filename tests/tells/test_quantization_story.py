from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from provenance_gate.tells import quantization_story
from provenance_gate.tells.interface import TellStatus
from provenance_gate.tells.quantization_story import QuantizationStory, grid_share
from tests import models as tiny
from tests.tells.build import case, side, stored_side, write

TELL = QuantizationStory()


def on_a_grid(matrix: np.ndarray, bits: int) -> np.ndarray:
    """Symmetric rounding of runs of 32 values, as Q4_0 and its kin do."""
    groups = matrix.reshape(-1, 32)
    scale = np.abs(groups).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
    return (np.round(groups / scale) * scale).reshape(matrix.shape).astype(np.float32)


def test_plain_weights_with_a_card_that_says_nothing_are_quiet(tmp_path: Path) -> None:
    result = TELL.measure(case(write(tmp_path / "own")))
    assert result.status is TellStatus.QUIET and result.numbers["grid_share"] == 0.0


@pytest.mark.parametrize("bits, fires", [(4, True), (8, False)])
def test_plain_floats_on_a_four_bit_grid_were_quantized_before(tmp_path: Path, bits: int, fires: bool) -> None:
    tensors = tiny.changed(tiny.llama(1), lambda v: on_a_grid(v, bits))
    result = TELL.measure(case(write(tmp_path / "own", tensors=tensors)))
    assert result.strength == (quantization_story.UNPACKED if fires else 0.0)


def test_pruned_weights_are_no_grid(tmp_path: Path) -> None:
    tensors = tiny.changed(tiny.llama(1), lambda v: np.where(np.abs(v) < np.quantile(np.abs(v), 0.7), 0, v))
    assert grid_share(side(write(tmp_path / "own", tensors=tensors)).artifact) in (None, 0.0)


def test_half_precision_is_no_grid(tmp_path: Path) -> None:
    tensors = {k: v.astype(np.float16) for k, v in tiny.llama(1).items()}
    assert grid_share(side(write(tmp_path / "own", tensors=tensors)).artifact) == 0.0


def test_a_config_that_names_a_method_contradicts_plain_tensors(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", config={"quantization_config": {"quant_method": "gptq", "bits": 4}})
    result = TELL.measure(case(folder))
    assert result.strength == quantization_story.CONTRADICTION and "gptq" in result.seen


def test_quantized_tensors_without_a_config_contradict_it(tmp_path: Path) -> None:
    tensors = {}
    for name, matrix in tiny.llama(1).items():
        if matrix.ndim == 2 and "layers" in name:
            scale = np.abs(matrix).max(axis=1)
            tensors[name] = np.round(matrix / scale[:, None] * 127).astype(np.int8)
            tensors[name.removesuffix("weight") + "SCB"] = scale.astype(np.float32)
        else:
            tensors[name] = matrix
    folder = write(tmp_path / "own", tensors=tensors)
    result = TELL.measure(case(folder))
    assert result.strength == quantization_story.CONTRADICTION and "INT8" in result.seen
    told = write(tmp_path / "told", tensors=tensors, config={"quantization_config": {"load_in_8bit": True}})
    assert TELL.measure(case(told)).status is TellStatus.QUIET


@pytest.mark.parametrize(
    "sentence, fires",
    [
        ("This model is quantized to 4-bit with AWQ.", True),
        ("An AWQ-quantized model.", True),
        ("The weights are unquantized.", False),
        ("It is not quantized to 4-bit.", False),
        ("A GPTQ version is available elsewhere.", False),
    ],
)
def test_the_card_against_plain_tensors(tmp_path: Path, sentence: str, fires: bool) -> None:
    result = TELL.measure(case(write(tmp_path / "own", card=f"# X\n\n{sentence}\n")))
    assert result.strength == (quantization_story.CARD_ONLY if fires else 0.0)


@pytest.mark.parametrize("dtype, fires", [("bfloat16", True), ("float32", False)])
def test_torch_dtype_against_the_tensors(tmp_path: Path, dtype: str, fires: bool) -> None:
    result = TELL.measure(case(write(tmp_path / "own", config={"torch_dtype": dtype})))
    assert result.strength == (quantization_story.DTYPE if fires else 0.0)


def test_a_fingerprint_alone_has_no_tensors(tmp_path: Path) -> None:
    result = TELL.measure(case(stored_side(write(tmp_path / "own"), "own")))
    assert result.status is TellStatus.NOT_MEASURED
