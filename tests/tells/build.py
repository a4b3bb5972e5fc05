"""Cases made of real folders, known models as a catalog has them, and lineages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from provenance_gate.artifact.load import open_artifact
from provenance_gate.fingerprint.measure import measure
from provenance_gate.lineage.interface import Lineage
from provenance_gate.tells.documents import read_side_documents
from provenance_gate.tells.interface import Case, KnownModel, Side
from tests import models as tiny
from tests.policy.build import lineage

BASE = "acme/base-7b"


def write(
    folder: Path,
    *,
    config: Mapping[str, object] | None = None,
    card: str | None = None,
    files: Mapping[str, object] | None = None,
    without: Sequence[str] = (),
    seed: int = 1,
    tensors: Mapping[str, NDArray[np.generic]] | None = None,
) -> Path:
    """A tiny Llama; `config` adds to config.json (None takes a key out), `files` are written as text or JSON."""
    tiny.write_model(folder, tiny.llama(seed) if tensors is None else tensors)
    settings = {k: v for k, v in {**tiny.config(), **(config or {})}.items() if v is not None}
    (folder / "config.json").write_text(json.dumps(settings))
    if card is not None:
        (folder / "README.md").write_text(card)
    for name, content in (files or {}).items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    for name in without:
        (folder / name).unlink()
    return folder


def side(folder: Path, name: str | None = None) -> Side:
    opened = open_artifact(folder)
    documents = read_side_documents(opened.store, opened.artifact.files)
    return Side(name or opened.artifact.name, measure(opened.artifact), opened.artifact, documents)


def stored_side(folder: Path, name: str) -> Side:
    """The same with nothing at hand but the fingerprint."""
    return Side(name, side(folder).fingerprint, None)


def case(ours: Path | Side, *bases: tuple[Side, Lineage], known: Sequence[KnownModel] = ()) -> Case:
    return Case(side(ours) if isinstance(ours, Path) else ours, bases, known)


def candidate(folder: Path, model_id: str = BASE) -> tuple[Side, Lineage]:
    return side(folder, model_id), lineage(base=model_id, declared=False)


def known(
    model_id: str = BASE,
    *,
    family: str = "acme--base",
    config: Mapping[str, object] | None = None,
    tokenizer: Mapping[str, object] | None = None,
    license_: Mapping[str, object] | None = None,
    aliases: tuple[str, ...] = (),
) -> KnownModel:
    facts = {"family": family, "config": config, "tokenizer": tokenizer, "license": license_}
    return KnownModel(model_id, aliases, facts)


def words(seed: int, count: int = 3000) -> str:
    """Text in a made-up language whose syllables have frequencies of their own."""
    rng = np.random.default_rng(seed)
    syllables = np.array([c + v for c in "bcdfghjklmnprstvz" for v in "aeiou"])
    frequencies = rng.dirichlet(np.full(len(syllables), 0.3))
    return " ".join("".join(rng.choice(syllables, rng.integers(1, 5), p=frequencies)) for _ in range(count))


def bpe(text: str, size: int = 1200) -> dict[str, object]:
    """tokenizer.json of a byte-level BPE that was trained on `text`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    parsed: dict[str, object] = json.loads(tokenizer.to_str())
    return parsed
