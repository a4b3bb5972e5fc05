"""What the benchmarks share: synthetic checkpoints, child processes with their memory, and how figures are printed."""

from __future__ import annotations

import json
import os
import platform
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

GATE = (sys.executable, "-m", "provenance_gate")
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Shape:
    """A Llama-shaped model."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    groups: int
    vocabulary: int

    def tensors(self) -> list[tuple[str, tuple[int, ...]]]:
        """Names and shapes, as Hugging Face writes them."""
        narrow = self.hidden // self.heads * self.groups
        found: list[tuple[str, tuple[int, ...]]] = [("model.embed_tokens.weight", (self.vocabulary, self.hidden))]
        for layer in range(self.layers):
            at = f"model.layers.{layer}."
            found += [
                (f"{at}self_attn.q_proj.weight", (self.hidden, self.hidden)),
                (f"{at}self_attn.k_proj.weight", (narrow, self.hidden)),
                (f"{at}self_attn.v_proj.weight", (narrow, self.hidden)),
                (f"{at}self_attn.o_proj.weight", (self.hidden, self.hidden)),
                (f"{at}mlp.gate_proj.weight", (self.feed_forward, self.hidden)),
                (f"{at}mlp.up_proj.weight", (self.feed_forward, self.hidden)),
                (f"{at}mlp.down_proj.weight", (self.hidden, self.feed_forward)),
                (f"{at}input_layernorm.weight", (self.hidden,)),
                (f"{at}post_attention_layernorm.weight", (self.hidden,)),
            ]
        return [*found, ("model.norm.weight", (self.hidden,)), ("lm_head.weight", (self.vocabulary, self.hidden))]

    def config(self) -> dict[str, object]:
        """config.json."""
        return {
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": self.hidden,
            "intermediate_size": self.feed_forward,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.groups,
            "vocab_size": self.vocabulary,
            "rms_norm_eps": 1e-5,
        }


TINY_LLAMA = Shape(22, 2048, 5632, 32, 4, 32000)
"""1.1e9 parameters, 2.2 GB in bfloat16."""


def write_checkpoint(folder: Path, shape: Shape, seed: int, base: Path | None = None, claim: str = "") -> Path:
    """A bfloat16 model with Gaussian weights; with `base`, that model's weights and one bit of noise in every eighth value."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(shape.config()))
    front = f"license: apache-2.0\nbase_model: {claim}\n" if claim else "license: apache-2.0\n"
    (folder / "README.md").write_text(f"---\n{front}---\n")
    header: dict[str, object] = {}
    at = 0
    for name, extent in shape.tensors():
        size = 2 * int(np.prod(extent))
        header[name] = {"dtype": "BF16", "shape": list(extent), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    rng = np.random.default_rng(seed)
    # Gaussian bits are drawn once and reused at random offsets: drawing a billion values would take minutes.
    pool = (rng.standard_normal(1 << 24, np.float32) * 0.02).view(np.uint32) >> 16
    bits = pool.astype("<u2")
    with (folder / "model.safetensors").open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        start = out.tell()
        source = (base / "model.safetensors").open("rb") if base else None
        if source:
            source.seek(start)
        for done in range(0, at // 2, _BLOCK):
            count = min(_BLOCK, at // 2 - done)
            if source:
                block = np.frombuffer(source.read(2 * count), "<u2").copy()
                block[::8] ^= 1
            else:
                first = int(rng.integers(0, len(bits) - count))
                block = bits[first : first + count]
            out.write(block.tobytes())
        if source:
            source.close()
    return folder


def write_rotated(folder: Path, shape: Shape, base: Path) -> Path:
    """`base` with its norms folded, its residual stream rotated and its neurons reordered: another file of the same function."""
    from provenance_gate.artifact.load import open_artifact

    stored = {t.name: t for t in open_artifact(base).artifact.stored}

    def read(name: str) -> np.ndarray:
        return stored[name].reader.read(0, stored[name].size).reshape(stored[name].shape)

    rng = np.random.default_rng(7)
    turn = np.linalg.qr(rng.standard_normal((shape.hidden, shape.hidden)))[0].astype(np.float32)
    orders = [rng.permutation(shape.feed_forward) for _ in range(shape.layers)]
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(shape.config()))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    source = (base / "model.safetensors").open("rb")
    with source, (folder / "model.safetensors").open("wb") as out:
        length = struct.unpack("<Q", source.read(8))[0]
        out.write(struct.pack("<Q", length) + source.read(length))
        for name, _ in shape.tensors():
            value = _rotated(name, read, turn, orders)
            bits = np.ascontiguousarray(value, np.float32).view(np.uint32) >> 16
            out.write(bits.astype("<u2").tobytes())
    return folder


def _rotated(
    name: str, read: Callable[[str], np.ndarray], turn: np.ndarray, orders: Sequence[np.ndarray]
) -> np.ndarray:
    value = read(name)
    at = ".".join(name.split(".")[:3])
    if "norm" in name:
        return np.ones_like(value)
    if "embed_tokens" in name:
        return value @ turn
    if "o_proj" in name:
        return turn.T @ value
    if "down_proj" in name:
        return (turn.T @ value)[:, orders[int(name.split(".")[2])]]
    norm = (
        "model.norm" if "lm_head" in name else f"{at}.{'input' if 'self_attn' in name else 'post_attention'}_layernorm"
    )
    value = (value * read(f"{norm}.weight")) @ turn
    return value[orders[int(name.split(".")[2])]] if ".mlp." in name else value


def settle(*folders: Path) -> None:
    """Flush what was written and read it once: the figures are about a warm page cache."""
    os.sync()
    for folder in folders:
        with (folder / "model.safetensors").open("rb") as file:
            while file.read(_BLOCK):
                pass


@dataclass(frozen=True)
class Run:
    """One child process."""

    seconds: float
    peak_mb: float
    output: str
    code: int


def run(command: Sequence[str]) -> Run:
    """Run a command; wall time and its own peak resident memory."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    return Run(seconds, usage.ru_maxrss / 1024, output, process.returncode)


def timed(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median with quartiles."""
    ordered = sorted(values)
    low, middle, high = statistics.quantiles(ordered, n=4) if len(ordered) > 1 else (ordered[0],) * 3
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f}, n = {len(ordered)})"


def machine() -> str:
    """What the figures were measured on, without naming the host."""
    return f"{os.cpu_count()} cores, {platform.machine()}, CPython {platform.python_version()}, numpy {np.__version__}"
