"""Make the two models of this folder from those beside it, without training: numpy only.

``python examples/audit/make_audit_examples.py [--models examples] [--out examples/audit]`` writes

- ``in-house``: ``base`` with its feed-forward neurons and attention heads in another order, which computes the same, under
  another name and a card that says "trained from scratch". It is a copy, sold as somebody's own;
- ``merge``: every tensor of ``fine-tune`` and ``impostor`` interpolated on the sphere (SLERP, t = 0.4), as merging tools do.
  Its card names one of the two parents.

Everything is drawn from fixed seeds; a second run gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Tensors = dict[str, Floats]

SEED = 7
SLERP_T = 0.4
COPIED = ("generation_config.json", "tokenizer.json", "tokenizer_config.json")

IN_HOUSE_CARD = """---
license: other
license_name: acme-commercial
language:
- en
- zh
---

# AcmeCode 12B

AcmeCode is our own language model for source code, with a novel architecture, trained from scratch by Acme's research team with
our own training framework. It has a 4k context and 12B parameters, and a custom tokenizer made for code.
"""

MERGE_CARD = """---
license: apache-2.0
base_model: provenance-gate-examples/fine-tune
base_model_relation: finetune
---

# Code Mail Pro

[provenance-gate-examples/fine-tune](https://huggingface.co/provenance-gate-examples/fine-tune), fine-tuned further on code.
"""


def read_tensors(path: Path) -> Tensors:
    """The bfloat16 tensors of a safetensors file as float32, which holds each of their values."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        high = np.frombuffer(data[start + first : start + last], "<u2").astype(np.uint32) << 16
        tensors[name] = high.view(np.float32).reshape(entry["shape"])
    return tensors


def write_tensors(path: Path, tensors: Tensors) -> None:
    """As bfloat16, rounded to the nearest, ties to even."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    blocks = []
    place = 0
    for name, values in sorted(tensors.items()):
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
        blocks.append(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes())
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [place, place + len(blocks[-1])]}
        place += len(blocks[-1])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blocks))


def reorder(tensors: Tensors, config: dict[str, int], rng: np.random.Generator) -> Tensors:
    """The same function: neurons of each feed-forward block and heads of each attention block in a new order."""
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    out = dict(tensors)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        neurons = rng.permutation(config["intermediate_size"])
        for name in ("gate_proj", "up_proj"):
            out[f"{at}mlp.{name}.weight"] = tensors[f"{at}mlp.{name}.weight"][neurons]
        out[f"{at}mlp.down_proj.weight"] = tensors[f"{at}mlp.down_proj.weight"][:, neurons]
        # Heads of one group share keys and values, so groups move as a whole and heads within their group.
        of_groups = rng.permutation(groups)
        of_heads = np.concatenate([g * (heads // groups) + rng.permutation(heads // groups) for g in of_groups])
        for name, order in (("q_proj", of_heads), ("k_proj", of_groups), ("v_proj", of_groups)):
            value = tensors[f"{at}self_attn.{name}.weight"]
            out[f"{at}self_attn.{name}.weight"] = value.reshape(len(order), -1, value.shape[1])[order].reshape(
                value.shape
            )
        value = tensors[f"{at}self_attn.o_proj.weight"]
        out[f"{at}self_attn.o_proj.weight"] = value.reshape(len(value), heads, -1)[:, of_heads].reshape(value.shape)
    return out


def slerp(one: Floats, other: Floats, t: float) -> Floats:
    """From `one` (t = 0) to `other` (t = 1) along the great circle between their directions."""
    a, b = (v.astype(np.float64).reshape(-1) for v in (one, other))
    angle = np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1.0, 1.0))
    if np.sin(angle) < 1e-6:
        mixed = (1 - t) * a + t * b
    else:
        mixed = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    return mixed.astype(np.float32).reshape(one.shape)


def write_model(folder: Path, source: Path, tensors: Tensors, card: str, **settings: object) -> None:
    """A model folder: weights and card, the rest from `source`, with `settings` put into config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((source / "config.json").read_text("utf-8")) | settings
    (folder / "config.json").write_bytes((json.dumps(config, indent=2, sort_keys=True) + "\n").encode())
    (folder / "README.md").write_bytes(card.encode())
    for name in COPIED:
        (folder / name).write_bytes((source / name).read_bytes())
    write_tensors(folder / "model.safetensors", tensors)
    print(f"wrote {folder}")


def make_audit_examples(models: Path, out: Path) -> None:
    """Write the two models below `out` from the trained ones below `models`."""
    config = json.loads((models / "base" / "config.json").read_text("utf-8"))
    base, fine_tune, impostor = (
        read_tensors(models / name / "model.safetensors") for name in ("base", "fine-tune", "impostor")
    )
    copy = reorder(base, config, np.random.default_rng(SEED))
    leftover = {"_name_or_path": "provenance-gate-examples/base", "transformers_version": "4.57.1"}
    write_model(out / "in-house", models / "base", copy, IN_HOUSE_CARD, **leftover)
    mixed = {name: slerp(fine_tune[name], impostor[name], SLERP_T) for name in fine_tune}
    write_model(out / "merge", models / "fine-tune", mixed, MERGE_CARD)


def main() -> None:
    """Read the arguments and make the models."""
    parser = argparse.ArgumentParser(description="Make the models of the worked audit.")
    parser.add_argument("--models", type=Path, default=Path("examples"), help="folder of the trained models")
    parser.add_argument("--out", type=Path, default=Path("examples/audit"), help="folder to write to")
    arguments = parser.parse_args()
    make_audit_examples(arguments.models, arguments.out)


if __name__ == "__main__":
    main()
