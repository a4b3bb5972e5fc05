"""Types that the optional package decodes: the same values in parts, and a clear end where it is absent."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from provenance_gate.artifact.gguf.blocks import is_decodable
from provenance_gate.artifact.gguf.packageblocks import PACKAGE_TYPES, package_decoder
from provenance_gate.artifact.gguf.readers import BlockReader
from provenance_gate.artifact.gguf.types import TYPES
from provenance_gate.errors import ArtifactError

from .build import Bytes, gguf, opened, values

KINDS = {kind.name: kind for kind in TYPES.values()}


@pytest.fixture
def package() -> Any:
    return pytest.importorskip("gguf")


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process that has not looked for the package yet."""
    for name in [n for n in sys.modules if n == "gguf" or n.startswith("gguf.")]:
        monkeypatch.delitem(sys.modules, name)
    package_decoder.cache_clear()
    yield
    package_decoder.cache_clear()


def random_reader(name: str, blocks: int = 1500) -> tuple[BlockReader, Bytes]:
    kind = KINDS[name]
    source = Bytes(bytes(96) + np.random.default_rng(3).bytes(blocks * kind.size))
    return BlockReader(source, "t", kind, name, 96, blocks * kind.block), source


@pytest.mark.parametrize("name", sorted(PACKAGE_TYPES))
def test_any_part_is_a_slice_of_what_the_package_gives(name: str, package: Any) -> None:
    reader, source = random_reader(name)
    number = package.GGMLQuantizationType[name]
    raw = np.frombuffer(source.data[96:], np.uint8).reshape(-1, KINDS[name].size)
    with np.errstate(all="ignore"):
        whole = package.quants.dequantize(raw, number).reshape(-1)
    for start, stop in ((0, reader.count), (1, 2), (255, 257), (700, 5000), (reader.count - 3, reader.count), (9, 9)):
        source.reads.clear()
        np.testing.assert_array_equal(reader.read(start, stop - start), whole[start:stop])
        touched = -(-stop // KINDS[name].block) - start // KINDS[name].block
        assert sum(size for _, size in source.reads) <= touched * KINDS[name].size


@pytest.mark.parametrize("name", ["TQ1_0", "TQ2_0"])
def test_ternary_weights_come_back(name: str, package: Any) -> None:
    weights = np.random.default_rng(1).choice([-0.5, 0.0, 0.5], (4, 512)).astype(np.float32)
    raw = package.quants.quantize(weights, package.GGMLQuantizationType[name]).tobytes()
    (tensor,) = opened(gguf({"a": (name, (4, 512), raw)})).tensors
    np.testing.assert_array_equal(values(tensor), weights)


@pytest.mark.usefixtures("forgotten")
def test_without_the_package_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert not is_decodable("IQ2_XXS")
    model = opened(gguf({"a": ("IQ2_XXS", (2, 256), bytes(132))}))
    words = r"without the package gguf \(pip install 'provenance-gate\[gguf\]'\)"
    (note,) = model.notes
    assert note.endswith("not read without the package gguf (pip install 'provenance-gate[gguf]'): IQ2_XXS (1)")
    with pytest.raises(ArtifactError, match=rf"m\.gguf: tensor 'a': values of type IQ2_XXS cannot be read {words}"):
        model.tensors[0].reader.read(0, 1)


@pytest.mark.usefixtures("forgotten")
def test_a_file_of_that_name_beside_the_model_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gguf.py").write_text("raise SystemExit('was run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert package_decoder("IQ1_S") is None
