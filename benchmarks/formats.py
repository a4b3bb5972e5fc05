"""What each format leaves of a model: score, relation and signals of a copy against its float original.

    python benchmarks/formats.py

The original has Gaussian weights in rows of 256 and 768, which every block type can hold. The quantizers are plain ones written
from the formats' definitions (`tests/formats.py`, `ggml_blocks.py`), or the gguf package's. In GGUF the embedding table and the
output matrix are quantized too, in the others they are not.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import provenance_gate
from benchmarks.common import Shape
from benchmarks.lineage.gguf_files import write_gguf
from provenance_gate.artifact.interface import NotMeasured
from tests.formats import QUANTIZERS, write_quantized, write_torch
from tests.models import card, noisy, tokenizer

SHAPE = Shape(4, 256, 768, 4, 2, 640)
SIGNALS = ("weight_correlation", "wvc", "eas", "end", "lep", "nlf")
GGUF_TYPES = ("F16", "BF16", "Q8_0", "Q6_K", "Q5_0", "Q4_K", "Q4_1", "IQ4_NL", "Q4_0", "MXFP4")
FORMATS = (*QUANTIZERS, *(f"gguf {kind}" for kind in GGUF_TYPES), "torch")
NEAR = 0.02
Tensors = dict[str, NDArray[np.float32]]


def gaussian(seed: int) -> Tensors:
    """Matrices of unit gain, norms about one."""
    rng = np.random.default_rng(seed)
    return {
        name: (
            rng.standard_normal(extent, np.float32) / np.float32(np.sqrt(extent[1]))
            if len(extent) == 2
            else np.float32(1) + np.float32(0.1) * rng.standard_normal(extent, np.float32)
        )
        for name, extent in SHAPE.tensors()
    }


def write_original(folder: Path, tensors: Tensors) -> Path:
    """As float32 safetensors, with config, tokenizer and card."""
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(SHAPE.config()))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(SHAPE.vocabulary)))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    (folder / "README.md").write_text(card())
    return folder


def write(folder: Path, original: Path, tensors: Tensors, name: str) -> Path:
    """In the format `name`, with the tokenizer of the original."""
    if name.startswith("gguf "):
        write_gguf(folder, original, tensors, name.removeprefix("gguf "))
    elif name == "torch":
        write_torch(folder, tensors)
    else:
        write_quantized(folder, tensors, QUANTIZERS[name])
    for paper in ("tokenizer.json", *(() if name.startswith("gguf ") else ("config.json",))):
        shutil.copy(original / paper, folder / paper)
    return folder


def main() -> None:
    """Print one line per format."""
    models = {"copy": gaussian(1), "child": noisy(gaussian(1), 0.3), "stranger": gaussian(2)}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        base = write_original(place / "base", models["copy"])
        print(
            f"| Format | copy: relation | score | {' | '.join(SIGNALS)} | signals further than {NEAR} from 1 "
            "| child with 30 % noise | stranger |"
        )
        print("| --- " * (len(SIGNALS) + 6) + "|")
        for name in FORMATS:
            found = {}
            for kind, tensors in models.items():
                written = write(place / kind, base, tensors, name)
                found[kind] = provenance_gate.compare(str(written), str(base))
                shutil.rmtree(written)
            copy = found["copy"]
            values = {s: copy.signals[s].value for s in SIGNALS}
            far = [s for s, v in values.items() if isinstance(v, NotMeasured) or abs(v - 1) > NEAR]
            shown = " | ".join(map(_shown, values.values()))
            others = " | ".join(f"{found[k].relation.value} {_shown(found[k].score)}" for k in ("child", "stranger"))
            print(
                f"| {name} | {copy.relation.value} | {_shown(copy.score)} | {shown} | {', '.join(far) or 'none'} | {others} |",
                flush=True,
            )


def _shown(value: float | NotMeasured) -> str:
    return "not measured" if isinstance(value, NotMeasured) else f"{value:.3f}"


if __name__ == "__main__":
    main()
