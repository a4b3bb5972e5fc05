"""What a line of an architecture's table says: a template of names and the roles of the tensors that fit it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from provenance_gate.artifact.interface import Role

Q, K, V, O = Role.ATTENTION_Q, Role.ATTENTION_K, Role.ATTENTION_V, Role.ATTENTION_O  # noqa: E741
GATE, UP, DOWN = Role.FFN_GATE, Role.FFN_UP, Role.FFN_DOWN
X_GATE, X_UP, X_DOWN = Role.EXPERT_GATE, Role.EXPERT_UP, Role.EXPERT_DOWN
NORM = Role.NORM


class Layout(str, Enum):
    """How a stored matrix holds its canonical parts.

    ROWS: (out, in), several parts one after the other. COLUMNS: (in, out), as Conv1D stores it. PER_HEAD: (out, in), the
    rows of each head hold its q, k and v. PER_GROUP: the rows of each key-value head hold its query heads, then k, then v.
    STACKED: (experts, out, in).
    """

    ROWS = "rows"
    COLUMNS = "columns"
    PER_HEAD = "per_head"
    PER_GROUP = "per_group"
    STACKED = "stacked"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the table: a template and the roles of the parts that it holds, in stored order."""

    template: str
    roles: tuple[Role, ...]
    layout: Layout = Layout.ROWS
    part: str = ""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Names of one family of implementations. `stack` is what a tensor belongs to when its name does not say."""

    name: str
    stack: str
    entries: tuple[Entry, ...]


def matrices(path: str, names: Mapping[str, Role], layout: Layout = Layout.ROWS, part: str = "") -> tuple[Entry, ...]:
    """One line for each matrix below `path`."""
    return tuple(Entry(path + name, (role,), layout, part) for name, role in names.items())


def norms(path: str, names: Iterable[str]) -> tuple[Entry, ...]:
    """One line for each norm below `path`; its part is the last element of its name."""
    return tuple(Entry(path + name, (NORM,), part=name.rpartition(".")[2]) for name in names)
