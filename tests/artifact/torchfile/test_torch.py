"""Against torch itself, where it is installed: what `torch.save` writes is read as `torch.load` reads it."""

from __future__ import annotations

import io
import warnings
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest

from provenance_gate.artifact.torchfile.open import open_torch
from provenance_gate.errors import ArtifactError, UnsafeFormatError

from .build import Memory, by_name, opened

torch = pytest.importorskip("torch")

DTYPES = [
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "uint16", "uint32",
    "uint64", "float8_e4m3fn", "float8_e5m2",
]  # fmt: skip
LAYOUTS = [(new, protocol) for new in (True, False) for protocol in (1, 2, 3, 4, 5)]


def saved(value: Any, new: bool = True, protocol: int = 2) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    return out.getvalue()


def make(dtype: str, *shape: int) -> Any:
    torch.manual_seed(len(dtype) + sum(shape))
    return (torch.randn(*shape) * 10).abs().to(getattr(torch, dtype))


@pytest.mark.parametrize(("new", "protocol"), LAYOUTS)
def test_every_dtype_and_layout_is_read_as_torch_reads_it(new: bool, protocol: int) -> None:
    # torch itself cannot load from its old layout the types that came after it.
    dtypes = [d for d in DTYPES if new or not d.startswith(("float8", "uint16", "uint32", "uint64"))]
    state = {d: make(d, 5, 7) for d in dtypes} | {f"{d}.t": make(d, 5, 7).t() for d in dtypes}
    state |= {"scalar": torch.tensor(3.0), "empty": torch.empty(0, 3), "cube": make("float32", 2, 3, 4)}
    data = saved(state, new, protocol)
    back = torch.load(io.BytesIO(data), weights_only=False)
    found = by_name(data)
    assert sorted(found) == sorted(back)
    for key, expected in back.items():
        tensor = found[key]
        assert tensor.shape == tuple(expected.shape)
        assert tensor.nbytes == expected.numel() * expected.element_size()
        got = tensor.reader.read(0, tensor.size)
        np.testing.assert_array_equal(got, expected.to(torch.float32).numpy().reshape(-1))
        for start, stop in ((0, 1), (3, 11), (tensor.size // 2, tensor.size)):
            if start <= stop <= tensor.size:
                np.testing.assert_array_equal(tensor.reader.read(start, stop - start), got[start:stop])


@pytest.mark.parametrize("new", [True, False])
def test_a_module_with_tied_weights_and_buffers(new: bool) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Embedding(10, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 10))
    module[2].weight = module[0].weight
    state = module.state_dict()
    found = by_name(saved(state, new))
    assert sorted(found) == sorted(state)
    for key, expected in state.items():
        np.testing.assert_array_equal(
            found[key].reader.read(0, found[key].size), expected.to(torch.float32).numpy().reshape(-1)
        )


@pytest.mark.parametrize("new", [True, False])
def test_a_trainers_checkpoint(new: bool) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    data = saved({"model_state_dict": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1}, new)
    assert [t.name for t in opened(data).tensors] == ["bias", "weight"]


def test_views_of_one_storage_are_read_or_refused_but_never_wrong() -> None:
    base = torch.arange(60.0).reshape(3, 4, 5)
    state = {
        "base": base, "first": base[0], "last": base[-1], "turned": base[1].t(), "cut": base[:, 1:3], "step": base[..., ::2],
        "swapped": base.transpose(0, 1), "expanded": base[:1, :1, :1].expand(2, 2, 2), "flat": base.view(-1)[7:40],
    }  # fmt: skip
    found = by_name(saved(state))
    read = []
    for key, expected in state.items():
        try:
            got = found[key].reader.read(0, found[key].size)
        except ArtifactError as error:
            assert "is not read" in str(error), error
            continue
        read.append(key)
        np.testing.assert_array_equal(got, expected.reshape(-1).numpy())
    assert read == ["base", "first", "last", "turned", "flat"]


def test_a_whole_module_is_refused_by_the_name_of_its_class() -> None:
    with pytest.raises(UnsafeFormatError, match=r"torch\.nn\.modules\.linear\.Linear .*nothing was executed"):
        opened(saved(torch.nn.Linear(2, 2)))


def test_torchscript_is_refused() -> None:
    class Twice(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return x + x

    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(Twice(), torch.ones(1)), out)
    with pytest.raises(UnsafeFormatError, match="TorchScript"):
        opened(out.getvalue())


def test_reading_takes_only_headers_and_the_program() -> None:
    data = saved({"w": torch.zeros(1_000_000)})
    source = Memory(data)
    (found,) = open_torch(source, PurePosixPath("m.bin"))
    assert sum(size for _, size in source.reads) < 80_000
    source.reads.clear()
    found.reader.read(10, 5)
    assert [size for _, size in source.reads] == [20]
