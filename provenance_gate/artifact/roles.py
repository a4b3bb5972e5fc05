"""Which tensor of a transformer a name stands for, by the tables of `architectures/`.

A template is the module path without ``.weight`` or ``.bias``; ``{L}`` is a layer number, ``{E}`` an expert number, ``{S}`` the
word encoder or decoder. Any prefix may stand in front (``model.``, ``bert.``, ``base_model.model.``). The architecture is
chosen by what the names fit best, never by what config.json says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from provenance_gate.artifact.architectures import ARCHITECTURES, Architecture, Entry, Layout
from provenance_gate.artifact.interface import Role, StoredTensor, TensorKey

__all__ = ["ARCHITECTURES", "Architecture", "Entry", "Layout", "NamedTensor", "name_tensors"]


@dataclass(frozen=True, slots=True)
class NamedTensor:
    """A stored tensor with the table's entry for it. `suffix` is "weight", "bias" or "" (a bare parameter); `prefix` is what
    stands in front of the template.
    """

    stored: StoredTensor
    entry: Entry
    stack: str
    layer: int | None
    expert: int | None
    suffix: str
    prefix: str

    def key(self, role: Role) -> TensorKey:
        """The key of this tensor's part with `role`."""
        part = self.entry.part
        if self.expert is not None:
            part = f"{self.expert}"
        if self.suffix == "bias":
            return TensorKey(Role.BIAS, self.stack, self.layer, f"{role.value}:{part}")
        return TensorKey(role, self.stack, self.layer, part)


_SUFFIX = r"(?:\.(?P<suffix>weight|bias|gamma|beta))?"
_GROUPS = {
    # One spelling per number: "01" beside "1" would be a second tensor for the same place.
    "{L}": r"(?P<layer>0|[1-9][0-9]{0,4})",
    "{E}": r"(?P<expert>0|[1-9][0-9]{0,4})",
    "{S}": r"(?P<stack>encoder|decoder)",
}


@cache
def _pattern(template: str) -> re.Pattern[str]:
    source = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
    for mark, group in _GROUPS.items():
        source = source.replace(mark, group)
    return re.compile(rf"(?P<prefix>(?:[^\n]*\.)?){source}{_SUFFIX}")


def _literal_end(template: str) -> str:
    """The last path element of a template: a cheap look-up key before any pattern runs."""
    return template.rpartition(".")[2]


def name_tensors(stored: Sequence[StoredTensor]) -> tuple[Architecture | None, tuple[NamedTensor, ...]]:
    """The architecture whose table names most parameters of `stored`, and the tensors that it names.

    Returns (None, ()) when no table names a single attention or feed-forward matrix: the caller then has shapes only.
    """
    best: tuple[Architecture | None, tuple[NamedTensor, ...]] = (None, ())
    best_size = 0
    for architecture in ARCHITECTURES:
        named = _named_by(architecture, stored)
        size = sum(n.stored.size for n in named if n.layer is not None)
        if size > best_size:
            best, best_size = (architecture, named), size
    return best


def _named_by(architecture: Architecture, stored: Sequence[StoredTensor]) -> tuple[NamedTensor, ...]:
    by_end: dict[str, list[Entry]] = {}
    for entry in architecture.entries:
        by_end.setdefault(_literal_end(entry.template), []).append(entry)
    named = (_name_one(architecture, tensor, by_end) for tensor in stored)
    return tuple(n for n in named if n is not None)


_TENSORFLOW_NORM = {"gamma": "weight", "beta": "bias"}


def _name_one(
    architecture: Architecture, tensor: StoredTensor, by_end: Mapping[str, list[Entry]]
) -> NamedTensor | None:
    head, _, last = tensor.name.rpartition(".")
    ends = (head.rpartition(".")[2], last) if last in ("weight", "bias", "gamma", "beta") else (last,)
    # Longest template first: `attention.output.dense` before `output.dense`.
    entries = sorted((e for end in ends for e in by_end.get(end, ())), key=lambda e: -len(e.template))
    for entry in entries:
        found = _pattern(entry.template).fullmatch(tensor.name)
        if found:
            groups = found.groupdict()
            layer, expert, suffix = groups.get("layer"), groups.get("expert"), groups.get("suffix") or ""
            return NamedTensor(
                stored=tensor,
                entry=entry,
                stack=groups.get("stack") or architecture.stack,
                layer=None if layer is None else int(layer),
                expert=None if expert is None else int(expert),
                suffix=_TENSORFLOW_NORM.get(suffix, suffix),
                prefix=groups["prefix"],
            )
    return None
