"""Derivations that are trained further (torch), each starting from a base's weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.lineage import bases, derive
from benchmarks.lineage.anatomy import close_up, count_layers, open_up
from benchmarks.lineage.bases import FIT, base
from benchmarks.lineage.disguises import disguise
from benchmarks.lineage.shapes import untrained
from benchmarks.lineage.store import Checkpoint, Json, load

if TYPE_CHECKING:
    from benchmarks.lineage.training import Recipe

Start = Callable[[Checkpoint, np.random.Generator], Checkpoint]


@dataclass(frozen=True)
class Trained:
    """One kind. `start` changes the opened model first; `parent`: the kind that it continues; `target`: "" or "teacher".

    `everywhere`: made of all bases, else of `FULL`; `elsewhere`: steps on the others, where not `steps`.
    """

    kind: str
    steps: int
    rate: float
    start: Start | None = None
    parent: str = ""
    rank: int = 0
    target: str = ""
    everywhere: bool = False
    elsewhere: int = 0


def _halved(model: Checkpoint, rng: np.random.Generator) -> Checkpoint:
    return derive.layer_map(model, range(0, model.layers, 2))


def _student(model: Checkpoint, rng: np.random.Generator) -> Checkpoint:
    """Half the depth, no weight of the teacher."""
    spec = count_layers(model, (model.layers + 1) // 2)
    return open_up(replace(spec, tensors=untrained(spec.config, 77)))


def _dropped(model: Checkpoint, rng: np.random.Generator) -> Checkpoint:
    return derive.layer_map(model, [i for i in range(model.layers) if i != model.layers // 2])


def _rebuilt(model: Checkpoint, rng: np.random.Generator) -> Checkpoint:
    """Only a mark: the tokenizer comes from the cache, in `build`."""
    return model


TRAINED: Final[tuple[Trained, ...]] = (
    Trained("fine-tuned", 150, 3e-4, everywhere=True, elsewhere=100),
    Trained("LoRA merged", 150, 2e-3, rank=8, everywhere=True, elsewhere=100),
    Trained("continued pretraining, heavy", 800, 2e-3, everywhere=True, elsewhere=300),
    Trained("disguised, then fine-tuned", 100, 3e-4, disguise, everywhere=True),
    Trained("fine-tuned twice", 150, 3e-4, parent="fine-tuned"),
    Trained("vocabulary extended and trained", 150, 5e-4, lambda m, r: derive.extend_vocabulary(m, r)),
    Trained("vocabulary rebuilt and trained", 250, 1e-3, _rebuilt),
    Trained("layers dropped and healed", 150, 5e-4, _dropped, everywhere=True, elsewhere=100),
    Trained(
        "neurons removed and healed",
        150,
        5e-4,
        lambda m, r: derive.remove_neurons(m, r),
        everywhere=True,
        elsewhere=100,
    ),
    Trained("distilled, layers copied", 200, 1e-3, _halved, target="teacher"),
    Trained("distilled, random student", 300, 2.5e-3, _student, target="teacher"),
    Trained("upcycled and trained", 120, 5e-4, lambda m, r: derive.upcycle(m, r)),
    Trained("depth grown and trained", 120, 5e-4, lambda m, r: derive.expand_blocks(m)),
)
FULL: Final = ("llama-a", "qwen-b")
"""Bases that get every kind."""
OTHERS: Final = ("gpt2-a", "bert-a", "sinus-a", "neox-b", "mixtral-b", "bert-b", "sinus-b", "llama-c", "gpt2-c")
"""Bases that get the kinds marked `everywhere`."""
MINILM: Final = "minilm"
MINILM_KIND: Final = "fine-tuned"


def slug(kind: str) -> str:
    """A kind as part of a folder name."""
    return "".join(c if c.isalnum() or c == "." else "-" for c in kind).replace("--", "-").strip("-")


def path(cache: Path, origin: str, kind: str) -> Path:
    """Where the derivation `kind` of the base `origin` lies."""
    return cache / "models" / f"{origin}--{slug(kind)}"


def plan() -> Mapping[str, tuple[str, Trained]]:
    """Every trained derivation by folder name: its base and its kind."""
    found = {}
    for origin in (*FULL, *OTHERS):
        for spec in TRAINED:
            if origin in FULL or spec.everywhere:
                found[f"{origin}--{slug(spec.kind)}"] = (origin, spec)
    return found


def build(cache: Path, origin: str, spec: Trained) -> Checkpoint:
    """Derive and train."""
    from benchmarks.lineage.training import Recipe, train
    from benchmarks.lineage.vocabularies import token_ids, tokenizer_files

    parent = load(bases.path(cache, origin))
    rng = np.random.default_rng(_seed(origin, spec.kind))
    model = load(path(cache, origin, spec.parent)) if spec.parent else parent
    source = base(origin)
    vocabulary = source.vocabulary
    if spec.start is _rebuilt:
        vocabulary = "vn" if source.split == FIT else "vm"
        model = rebuild_vocabulary(model, *tokenizer_files(cache, vocabulary), rng)
    elif spec.start is not None:
        model = close_up(spec.start(open_up(model), rng))
    ids = token_ids(cache, vocabulary, source.half if spec.kind == "fine-tuned twice" else 1 - source.half)
    if spec.start is not _rebuilt:
        ids = renumber(parent.tokenizer, model.tokenizer)[ids]
    steps = spec.steps if origin in FULL else spec.elsewhere or spec.steps
    recipe: Recipe = Recipe(steps, spec.rate, _seed(origin, spec.kind), rank=spec.rank)
    teacher = parent if spec.target else None
    trained, loss = train(model.tensors, model.config, ids, recipe, teacher=teacher)
    print(f"{origin} {spec.kind}: loss {loss:.3f}", flush=True)
    return replace(model, tensors=trained)


def build_minilm(cache: Path) -> Checkpoint:
    """The real model tuned for a minute on masked tokens, its own table as the head."""
    from tokenizers import Tokenizer

    from benchmarks.lineage.corpus import corpus
    from benchmarks.lineage.training import Recipe, train

    folder = bases.path(cache, MINILM)
    model = load(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    text = corpus(cache)[0].read_text(encoding="utf-8")[:1_000_000]
    ids = np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.uint16)
    recipe = Recipe(40, 1e-4, 5, batch=4)
    trained, loss = train(model.tensors, model.config, ids, recipe, _vocabulary(model.tokenizer)["[MASK]"])
    print(f"{MINILM} {MINILM_KIND}: loss {loss:.3f}", flush=True)
    return replace(model, tensors=trained, dtype="BF16")


def rebuild_vocabulary(model: Checkpoint, tokenizer: Json, settings: Json, rng: np.random.Generator) -> Checkpoint:
    """Another tokenizer: rows of tokens that both have are kept, the others start at the mean row plus noise."""
    opened = open_up(model)
    old, new = _vocabulary(model.tokenizer), _vocabulary(tokenizer)
    shared = [(new[t], old[t]) for t in new if t in old]
    tensors = dict(opened.tensors)
    for name in ("embed.weight", "head.weight"):
        if name in tensors:
            table = tensors[name]
            rows = table.mean(0) + table.std(0) * rng.standard_normal((len(new), table.shape[1]))
            rows[[n for n, _ in shared]] = table[[o for _, o in shared]]
            tensors[name] = rows.astype(np.float32)
    changed = replace(opened, tensors=tensors, tokenizer=tokenizer, tokenizer_config=settings)
    return close_up(changed.with_(vocab_size=len(new)))


def renumber(old: Json, new: Json) -> NDArray[np.uint16]:
    """New id of each old id; the old tokens must all be there."""
    before, after = _vocabulary(old), _vocabulary(new)
    place = np.zeros(max(before.values()) + 1, np.uint16)
    for token, i in before.items():
        place[i] = after[token]
    return place


def _vocabulary(tokenizer: Json) -> dict[str, int]:
    body = tokenizer["model"]
    assert isinstance(body, dict)
    found: dict[str, int] = body["vocab"]
    return found


def _seed(origin: str, kind: str) -> int:
    return sum(ord(c) * (i + 1) for i, c in enumerate(f"{origin}/{kind}"))
