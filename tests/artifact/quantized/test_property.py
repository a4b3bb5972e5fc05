"""Whatever the parts and the config: tensors whose ranges agree, or one ArtifactError."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.artifact.dtypes import BITS
from provenance_gate.artifact.interface import StoredTensor
from provenance_gate.artifact.quantized import dequantized
from provenance_gate.artifact.quantized.tables import DequantizingReader
from provenance_gate.artifact.sources.ahead import Place
from provenance_gate.artifact.sources.coalesce import PrefetchedSource, Span
from provenance_gate.errors import ArtifactError

from .build import PATH, Bytes, parts
from .test_vectors import CASES

_WHOLE_BYTES = sorted(d for d, bits in BITS.items() if bits % 8 == 0)
_KEYS = (
    "quant_method", "bits", "group_size", "checkpoint_format", "config_groups", "weight_block_size", "load_in_4bit",
    "num_bits", "weights", "q_group_size",
)  # fmt: skip
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["gptq", "gptq_v2", "awq", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=3),
    max_leaves=8,
)


class Far(Bytes):
    """Bytes as if they lay far away, of which is told beforehand where they lie."""

    name = "far"

    @property
    def size(self) -> int:
        return len(self.data)

    def spans(self, start: int, count: int) -> tuple[Place, ...]:
        width = BITS[self.dtype] // 8
        return ((PrefetchedSource(self), Span(start * width, count * width)),)  # type: ignore[arg-type]


@st.composite
def mutated(draw: st.DrawFn) -> tuple[StoredTensor, ...]:
    """A good model with some parts left out, renamed, retyped, reshaped or of other bytes, as a safetensors file may say it."""
    names = draw(st.lists(st.sampled_from(sorted(CASES)), min_size=1, max_size=2))
    tensors = {t.name: t for name in names for t in parts(CASES[name][0])}
    for name in draw(st.lists(st.sampled_from(sorted(tensors)), max_size=4, unique=True)):
        tensor = tensors.get(name)
        if tensor is None:
            continue
        data = tensor.reader.data  # type: ignore[attr-defined]
        match draw(st.sampled_from(["drop", "rename", "type", "shape", "bytes", "size"])):
            case "drop":
                tensors.pop(name, None)
            case "rename":
                other = draw(st.sampled_from(sorted(tensors)))
                del tensors[name]
                tensors[other] = _tensor(other, tensor.dtype, tensor.shape, data)
            case "type":
                dtype = draw(st.sampled_from([d for d in _WHOLE_BYTES if not len(data) % (BITS[d] // 8)]))
                tensors[name] = _tensor(name, dtype, _shape(draw, len(data) * 8 // BITS[dtype]), data)
            case "shape":
                tensors[name] = _tensor(name, tensor.dtype, _shape(draw, tensor.size), data)
            case "bytes":
                changed = bytearray(data)
                for at in draw(st.lists(st.integers(0, max(0, len(data) - 1)), max_size=8)):
                    changed[at : at + 1] = draw(st.binary(min_size=1, max_size=1))[: len(changed[at : at + 1])]
                tensors[name] = _tensor(name, tensor.dtype, tensor.shape, bytes(changed))
            case _:
                extents = list(tensor.shape) or [1]
                axis = draw(st.integers(0, len(extents) - 1))
                extents[axis] = draw(st.integers(0, 2 * extents[axis] + 1))
                size = int(np.prod(extents)) * BITS[tensor.dtype] // 8
                tensors[name] = _tensor(name, tensor.dtype, tuple(extents), (data * 8)[:size].ljust(size, b"\1"))
    return tuple(_tensor(t.name, t.dtype, t.shape, t.reader.data) for t in tensors.values())  # type: ignore[attr-defined]


def _tensor(name: str, dtype: str, shape: tuple[int, ...], data: bytes) -> StoredTensor:
    return StoredTensor(name, dtype, shape, len(data), PATH, Far(dtype, data))


def _shape(draw: st.DrawFn, count: int) -> tuple[int, ...]:
    """Extents whose product is `count`."""
    shape = []
    for _ in range(draw(st.integers(0, 3))):
        divisors = [d for d in range(1, min(count, 512) + 1) if not count % d] or [1]
        shape.append(draw(st.sampled_from(divisors)))
        count //= shape[-1]
    return (*shape, count)


@settings(max_examples=400, deadline=2000)
@given(mutated(), st.none() | st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=5) | _VALUES)
def test_any_parts_give_values_or_one_error(stored: tuple[StoredTensor, ...], config: object) -> None:
    try:
        tensors, notes = dequantized(stored, config)
    except ArtifactError as error:
        assert str(error).isprintable()
        return
    assert sum(t.nbytes for t in tensors) <= sum(t.nbytes for t in stored)
    assert [t.name for t in tensors] == sorted({t.name for t in tensors})
    assert all(note.isprintable() for note in notes)
    for tensor in tensors:
        if tensor in stored:
            continue
        assert tensor.size <= 16 * tensor.nbytes
        try:
            values = tensor.reader.read(0, tensor.size)
        except ArtifactError as error:
            assert str(error).isprintable()
            continue
        assert values.shape == (tensor.size,)
        third = tensor.size // 3
        np.testing.assert_array_equal(tensor.reader.read(third, third), values[third : 2 * third])
        if isinstance(tensor.reader, DequantizingReader):
            # A dry run on zeros raises nothing, whatever the parts.
            for source, span in tensor.reader.spans(third, third):
                assert 0 <= span.start <= span.stop <= source.size
            height, width = tensor.reader.rows, tensor.reader.columns
            rows, columns = range(height // 3, height), range(-(-width // 64) * 32 if width > 32 else width)
            block = tensor.reader.read_block(rows, columns)
            whole = values.reshape(height, width)
            np.testing.assert_array_equal(block, whole[rows.start :, : columns.stop])
