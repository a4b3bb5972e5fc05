"""Models of known relation, as sides with the lineage that plain comparison or a trace gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from provenance_gate.lineage.compare import compare
from provenance_gate.lineage.interface import BaseRef, Lineage
from provenance_gate.reading import Model, Reading, lineage_of, read_model
from provenance_gate.tells.documents import read_side_documents
from provenance_gate.tells.interface import Case, Side
from tests import models as tiny

READING = Reading(exact=False, jobs=1)
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def folder(path: Path, tensors: Mapping[str, NDArray[np.generic]], layers: int = tiny.LAYERS) -> Path:
    return tiny.write_model(path, tensors, layers=layers)


@lru_cache(maxsize=64)
def side(path: Path, name: str | None = None, *, stored: bool = False) -> Side:
    """`stored`: with nothing at hand but the fingerprint."""
    model = _read(path)
    assert model.opened is not None
    opened = model.opened
    documents = {} if stored else read_side_documents(opened.store, opened.artifact.files)
    return Side(name or path.name, model.fingerprint, None if stored else opened.artifact, documents)


def lineage(ours: Path, base: Path) -> Lineage:
    """With a trace where plain comparison leaves descent open."""
    return lineage_of(_read(ours), _read(base), BaseRef(base.name, str(base)), (), READING)


@lru_cache(maxsize=64)
def _read(path: Path) -> Model:
    return read_model(str(path), READING)


def case(ours: Path, *bases: Path, stored: bool = False, traced: bool = False) -> Case:
    mine = side(ours, stored=stored)
    found = []
    for path in bases:
        theirs = side(path, stored=stored)
        ref = BaseRef(path.name, str(path))
        plain = compare(mine.fingerprint, theirs.fingerprint, ref)
        found.append((theirs, lineage(ours, path) if traced else plain))
    return Case(mine, found)


def turned(tensors: tiny.Tensors, order: NDArray[np.intp]) -> tiny.Tensors:
    """The residual stream in another order: the function stays."""
    found = dict(tensors)
    for name, value in tensors.items():
        if value.ndim == 1 or name.endswith(("o_proj.weight", "down_proj.weight")):
            found[name] = value[order]
        else:
            found[name] = np.ascontiguousarray(value[:, order])
    return found


def renumbered(path: Path, tensors: tiny.Tensors, order: NDArray[np.intp]) -> Path:
    """Token `i` of the base gets the id at which `order` holds i."""
    new = {**tensors, EMBEDDING: tensors[EMBEDDING][order], HEAD: tensors[HEAD][order]}
    folder(path, new)
    tokenizer = tiny.tokenizer()
    model = tokenizer["model"]
    assert isinstance(model, dict)
    words = {i: word for word, i in model["vocab"].items()}
    model["vocab"] = {words[int(old)]: place for place, old in enumerate(order)}
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    return path
