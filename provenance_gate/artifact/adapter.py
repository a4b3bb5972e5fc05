"""PEFT adapters: adapter_config.json, the LoRA pairs among the stored tensors, and which base their shapes fit.

An adapter holds no base weights. Its names and shapes tell which modules it changes; nothing here tells what it was
trained on. Patterns of a config (`target_modules` as a string, keys of `rank_pattern`) are kept as text and never run:
a stranger's regular expression can take forever.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from provenance_gate.artifact.adapterkinds import other_parts, type_of_part
from provenance_gate.artifact.configfacts import describe
from provenance_gate.artifact.interface import COMPONENT_OF_ROLE, Artifact, Component, NotMeasured, StoredTensor
from provenance_gate.artifact.jsonfile import load_json_object
from provenance_gate.artifact.roles import name_tensors
from provenance_gate.errors import MalformedFileError, one_line

ADAPTER_CONFIG: Final = "adapter_config.json"

MAX_NAMES: Final = 10_000
MAX_NAME: Final = 500
MAX_PATTERN: Final = 10_000
MAX_RANK: Final = 1 << 16
MAX_MODULES: Final = 100_000

_BODY: Final = (Component.ATTENTION, Component.FEED_FORWARD, Component.EXPERTS)
_WRAPPER: Final = ("base_model", "model")
_PARTS: Final = frozenset({"lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector"})
_TABLES: Final = frozenset(
    {"embed_tokens", "lm_head", "wte", "wpe", "word_embeddings", "embed_in", "embed_out", "shared", "tok_embeddings"}
)
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,4}")
_LITERAL: Final = re.compile(r"[\w.-]+", re.ASCII)

_Part = tuple[str, str, StoredTensor]
"""Module path, part of the pair, tensor."""


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """The facts of adapter_config.json. None: the file does not say.

    `target_modules` is a list of names or one pattern; `narrowed` says that other fields (layers_to_transform,
    layers_pattern, exclude_modules) leave out modules that it names.
    """

    peft_type: str | None = None
    base_model: str | None = None
    r: int | None = None
    lora_alpha: float | None = None
    target_modules: tuple[str, ...] | str | None = None
    target_parameters: tuple[str, ...] = ()
    modules_to_save: tuple[str, ...] = ()
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    fan_in_fan_out: bool = False
    narrowed: bool = False

    def ranks(self, path: str) -> frozenset[int]:
        """The ranks that a module may have; none: not said. A pattern that is no plain name may mean any module."""
        if self.r is None:
            return frozenset()
        if not all(_LITERAL.fullmatch(key) for key in self.rank_pattern):
            return frozenset((self.r, *self.rank_pattern.values()))
        named = (rank for key, rank in self.rank_pattern.items() if path == key or path.endswith("." + key))
        return frozenset((next(named, self.r),))


@dataclass(frozen=True, slots=True)
class AdapterModule:
    """One low-rank pair. `path` is the module's without PEFT's wrapper; `a` is (rank, in), `b` is (out, rank).

    `layer` is the first number of the path. Of an `embedding`, `in_features` is the vocabulary.
    """

    path: str
    layer: int | None
    rank: int
    in_features: int
    out_features: int
    a: StoredTensor
    b: StoredTensor
    embedding: bool = False


@dataclass(frozen=True, slots=True)
class Adapter:
    """A PEFT adapter. `saved` are whole tensors beside the pairs (modules_to_save, biases); `unread` counts pairs of another
    kind (convolutions, expert stacks) whose fit is not checked. `unread_type`: not LoRA but this type, of which nothing is
    read; "" for LoRA.
    """

    config: AdapterConfig | NotMeasured
    modules: tuple[AdapterModule, ...]
    saved: tuple[StoredTensor, ...] = ()
    unread: int = 0
    unread_type: str = ""


def parse_adapter_config(data: bytes) -> AdapterConfig:
    """The config. Raises MalformedFileError naming the field of a wrong type or beyond a limit."""
    fields = load_json_object(data, ADAPTER_CONFIG)
    r = fields.get("r")
    return AdapterConfig(
        peft_type=_text(fields, "peft_type"),
        base_model=_text(fields, "base_model_name_or_path"),
        r=None if r is None else _rank(r, "r"),
        lora_alpha=_alpha(fields),
        target_modules=_targets(fields),
        target_parameters=_names(fields, "target_parameters"),
        modules_to_save=_names(fields, "modules_to_save"),
        rank_pattern=_rank_pattern(fields),
        fan_in_fan_out=_flag(fields, "fan_in_fan_out"),
        narrowed=any(
            fields.get(n) not in (None, []) for n in ("layers_to_transform", "layers_pattern", "exclude_modules")
        ),
    )


def read_adapter(artifact: Artifact, config: bytes | None) -> Adapter | NotMeasured:
    """The LoRA pairs of an artifact; `config` holds the bytes of its adapter_config.json.

    Of another type (LoHa, LoKr, IA3 ...), told by the names of its parts, only the type. NotMeasured where there are no such
    names, or where matrices that no adapter holds lie beside them: a model with a pair put beside it is compared as the model
    that it is.

    Raises
    ------
    MalformedFileError
        A field of the config is wrong; a pair lacks its partner, is stored twice, or its shapes contradict each other.
    """
    parsed = NotMeasured(f"no {ADAPTER_CONFIG}") if config is None else parse_adapter_config(config)
    parts, saved = _sorted_out(artifact.stored)
    kind, others = ("", []) if parts else other_parts(saved)
    if others:
        saved = [t for t in saved if t not in others]
    if not parts and not others:
        return NotMeasured("no LoRA pair among the tensors")
    whole = _body_matrices(saved)
    if whole:
        return NotMeasured(
            f"adapter parts beside {whole} whole attention or feed-forward matrices: not an adapter alone"
        )
    saveable = set(() if isinstance(parsed, NotMeasured) else parsed.modules_to_save)
    strays = [t for t in saved if len(t.shape) > 1 and not _is_saved(t.name, saveable)]
    if strays:
        first = one_line(strays[0].name, 80)
        return NotMeasured(f"adapter parts beside {len(strays)} matrices that no adapter holds ({first!r} first)")
    stated = "LORA" if isinstance(parsed, NotMeasured) else (parsed.peft_type or "LORA").upper()
    if others or stated != "LORA":
        return Adapter(parsed, (), tuple(saved), unread_type=kind or one_line(stated, 40))
    pairs = _by_module(parts)
    modules = [_module(path, pairs[path]) for path in sorted(pairs)]
    stacked = () if isinstance(parsed, NotMeasured) else parsed.target_parameters
    parents = {name.rpartition(".")[0] for name in stacked}
    read = tuple(m for m in modules if m is not None and not (parents and _is_named(m.path.split("."), parents)))
    if not read:
        return NotMeasured("no LoRA pair of a linear layer or an embedding")
    return Adapter(parsed, read, tuple(saved), len(modules) - len(read))


def split_path(path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What loaders may call differently, and the tail that names the module: from the list that the first number indexes, or
    the last element where there is none.
    """
    elements = path.split(".")
    first = next((n for n, e in enumerate(elements) if _NUMBER.fullmatch(e)), len(elements))
    cut = max(0, first - 1)
    return tuple(elements[:cut]), tuple(elements[cut:])


def is_adapter_part(name: str) -> bool:
    """Whether a tensor of this name is part of a LoRA pair, or of an adapter of another known type."""
    return _part(name) is not None or bool(type_of_part(name))


def _sorted_out(stored: Sequence[StoredTensor]) -> tuple[list[_Part], list[StoredTensor]]:
    """Parts of pairs, and the other tensors."""
    parts: list[_Part] = []
    saved: list[StoredTensor] = []
    for tensor in stored:
        found = _part(tensor.name)
        if found is None:
            saved.append(tensor)
        else:
            parts.append((*found, tensor))
    return parts, saved


def _by_module(parts: Sequence[_Part]) -> dict[str, dict[str, StoredTensor]]:
    pairs: dict[str, dict[str, StoredTensor]] = {}
    for path, part, tensor in parts:
        if not path:
            raise _malformed(tensor, "expected the path of a module before the LoRA part")
        of_module = pairs.setdefault(path, {})
        if part in of_module:
            raise _malformed(tensor, f"a second {part} beside {one_line(of_module[part].name, 80)!r}")
        if len(pairs) > MAX_MODULES:
            raise _malformed(tensor, f"more than {MAX_MODULES:,} modules")
        of_module[part] = tensor
    return pairs


def _part(name: str) -> tuple[str, str] | None:
    """Module path and part of ``<path>.lora_A[.<adapter>][.weight]`` and its kin; None for other names."""
    elements = name.split(".")
    at = next((len(elements) - n for n in (1, 2, 3) if n <= len(elements) and elements[-n] in _PARTS), None)
    if at is None:
        return None
    path, part, rest = elements[:at], elements[at], elements[at + 1 :]
    ending = rest[-1] if rest and rest[-1] in ("weight", "bias") else ""
    if len(rest) > 1 + bool(ending) or (part in ("lora_A", "lora_B") and not ending):
        return None
    if tuple(path[:2]) == _WRAPPER:
        path = path[2:]
    while path and path[-1] == "base_layer":
        path.pop()
    return ".".join(path), part + (".bias" if ending == "bias" else "")


def _body_matrices(saved: Sequence[StoredTensor]) -> int:
    """How many of the tensors are whole matrices of a transformer's body, under PEFT's wrappers, too."""
    bare = [replace(t, name=re.sub(r"\.(base_layer|modules_to_save(\.[^.]+)?)(?=\.)", "", t.name)) for t in saved]
    _, named = name_tensors(bare)
    return sum(len(n.stored.shape) > 1 and any(COMPONENT_OF_ROLE.get(r) in _BODY for r in n.entry.roles) for n in named)


def _is_saved(name: str, saveable: set[str]) -> bool:
    """Whether PEFT keeps a tensor whole: embeddings and heads outside of the layers, and what modules_to_save names."""
    path = [e for e in name.split(".")[:-1] if e not in ("base_layer", "modules_to_save", "default")]
    if path and path[-1] in _TABLES and not any(_NUMBER.fullmatch(e) for e in path):
        return True
    return not saveable.isdisjoint(path) or _is_named(path, saveable)


def _module(path: str, parts: Mapping[str, StoredTensor]) -> AdapterModule | None:
    """The pair of one module; None when it is not of two matrices."""
    embedding = "lora_embedding_A" in parts or "lora_embedding_B" in parts
    kind = "lora_embedding" if embedding else "lora"
    first, second = f"{kind}_A", f"{kind}_B"
    for name, other in ((first, second), (second, first)):
        if name not in parts:
            raise _malformed(
                next(iter(parts.values())), f"no {name} belongs to it" if other in parts else "no LoRA pair"
            )
    a, b = parts[first], parts[second]
    if len(a.shape) != 2 or len(b.shape) != 2:
        return None
    if a.shape[0] != b.shape[1] or not 0 < a.shape[0] <= MAX_RANK:
        raise _malformed(b, f"shape {b.shape}, but that of lora_A is {a.shape}: expected (out, rank) and (rank, in)")
    known = {first, second, "lora_magnitude_vector", "lora_B.bias"}
    stray = next((p for p in sorted(parts) if p not in known), None)
    if stray is not None:
        raise _malformed(parts[stray], f"{stray} does not belong to a pair of {first} and {second}")
    rank, out_features, in_features = a.shape[0], b.shape[0], a.shape[1]
    for name in ("lora_magnitude_vector", "lora_B.bias"):
        # Embeddings are (vocabulary, width): DoRA scales the columns there.
        if name in parts and parts[name].size not in (out_features, in_features if embedding else out_features):
            raise _malformed(parts[name], f"{parts[name].size} elements, expected {out_features} as lora_B has rows")
    numbers = (e for e in path.split(".") if _NUMBER.fullmatch(e))
    number = next(numbers, None)
    layer = None if number is None else int(number)
    return AdapterModule(path, layer, rank, in_features, out_features, a, b, embedding)


def _is_named(elements: Sequence[str], names: set[str]) -> bool:
    """Whether the path ends like one of `names`, element by element (at most 16 of them)."""
    return any(".".join(elements[-n:]) in names for n in range(1, min(16, len(elements)) + 1))


def _malformed(tensor: StoredTensor, message: str) -> MalformedFileError:
    return MalformedFileError(f"{tensor.path}: tensor {one_line(tensor.name, 120)!r}: {message}")


def _wrong(name: str, expected: str, value: object) -> MalformedFileError:
    return MalformedFileError(f"{ADAPTER_CONFIG}: {one_line(name, 80)}: expected {expected}, found {describe(value)}")


def _text(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    return None if value is None else _as_text(value, name, MAX_NAME)


def _as_text(value: object, name: str, limit: int) -> str:
    if not isinstance(value, str) or len(value) > limit:
        raise _wrong(name, f"a string of at most {limit} characters", value)
    return value


def _flag(fields: Mapping[str, object], name: str) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise _wrong(name, "true or false", value)
    return bool(value)


def _rank(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_RANK:
        raise _wrong(name, f"an integer from 1 to {MAX_RANK}", value)
    return value


def _alpha(fields: Mapping[str, object]) -> float | None:
    value = fields.get("lora_alpha")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2.0**63:
        raise _wrong("lora_alpha", "a number below 2**63", value)
    return float(value)


def _names(fields: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = fields.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_NAMES:
        raise _wrong(name, f"a list of at most {MAX_NAMES} strings", value)
    return tuple(_as_text(each, name, MAX_NAME) for each in value)


def _targets(fields: Mapping[str, object]) -> tuple[str, ...] | str | None:
    value = fields.get("target_modules")
    if isinstance(value, str):
        return _as_text(value, "target_modules", MAX_PATTERN)
    return None if value is None else _names(fields, "target_modules")


def _rank_pattern(fields: Mapping[str, object]) -> dict[str, int]:
    value = fields.get("rank_pattern")
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MAX_NAMES:
        raise _wrong("rank_pattern", f"an object of at most {MAX_NAMES} ranks", value)
    return {
        _as_text(k, "rank_pattern", MAX_NAME): _rank(v, f"rank_pattern: {one_line(k, 40)}") for k, v in value.items()
    }
