"""What kinds of pairs there are, and what is true of each."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from benchmarks.lineage import mechanical, trained
from benchmarks.lineage.bases import Base


class Label(str, Enum):
    """What is true of a pair. A random student of a teacher is counted neither as related nor as independent."""

    RELATED = "related"
    INDEPENDENT = "independent"
    FABRICATED = "fabricated"
    SHARED_INIT = "shared_init"
    DISTILLED_RANDOM = "distilled_random"


SIBLINGS: Final = "same initialization, other data"
CHILD_OF_SIBLING: Final = "child against the same initialization"
TWINS: Final = "twins: config, tokenizer and data equal"
FIXED_POSITIONS: Final = "twins with fixed sinusoidal positions"
FROZEN_TABLE: Final = "body trained on a frozen borrowed table"
TRAINED_TABLE: Final = "body and borrowed table trained on"
SHARED_TOKENIZER: Final = "other architecture, same tokenizer"
OTHERS: Final = "other architecture, other tokenizer"
OTHER_BODY: Final = "same architecture and tokenizer, one with a borrowed table"
WITH_MINILM: Final = "all-MiniLM-L6-v2 against small bases"
CHILD_OF_TWIN: Final = "child against the twin of its base"
DISGUISED_OF_TWIN: Final = "disguised child against the twin of its base"
CHILD_OF_BORROWER: Final = "child against a body on its base's table"
OTHER_PARENT: Final = "merge with a stranger, against the stranger"
ORIGIN_OF_FABRICATION: Final = "fabrication against its true origin"
TWICE_FROM_ONCE: Final = "fine-tuned twice, against the first step"
RANDOM_STUDENT: Final = "distilled, random student"

_INDEPENDENT: Final = (
    *(TWINS, FIXED_POSITIONS, FROZEN_TABLE, TRAINED_TABLE, OTHER_BODY, SHARED_TOKENIZER, OTHERS, WITH_MINILM),
    *(CHILD_OF_TWIN, DISGUISED_OF_TWIN, CHILD_OF_BORROWER),
)
KINDS: Final[tuple[tuple[str, Label], ...]] = (
    *((t.kind, Label.RELATED) for t in trained.TRAINED if t.kind != RANDOM_STUDENT),
    (TWICE_FROM_ONCE, Label.RELATED),
    *((kind, Label.RELATED) for kind in (*mechanical.SINGLE, *mechanical.MERGED, *mechanical.CROSSED)),
    (OTHER_PARENT, Label.RELATED),
    *((kind, Label.RELATED) for kind in mechanical.DISGUISED),
    (ORIGIN_OF_FABRICATION, Label.RELATED),
    *((kind, Label.INDEPENDENT) for kind in _INDEPENDENT),
    *((kind, Label.FABRICATED) for kind in mechanical.FABRICATED),
    (SIBLINGS, Label.SHARED_INIT),
    (CHILD_OF_SIBLING, Label.SHARED_INIT),
    (RANDOM_STUDENT, Label.DISTILLED_RANDOM),
)
"""Every kind once, in the order of the tables."""
_LABELS: Final[Mapping[str, Label]] = dict(KINDS)


def label_of(kind: str) -> Label:
    """What is true of pairs of this kind."""
    return _LABELS[kind]


def base_kind(first: Base | None, second: Base) -> str:
    """The kind of a pair of bases of one split; None is the real model."""
    if first is None:
        return WITH_MINILM
    if first.name in second.shared_start_with or second.name in first.shared_start_with:
        return SIBLINGS
    if first.table_of == second.name:
        return FROZEN_TABLE if first.frozen else TRAINED_TABLE
    if first.lineage != second.lineage:
        return SHARED_TOKENIZER if first.vocabulary == second.vocabulary else OTHERS
    if first.kind == "sinusoidal_llama":
        return FIXED_POSITIONS
    return OTHER_BODY if first.table_of or second.table_of else TWINS
