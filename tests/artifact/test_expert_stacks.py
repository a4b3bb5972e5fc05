"""Experts in one tensor: the three layouts that share its name give the same matrices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from provenance_gate.artifact.canonical import TensorView
from provenance_gate.artifact.interface import Lies, Role, StoredTensor, TensorKey

from . import layouts
from .build import Array
from .layouts import Layout
from .test_canonical import assert_reads, opened, whole

BOTH, DOWN = "experts.gate_up_proj", "experts.down_proj"


def laid(model_type: str, lay: Callable[[Array, Array], Array], *, biases: bool) -> Layout:
    """The experts of `mixtral_stacked`, each turned to (in, out); `lay` joins gate and up of shape (experts, in, out)."""
    model = layouts.mixtral_stacked()
    model.config["model_type"] = model_type
    for name in [n for n in model.tensors if n.endswith((BOTH, DOWN))]:
        turned = np.ascontiguousarray(model.tensors[name].swapaxes(1, 2))
        if name.endswith(BOTH):
            turned = lay(*np.split(turned, 2, axis=2))
        model.tensors[name] = turned
        if biases:
            model.plain(f"{name}_bias", f"/-/other/{name}_bias", turned.shape[0], turned.shape[2])
    return model


def side_by_side(gate: Array, up: Array) -> Array:
    return np.concatenate([gate, up], axis=2)


def in_turn(gate: Array, up: Array) -> Array:
    return np.stack([gate, up], axis=3).reshape(*gate.shape[:2], 2 * gate.shape[2])


LAYOUTS: dict[str, Callable[[], Layout]] = {
    "mixtral": layouts.mixtral_stacked,
    "llama4_text": lambda: laid("llama4_text", side_by_side, biases=False),
    "gpt_oss": lambda: laid("gpt_oss", in_turn, biases=True),
    "openai_privacy_filter": lambda: laid("openai_privacy_filter", side_by_side, biases=True),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_matrix_and_every_range_of_rows_comes_back(tmp_path: Path, name: str) -> None:
    model = LAYOUTS[name]()
    found, roles_from, notes = opened(tmp_path, model)
    assert_reads(found, model.expected)
    assert (roles_from, notes) == ("names", ())
    for key, array in model.expected.items():
        for start in range(0, len(array), 3):
            np.testing.assert_array_equal(found[key].read_rows(start, len(array)), array[start:], err_msg=key)
            if array.ndim == 2:
                block = found[key].read_block(range(start, len(array)), range(1, array.shape[1]))
                np.testing.assert_array_equal(block, array[start:, 1:], err_msg=key)
                turned = name != "mixtral" and "expert_" in key
                assert found[key].lies is (Lies.COLUMNS if turned else Lies.ROWS)


def test_of_a_layout_that_the_names_do_not_tell_other_matrices_come_back(tmp_path: Path) -> None:
    model = LAYOUTS["gpt_oss"]()
    for name in [n for n in model.tensors if n.endswith("_bias")]:
        del model.tensors[name]
    found, _, _ = opened(tmp_path, model)
    gates = [k for k in found if "expert_gate" in k]
    assert gates and not any(np.array_equal(whole(found[k]), model.expected[k]) for k in gates)
    downs = [k for k in found if "expert_down" in k]
    assert downs and all(np.array_equal(whole(found[k]), model.expected[k]) for k in downs)


@pytest.mark.parametrize("packed", [False, True])
def test_gate_and_up_of_gpt_oss_are_the_same_packed_and_not(tmp_path: Path, packed: bool) -> None:
    """MXFP4 blocks hold (experts, out, in) with rows in turn, floats (experts, in, out) with columns in turn."""
    rng = np.random.default_rng(0)
    wide, hidden, experts = 32, 64, 3
    # Twice an expert's width is the model's: of gate_up_proj alone no shape tells which way it lies.
    extents = {"gate_up_proj": (2 * wide, hidden), "down_proj": (hidden, wide)}
    values = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
    model = layouts.llama()
    at, whole_of = "model.layers.0.mlp.experts.", {}
    for name, (rows, columns) in extents.items():
        codes = rng.integers(0, 16, (experts, rows, columns))
        scales = rng.integers(120, 130, (experts, rows, columns // 32)).astype(np.uint8)
        matrix = values[codes] * np.repeat(np.ldexp(1.0, scales.astype(int) - 127), 32, axis=2)
        whole_of[name] = matrix.astype(np.float32)
        if packed:
            blocks = (codes[:, :, 0::2] | codes[:, :, 1::2] << 4).astype(np.uint8)
            model.tensors[f"{at}{name}_blocks"] = blocks.reshape(experts, rows, columns // 32, 16)
            model.tensors[f"{at}{name}_scales"] = scales
        else:
            model.tensors[at + name] = np.ascontiguousarray(whole_of[name].swapaxes(1, 2))
        model.tensors[f"{at}{name}_bias"] = np.zeros((experts, rows), np.float32)
    found, _, _ = opened(tmp_path, model)
    for expert in range(experts):
        both, down = whole_of["gate_up_proj"][expert], whole_of["down_proj"][expert]
        for role, matrix in (("gate", both[::2]), ("up", both[1::2]), ("down", down)):
            tensor = found[f"decoder/0/expert_{role}/{expert}"]
            np.testing.assert_array_equal(whole(tensor), matrix)
            np.testing.assert_array_equal(tensor.read_rows(5, 9), matrix[5:9])
            assert not tensor.keeps_order or role == "down"


def test_reading_some_rows_that_alternate_reads_no_more_than_lies_between() -> None:
    class Spy:
        asked: list[tuple[int, int]] = []  # noqa: RUF012

        def read(self, start: int, count: int) -> Array:
            self.asked.append((start, count))
            return np.arange(start, start + count, dtype=np.float32)

    spy = Spy()
    stored = StoredTensor("x", "F32", (2, 8, 4), 256, PurePosixPath("x"), spy)
    view = TensorView(TensorKey(Role.EXPERT_UP, "", 0, "1"), (4, 4), stored, ((1, 4),), 4, False, 32, 2)
    np.testing.assert_array_equal(view.read_rows(1, 3)[:, 0], [44, 52])
    assert spy.asked == [(44, 12)]
    assert view.read_rows(2, 2).shape == (0, 4)
