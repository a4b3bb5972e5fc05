"""What config.json says about quantization. It helps where shapes leave a choice, and is never believed against them.

AutoGPTQ and early AutoAWQ wrote the same fields into a file of their own (`SETTINGS_FILES`) and none into config.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from provenance_gate.errors import one_line

SETTINGS_FILES = ("quantize_config.json", "quant_config.json")
"""Where they are looked for, in this order, when config.json says nothing."""

_MAX_GROUPS = 32
"""Entries of `config_groups` that are looked at."""

_USUAL = (16, 32, 64, 128, 256, 512, 1024)
"""Group sizes that tools offer."""


@dataclass(frozen=True, slots=True)
class Said:
    """The facts of `quantization_config`, checked for type and range; empty where it says nothing usable.

    Attributes
    ----------
    method
        `quant_method` in lower case.
    zero_points
        `checkpoint_format` of GPTQ ("gptq", "gptq_v2").
    minus_one
        Whether GPTQ zero points are stored minus one (version 1); settled from values, see `gptq.settle`.
    act_order
        Whether GPTQ went through the inputs by size, so that neighbors are of different groups; settled likewise.
    file
        The file that says so.
    """

    method: str | None = None
    bits: frozenset[int] = frozenset()
    group_sizes: frozenset[int] = frozenset()
    zero_points: str | None = None
    minus_one: bool = True
    act_order: bool = False
    file: str = "config.json"


def find_quantization(config: Mapping[str, object]) -> object:
    """What config.json has about quantization, where the tools put it; None when it has nothing."""
    text = config.get("text_config")
    for place in (config, text if isinstance(text, Mapping) else {}):
        for key in ("quantization_config", "compression_config"):
            if place.get(key) is not None:
                return place[key]
    return None


def read_said(config: object, file: str = "config.json") -> tuple[Said, tuple[str, ...]]:
    """The usable facts of a `quantization_config` of any type that stands in `file`, and a note when it is no object."""
    if config is None:
        return Said(), ()
    if not isinstance(config, Mapping):
        return Said(), (f"{file}: quantization_config: expected an object, found {type(config).__name__}",)
    places: list[Mapping[object, object]] = [config]
    groups = config.get("config_groups")
    if isinstance(groups, Mapping):
        for group in list(groups.values())[:_MAX_GROUPS]:
            weights = group.get("weights") if isinstance(group, Mapping) else None
            if isinstance(weights, Mapping):
                places.append(weights)
    bits = set(_integers(places, ("bits", "w_bit", "num_bits"), 1, 16))
    sizes = set(_integers(places, ("group_size", "q_group_size"), 1, 2**31 - 1))
    for place in places:
        for key in ("weight_block_size", "block_structure"):
            block = place.get(key)
            if isinstance(block, (list, tuple)) and len(block) <= 4:
                sizes |= {n for n in block if _is_integer(n, 1, 2**31 - 1)}
    bits |= {n for key, n in (("load_in_4bit", 4), ("load_in_8bit", 8)) if config.get(key) is True}
    method = _text(config.get("quant_method"))
    if method is None and (config.get("load_in_4bit") is True or config.get("load_in_8bit") is True):
        method = "bitsandbytes"
    form = _text(config.get("checkpoint_format")) or _text(config.get("format"))
    return Said(method, frozenset(bits), frozenset(sizes), form, file=file), ()


def _integers(places: Iterable[Mapping[object, object]], keys: tuple[str, ...], low: int, high: int) -> Iterable[int]:
    for place in places:
        for key in keys:
            value = place.get(key)
            if isinstance(value, int) and _is_integer(value, low, high):
                yield value


def _is_integer(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _text(value: object) -> str | None:
    return one_line(value, 60).lower() if isinstance(value, str) and value else None


def told_size(extent: int, count: int, said: Said) -> int | None:
    """How many of `extent` elements share one of `count` scales; None when that cannot be told.

    The last group may be partial. A size that config.json names counts when it fits; then a power of two, the one usual
    size that fits, and last any exact quotient.
    """
    if not 0 < count <= extent:
        return None
    if count in (1, extent):
        return extent // count
    for size in sorted(said.group_sizes):
        if -(-extent // size) == count:
            return size
    quotient, rest = divmod(extent, count)
    if not rest and quotient & (quotient - 1) == 0:
        return quotient
    usual = [size for size in _USUAL if -(-extent // size) == count]
    if usual:
        return 128 if 128 in usual else usual[0]
    return None if rest else quotient


def contradictions(bits: int, size: int | None, extent: int, said: Said) -> tuple[str, ...]:
    """Remarks where bits or group size differ from what config.json says. `size` None: not grouped."""
    found = []
    if said.bits and bits not in said.bits:
        found.append(f"{said.file} says {_listed(said.bits)} bits, the shapes {bits}")
    if size is not None and 1 < size < extent and said.group_sizes and size not in said.group_sizes:
        found.append(f"{said.file} says groups of {_listed(said.group_sizes)}, the shapes {size}")
    return tuple(found)


def _listed(values: frozenset[int]) -> str:
    return " or ".join(str(v) for v in sorted(values)[:4])
