"""Values of the block types whose code books this package does not hold, decoded by the optional package ``gguf``.

These are the types of one to three bits (IQ1_S to IQ3_S, TQ1_0, TQ2_0) and NVFP4. The package is ggml's own; it is imported when
a value of such a type is asked for, and only from the folders that packages are installed to.
"""

from __future__ import annotations

import importlib
import site
import sysconfig
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.gguf.types import TYPES

EXTRA: Final = "provenance-gate[gguf]"

PACKAGE_TYPES: Final = frozenset(
    {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "TQ1_0", "TQ2_0", "NVFP4"}
)
_SIZES: Final = {kind.name: (kind.block, kind.size) for kind in TYPES.values()}
_AT_ONCE: Final = 512
"""Blocks given to the package at a time: it takes some twenty times the memory of the values."""

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


@cache
def package_decoder(name: str) -> Callable[[Bytes], Floats] | None:
    """Blocks of the type, shape (n, bytes per block), to values, shape (n, elements per block).

    None for other types than `PACKAGE_TYPES`, without the package, and when its version does not know the type as we do.
    """
    if name not in PACKAGE_TYPES or not _is_installed():
        return None
    package: Any = importlib.import_module("gguf")
    kind = getattr(package.GGMLQuantizationType, name, None)
    if kind is None or tuple(package.GGML_QUANT_SIZES.get(kind, ())) != _SIZES[name]:
        return None
    elements, size = _SIZES[name]

    def decode(blocks: Bytes) -> Floats:
        values = np.empty((len(blocks), elements), np.float32)
        for first in range(0, len(blocks), _AT_ONCE):
            some = blocks[first : first + _AT_ONCE]
            # As one row: the package goes through rows in small groups.
            found = package.quants.dequantize(some.reshape(1, len(some) * size), kind)
            values[first : first + len(some)] = found.reshape(-1, elements)
        return values

    try:
        decode(np.zeros((1, size), np.uint8))
    except NotImplementedError:
        return None
    return decode


def _is_installed() -> bool:
    """Whether ``gguf`` is an installed package, and not a file of that name where the gate happens to run."""
    found = find_spec("gguf")
    if found is None or found.origin is None:
        return False
    installed = (*site.getsitepackages(), site.getusersitepackages(), *sysconfig.get_paths().values())
    return any(Path(found.origin).is_relative_to(folder) for folder in installed)
