"""Which tensor of a transformer a name stands for, by the tables of `architectures/`.

A template is the module path without ``.weight`` or ``.bias``; ``{L}`` is a layer number, ``{E}`` an expert number, ``{S}`` the
word encoder or decoder, ``{T}`` the same of a byte-level model's local stacks. Any prefix may stand in front (``model.``,
``bert.``, ``base_model.model.``). The architecture is chosen by what the names fit best, never by what config.json says.

Vision and audio towers beside a text body get no role: many models share one tower, so it says nothing about the body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from provenance_gate.artifact.architectures import ARCHITECTURES, Architecture, Entry, Layout
from provenance_gate.artifact.interface import COMPONENT_OF_ROLE, Component, Role, StoredTensor, TensorKey

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
            part = f"{part}.{self.expert}" if part else f"{self.expert}"
        if self.suffix == "bias":
            return TensorKey(Role.BIAS, self.stack, self.layer, f"{role.value}:{part}")
        return TensorKey(role, self.stack, self.layer, part)


_SUFFIX = r"(?:\.(?P<suffix>weight|bias|gamma|beta))?"
_GROUPS = {
    # One spelling per number: "01" beside "1" would be a second tensor for the same place.
    "{L}": r"(?P<layer>0|[1-9][0-9]{0,4})",
    "{E}": r"(?P<expert>0|[1-9][0-9]{0,4})",
    "{S}": r"(?P<stack>encoder|decoder)",
    "{T}": r"(?P<stack>local_encoder|local_decoder)",
}
TOWER = re.compile(
    r"vision|visual|image|audio|speech|resampler|projector|connector|talker|token2wav|code2wav", re.IGNORECASE
)
"""In a prefix: what stands beside a text body in a multimodal model."""
_UP, _DOWN = (Role.FFN_UP,), (Role.FFN_DOWN,)
_BODY = (Component.ATTENTION, Component.FEED_FORWARD, Component.EXPERTS)


@cache
def _pattern(template: str) -> re.Pattern[str]:
    source = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
    for mark, group in _GROUPS.items():
        source = source.replace(mark, group)
    return re.compile(rf"(?P<prefix>(?:[^\n]*\.)?){source}{_SUFFIX}")


def name_tensors(stored: Sequence[StoredTensor]) -> tuple[Architecture | None, tuple[NamedTensor, ...]]:
    """The architecture whose table names most parameters of `stored`, and the tensors that it names.

    Returns (None, ()) when no table names a single attention or feed-forward matrix: the caller then has shapes only.
    """
    best: tuple[Architecture | None, tuple[NamedTensor, ...]] = (None, ())
    best_rank = (0, 0)
    candidates: dict[str, list[tuple[StoredTensor, list[Entry]]]] = {}
    for tensor in stored:
        for name, entries in _candidates(tensor.name).items():
            candidates.setdefault(name, []).append((tensor, entries))
    for architecture in ARCHITECTURES:
        fits = (_name_one(architecture, *pair) for pair in candidates.get(architecture.name, ()))
        named = _without_towers(tuple(n for n in fits if n is not None))
        if not any(_is_body(n) for n in named):
            continue
        layered = [n for n in named if n.layer is not None]
        # Two stacks of one model stand under one prefix for the table that knows them, under two for one that does not.
        rank = sum(n.stored.size for n in layered), -len({n.prefix for n in layered})
        if rank > best_rank:
            best, best_rank = (architecture, named), rank
    return best[0], _as_stored(best[1])


def _is_body(item: NamedTensor) -> bool:
    return item.layer is not None and any(COMPONENT_OF_ROLE.get(role) in _BODY for role in item.entry.roles)


def _without_towers(named: tuple[NamedTensor, ...]) -> tuple[NamedTensor, ...]:
    """Without vision and audio towers, unless they are all that there is."""
    text = tuple(n for n in named if not TOWER.search(n.prefix))
    return text if any(_is_body(n) for n in text) else named


def _as_stored(named: tuple[NamedTensor, ...]) -> tuple[NamedTensor, ...]:
    """The layouts corrected by shapes: implementations of one naming differ in how they turn a matrix.

    The width of the embedding table tells which axis of a matrix is the residual stream. GPT-2's names are also those of
    GPT BigCode, GPT-Neo and Qwen 1, stored (out, in).
    """
    tables = [n.stored.shape for n in named if n.entry.roles == (Role.EMBEDDING,) and len(n.stored.shape) == 2]
    widths = {shape[1] for shape in tables}
    if len(widths) != 1:
        return named
    (width,) = widths
    turns = {side for n in named if (side := _residual_axis(n, width)) is not None}
    if turns == {True}:
        return tuple(
            replace(n, entry=replace(n.entry, layout=Layout.ROWS)) if n.entry.layout is Layout.COLUMNS else n
            for n in named
        )
    return named


def _residual_axis(item: NamedTensor, width: int) -> bool | None:
    """Whether a matrix listed as (in, out) is stored (out, in); None where its shape does not tell."""
    if item.entry.layout is not Layout.COLUMNS or len(item.stored.shape) != 2 or item.entry.roles not in (_UP, _DOWN):
        return None
    rows, columns = item.stored.shape
    if (rows == width) == (columns == width):
        return None
    return (columns == width) is (item.entry.roles == _UP)


_Ends = tuple[str, str]
_Candidates = dict[str, list[Entry]]
"""Entries that a name may fit, by architecture."""


@cache
def _index() -> Mapping[_Ends, _Candidates]:
    """Entries of all architectures by their last two path elements; "" stands for a number, or for none."""
    found: dict[_Ends, _Candidates] = {}
    for architecture in ARCHITECTURES:
        for entry in architecture.entries:
            head, _, end = entry.template.rpartition(".")
            before = head.rpartition(".")[2]
            ends = ("" if "{" in before else before, end)
            found.setdefault(ends, {}).setdefault(architecture.name, []).append(entry)
    return found


def _candidates(name: str) -> _Candidates:
    head, _, last = name.rpartition(".")
    module, _, before = head.rpartition(".")
    ends = {(before, last), ("", last)}
    if last in ("weight", "bias", "gamma", "beta"):
        ends |= {(module.rpartition(".")[2], before), ("", before)}
    found: _Candidates = {}
    index = _index()
    for end in ends:
        for architecture, entries in index.get(end, {}).items():
            found.setdefault(architecture, []).extend(entries)
    return found


_TENSORFLOW_NORM = {"gamma": "weight", "beta": "bias"}


def _name_one(architecture: Architecture, tensor: StoredTensor, entries: Sequence[Entry]) -> NamedTensor | None:
    # Longest template first: `attention.output.dense` before `output.dense`.
    for entry in sorted(entries, key=lambda e: (-len(e.template), e.template)):
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
