"""What was not delivered. That is a finding of its own: a tell that cannot look is not quiet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from provenance_gate.artifact.interface import Artifact, FileKind, FileRecord, NotMeasured, Role, WeightFormat
from provenance_gate.errors import one_line
from provenance_gate.tells.card import prose
from provenance_gate.tells.documents import CARD, CONFIG, TOKENIZER, document
from provenance_gate.tells.interface import Case, Side, Withheld

_TOKENIZER_FILES: Final = frozenset(
    {TOKENIZER, "tokenizer.model", "spiece.model", "vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model"}
)
_ENDPOINT: Final = re.compile(
    r"https?://[^\s)>\]\"'`]{0,200}?(?:/v\d+(?:/|\b)|api|chat/completions)[^\s)>\]\"'`]{0,100}", re.IGNORECASE
)
_LEAST_CARD: Final = 200
"""Characters of prose; below, a card says nothing that could be checked."""


def withheld(case: Case) -> tuple[Withheld, ...]:
    """What a delivered model usually brings and this one does not, in the order config, tokenizer, card, weights."""
    return (*_config(case.ours), *_tokenizer(case.ours), *_card(case.ours), *_weights(case.ours))


def _files(side: Side) -> tuple[FileRecord, ...]:
    return side.fingerprint.subject.files if side.artifact is None else side.artifact.files


def _names(side: Side) -> frozenset[str]:
    return frozenset(str(f.path) for f in _files(side))


def _config(side: Side) -> Iterator[Withheld]:
    artifact = side.artifact
    if artifact is None or not isinstance(artifact.config, NotMeasured):
        return
    yield Withheld(
        what="config",
        seen=one_line(f"there is no {CONFIG}, and the weight files state no architecture", 300),
        consequence="heads, context, special ids and versions cannot be compared; width and depth are taken from the tensors",
        tells=(1, 2, 3, 4, 5, 6),
        reproduce=f"ls {CONFIG}",
    )


def _tokenizer(side: Side) -> Iterator[Withheld]:
    artifact = side.artifact
    if artifact is None or not isinstance(artifact.tokenizer, NotMeasured) or not _reads_text(artifact):
        return
    others = sorted(_names(side) & _TOKENIZER_FILES)
    if others:
        seen = f"the tokenizer is there in a form that is not read here: {', '.join(others)}"
        consequence = "tokens and merges cannot be compared until it is converted to tokenizer.json"
    else:
        seen = f"no tokenizer is delivered, although the model embeds {_rows(artifact)} tokens"
        consequence = (
            "tokens, merges, special ids and chat template cannot be compared, nor the embeddings token by token"
        )
    yield Withheld(
        "tokenizer", one_line(seen, 300), consequence, (8, 9, 10, 11), f"ls {TOKENIZER} tokenizer.model vocab.*"
    )


def _reads_text(artifact: Artifact) -> bool:
    return any(t.key.role is Role.EMBEDDING for t in artifact.canonical)


def _rows(artifact: Artifact) -> str:
    rows = next((t.shape[0] for t in artifact.canonical if t.key.role is Role.EMBEDDING), 0)
    return f"{rows:,}"


def _card(side: Side) -> Iterator[Withheld]:
    card = document(side, CARD)
    has_card = any(f.kind is FileKind.CARD for f in _files(side))
    consequence = "nothing is claimed about origin, training, license or data, so nothing can be held against the files"
    if card is None and not has_card:
        yield Withheld("card", f"there is no model card ({CARD})", consequence, (2, 4, 6, 7), f"ls {CARD}")
        return
    text = "" if card is None else card.decode("utf-8", "replace")
    if card is not None and not side.fingerprint.subject.claims.bases and _length(text) < _LEAST_CARD:
        seen = f"{CARD} has less than {_LEAST_CARD} characters of text and no file names a base"
        yield Withheld("card", seen, consequence, (2, 4, 6, 7), f"wc -c {CARD}")


def _length(text: str) -> int:
    return sum(len(line) for _, line in prose(text))


def _weights(side: Side) -> Iterator[Withheld]:
    artifact = side.artifact
    if artifact is None or artifact.stored:
        return
    formats = sorted({f.format.value for f in artifact.files if f.format is not None})
    card = document(side, CARD) or b""
    endpoint = _ENDPOINT.search(card[: 1 << 18].decode("utf-8", "replace"))
    if WeightFormat.LFS_POINTER.value in formats:
        seen = "Git LFS pointers stand in place of the weights"
    elif formats:
        seen = f"the weights are in a form that cannot be read: {', '.join(formats)}"
    elif endpoint is not None:
        seen = f"no weights are delivered; the card points to an endpoint: {endpoint.group()}"
    else:
        seen = "no weights are delivered"
    yield Withheld(
        what="weights",
        seen=one_line(seen, 300),
        consequence="descent can neither be shown nor excluded; at an endpoint only the generation tell can look",
        tells=(7, 11, 12, 13) if endpoint is not None else (7, 11, 12, 13, 14),
        reproduce="ls *.safetensors *.gguf *.bin",
    )
