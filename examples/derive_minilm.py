"""Two models with the metadata of all-MiniLM-L6-v2: its weights through 8 bits, and random ones. Used by the demo.

usage: derive_minilm.py MODEL_FOLDER OUT_FOLDER
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

Change = Callable[[np.ndarray], np.ndarray]


def through_int8(values: np.ndarray) -> np.ndarray:
    """Rounded to 255 levels per row, as symmetric 8-bit quantization does."""
    scale = np.maximum(np.abs(values).max(axis=1, keepdims=True), 1e-12) / 127
    return np.round(values / scale) * scale


def redrawn(values: np.ndarray) -> np.ndarray:
    """Gaussian values of the same mean and deviation."""
    rng = np.random.default_rng(values.shape)
    return values.mean() + values.std() * rng.standard_normal(values.shape)


def write(source: Path, out: Path, change: Change) -> None:
    """A copy of the model with every float matrix changed."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, out / name)
    tensors = {
        name: change(values).astype(np.float32) if values.ndim == 2 and values.dtype == np.float32 else values
        for name, values in load_file(source / "model.safetensors").items()
    }
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    """Write both."""
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    write(source, out / "minilm-int8", through_int8)
    write(source, out / "minilm-redrawn", redrawn)


if __name__ == "__main__":
    main()
