"""The independently trained bases, in lineages, each assigned to one split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.lineage.shapes import config, untrained
from benchmarks.lineage.store import Checkpoint, load

FIT, REPORT, BLIND = "fit", "report", "blind"
ALL_SPLITS: Final = (FIT, REPORT, BLIND)

SPLITS: Final[Mapping[str, str]] = {
    "llama-a": FIT,
    "gpt2-a": FIT,
    "bert-a": FIT,
    "sinus-a": FIT,
    "qwen-b": REPORT,
    "neox-b": REPORT,
    "mixtral-b": REPORT,
    "bert-b": REPORT,
    "sinus-b": REPORT,
    "llama-c": BLIND,
    "gpt2-c": BLIND,
}
"""Which split a lineage belongs to. Thresholds may be set on "fit" alone; figures are quoted from
"report". "blind" was trained after the code and its thresholds were frozen, and compared once."""

_SHAPES: Final[Mapping[str, tuple[str, str, tuple[int, ...]]]] = {
    # lineage: model_type, vocabulary, (layers, hidden, heads, feed-forward, groups)
    "llama-a": ("llama", "va", (5, 128, 4, 352, 2)),
    "gpt2-a": ("gpt2", "va", (4, 128, 4, 512)),
    "bert-a": ("bert", "vw", (4, 128, 4, 512)),
    "sinus-a": ("sinusoidal_llama", "va", (4, 128, 4, 352, 4)),
    "qwen-b": ("qwen2", "vb", (4, 144, 4, 384, 2)),
    "neox-b": ("gpt_neox", "vc", (5, 128, 4, 512)),
    "mixtral-b": ("mixtral", "vd", (4, 128, 4, 192, 2)),
    "bert-b": ("bert", "vx", (5, 128, 4, 512)),
    "sinus-b": ("sinusoidal_llama", "vb", (4, 128, 4, 336, 4)),
    "llama-c": ("llama", "ve", (6, 160, 4, 416, 2)),
    "gpt2-c": ("gpt2", "ve", (5, 144, 4, 576)),
}

STEPS: Final = 700


@dataclass(frozen=True)
class Base:
    """One base. `table_of`: the base whose embedding table it starts from; `frozen`: whether the table stays so."""

    name: str
    lineage: str
    seed: int
    half: int = 0
    table_of: str = ""
    frozen: bool = False
    batch: int = 8
    shared_start_with: tuple[str, ...] = field(default=())

    @property
    def split(self) -> str:
        """Of its lineage."""
        return SPLITS[self.lineage]

    @property
    def vocabulary(self) -> str:
        """Name of its tokenizer."""
        return _SHAPES[self.lineage][1]

    @property
    def kind(self) -> str:
        """model_type."""
        return _SHAPES[self.lineage][0]


BASES: Final[tuple[Base, ...]] = (
    Base("llama-a", "llama-a", 1, batch=16),
    Base("llama-a-twin", "llama-a", 2, batch=16),
    Base("qwen-b", "qwen-b", 21, half=1),
    Base("qwen-b-twin", "qwen-b", 22, half=1),
    Base("llama-a-sibling", "llama-a", 1, half=1, shared_start_with=("llama-a",)),
    Base("llama-a-frozen-table", "llama-a", 3, table_of="llama-a", frozen=True),
    Base("llama-a-table", "llama-a", 4, table_of="llama-a"),
    Base("gpt2-a", "gpt2-a", 5),
    Base("sinus-a", "sinus-a", 7),
    Base("sinus-a-twin", "sinus-a", 8),
    Base("mixtral-b", "mixtral-b", 23, half=1),
    Base("neox-b", "neox-b", 24, half=1),
    Base("qwen-b-sibling", "qwen-b", 21, half=0, shared_start_with=("qwen-b",)),
    Base("qwen-b-frozen-table", "qwen-b", 25, half=1, table_of="qwen-b", frozen=True),
    Base("qwen-b-table", "qwen-b", 26, half=1, table_of="qwen-b"),
    Base("sinus-b", "sinus-b", 28, half=1),
    Base("sinus-b-twin", "sinus-b", 29, half=1),
    Base("gpt2-a-twin", "gpt2-a", 9),
    Base("neox-b-twin", "neox-b", 30, half=1),
    Base("bert-a", "bert-a", 6),
    Base("bert-b", "bert-b", 27, half=1),
    Base("bert-a-twin", "bert-a", 10),
    Base("llama-c", "llama-c", 41),
    Base("llama-c-twin", "llama-c", 42),
    Base("llama-c-sibling", "llama-c", 41, half=1, shared_start_with=("llama-c",)),
    Base("gpt2-c", "gpt2-c", 43),
    Base("gpt2-c-twin", "gpt2-c", 44),
)
"""In the order of training: a base comes after the one whose table it borrows."""


def base(name: str) -> Base:
    """By name."""
    return next(b for b in BASES if b.name == name)


def path(cache: Path, name: str) -> Path:
    """Where a base lies."""
    return cache / "bases" / name


def build(cache: Path, spec: Base) -> Checkpoint:
    """Train one base (torch)."""
    from benchmarks.lineage.training import Recipe, train
    from benchmarks.lineage.vocabularies import token_ids, tokenizer_files

    kind, vocabulary, extent = _SHAPES[spec.lineage]
    tokenizer, settings = tokenizer_files(cache, vocabulary)
    ids = token_ids(cache, vocabulary, spec.half)
    model = tokenizer["model"]
    assert isinstance(model, dict)
    shape = config(kind, len(model["vocab"]), *extent)
    tensors = untrained(shape, spec.seed)
    table = "model.embed_tokens.weight"
    if spec.table_of:
        tensors[table] = load(path(cache, spec.table_of)).tensors[table]
    recipe = Recipe(
        STEPS, 1.5e-3 if kind == "bert" else 2.5e-3, spec.seed, (table,) if spec.frozen else (), batch=spec.batch
    )
    trained, loss = train(tensors, shape, ids, recipe)
    print(f"{spec.name}: loss {loss:.3f}", flush=True)
    return Checkpoint(trained, shape, tokenizer, settings)
