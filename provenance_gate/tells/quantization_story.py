"""Tell 7: what the card says of quantization, against `quantization_config`, against the dtypes of the tensors and their
values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.dtypes import BITS, quantized_bits
from provenance_gate.artifact.interface import Artifact, CanonicalTensor, Lies, NotMeasured, Role
from provenance_gate.errors import one_line
from provenance_gate.fingerprint.interface import Json
from provenance_gate.tells.card import Card, read_card
from provenance_gate.tells.documents import CONFIG
from provenance_gate.tells.interface import Case, TellGroup, TellResult
from provenance_gate.tells.public import config_facts
from provenance_gate.tells.wording import answer, not_measured

UNPACKED: Final = 0.5
"""Plain floats on a grid of at most 16 values a group were 4-bit numbers before: nobody trains such weights and ships
them wide, but whoever has only the quantized release of a model does."""
CONTRADICTION: Final = 0.3
"""Config and tensors speak of different formats: the config came with other weights."""
CARD_ONLY: Final = 0.2
"""The card says something else than both; cards are copied and forgotten."""
DTYPE: Final = 0.1
"""`torch_dtype` is not the dtype of the tensors. Conversions forget the field."""

GROUP: Final = 32
"""Values looked at together: the smallest group that common 4-bit formats scale as one."""
LEVELS: Final = 16
_MATRICES: Final = 4
_ROWS: Final = 8
_LEAST_GROUPS: Final = 64
_MOST_COLUMNS: Final = 1 << 16
_MOST_TURNED: Final = 1 << 10
"""Columns of a matrix that is stored turned, where each costs as much as a row of others."""
_GRID_SHARE: Final = 0.99
"""Share of the groups on a grid. Of 32 bf16 values of trained weights nearly all differ; none of the groups has 16 or
fewer."""
_ZEROS: Final = 0.25
"""Groups with more zeros than this are left out: pruning repeats one value."""
_PLAIN: Final = frozenset({"F64", "F32", "F16", "BF16"})
_SPELLED: Final = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
_ROLES: Final = (Role.FFN_DOWN, Role.FFN_UP, Role.ATTENTION_O, Role.ATTENTION_Q, Role.EXPERT_DOWN)

Contradiction = tuple[float, str]


class QuantizationStory:
    """Fires when weights stored as plain floats lie on a 4-bit grid; when `quantization_config` names a method and the
    matrices are plain, or the reverse in safetensors; when the card's claim ("AWQ-quantized", "full precision") fits
    neither; when `torch_dtype` is not the tensors'.
    """

    id: Final = 7
    name: Final = "quantization-story"
    group: Final = TellGroup.CONFIG
    title: Final = "Card, config and tensors differ about quantization"

    def measure(self, case: Case) -> TellResult:
        """The strongest of the contradictions; all of them in the numbers. Reads at most 32 rows."""
        expected = "card, quantization_config and tensor dtypes that tell one story, and plain weights off any grid"
        reproduce = f"jq '.quantization_config, .torch_dtype' {CONFIG}; count distinct values in runs of {GROUP} of a weight row"
        artifact = case.ours.artifact
        if artifact is None or not artifact.stored:
            return not_measured(self, "no tensors are at hand", expected, reproduce)
        shares = dtype_shares(artifact)
        packed = {d: s for d, s in shares.items() if is_quantized(d)}
        grid = None if packed else grid_share(artifact)
        facts = config_facts(case.ours)
        stated = {} if isinstance(facts, NotMeasured) else facts
        card = read_card(case.ours)
        found = sorted(
            (
                *_grid(grid),
                *_config(artifact, stated.get("quant_method"), stated.get("torch_dtype"), shares, packed),
                *(() if isinstance(card, NotMeasured) else _card(card, shares, packed)),
            ),
            key=lambda c: -c[0],
        )
        method = stated.get("quant_method")
        numbers: dict[str, Json] = {
            "dtypes": {d: round(s, 4) for d, s in shares.items()},
            "quant_method": one_line(method, 60) if isinstance(method, str) else None,
            "grid_share": grid,
            "found": [sentence for _, sentence in found],
        }
        if found:
            return answer(
                self,
                seen=found[0][1],
                expected=expected,
                reproduce=reproduce,
                strength=found[0][0],
                numbers=numbers,
            )
        seen = f"tensors are {_listed(shares)}, and neither card nor config says otherwise"
        return answer(self, seen=seen, expected=expected, reproduce=reproduce, numbers=numbers)


def dtype_shares(artifact: Artifact) -> dict[str, float]:
    """Share of the elements by dtype as stored, largest first."""
    counts: Counter[str] = Counter()
    for tensor in artifact.stored:
        counts[tensor.dtype] += tensor.size
    total = sum(counts.values())
    return {d: n / total for d, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))} if total else {}


def is_quantized(dtype: str) -> bool:
    """Whether a stored dtype is one of few bits; integer tensors of plain dtype are positions, not weights."""
    return quantized_bits(dtype) is not None or (dtype in BITS and dtype.startswith(("F8", "F6", "F4")))


def grid_share(artifact: Artifact) -> float | None:
    """Share of the groups of `GROUP` consecutive values with at most `LEVELS` distinct ones, in [0, 1]; None below
    `_LEAST_GROUPS`."""
    groups = [g for t in _matrices(artifact) for g in _groups(t)]
    if sum(len(g) for g in groups) < _LEAST_GROUPS:
        return None
    values = np.sort(np.concatenate(groups), axis=1)
    distinct = 1 + (np.diff(values, axis=1) != 0).sum(axis=1)
    return round(float((distinct <= LEVELS).mean()), 4)


def _matrices(artifact: Artifact) -> list[CanonicalTensor]:
    """One of each role, from the middle of the stack."""
    chosen = []
    for role in _ROLES:
        fitting = [t for t in artifact.canonical if t.key.role is role and len(t.shape) == 2 and t.shape[1] >= GROUP]
        if fitting:
            chosen.append(fitting[len(fitting) // 2])
    return chosen[:_MATRICES]


def _groups(tensor: CanonicalTensor) -> Iterator[NDArray[np.float32]]:
    most = _MOST_COLUMNS if tensor.lies is Lies.ROWS else _MOST_TURNED
    rows = tensor.read_block(range(min(_ROWS, tensor.shape[0])), range(min(most, tensor.shape[1])))
    whole = rows.shape[1] // GROUP * GROUP
    groups = rows[:, :whole].reshape(-1, GROUP)
    yield groups[(groups == 0).mean(axis=1) <= _ZEROS]


def _grid(grid: float | None) -> Iterator[Contradiction]:
    if grid is not None and grid >= _GRID_SHARE:
        groups = f"{grid:.0%} of the groups of {GROUP} weights have at most {LEVELS} distinct values"
        yield UNPACKED, f"{groups}, though they are stored as plain floats"


def _config(
    artifact: Artifact, method: object, dtype: object, shares: dict[str, float], packed: dict[str, float]
) -> Iterator[Contradiction]:
    from_gguf = any(t.path.suffix == ".gguf" for t in artifact.stored[:1])
    if isinstance(method, str) and not packed:
        named = f"{CONFIG} names quant_method {one_line(method, 60)}"
        yield CONTRADICTION, f"{named}, but the tensors are plain: {_listed(shares)}"
    elif method is None and packed and not from_gguf and not isinstance(artifact.config, NotMeasured):
        yield CONTRADICTION, f"the tensors are {_listed(packed)}, but {CONFIG} has no quantization_config"
    main = next(iter(shares), "")
    comparable = method is None and not from_gguf and main in _PLAIN and dtype in _SPELLED.values()
    if comparable and _SPELLED[main] != dtype:
        yield DTYPE, f"{CONFIG} has torch_dtype {dtype}, but {shares[main]:.0%} of the values are stored as {main}"


def _card(card: Card, shares: dict[str, float], packed: dict[str, float]) -> Iterator[Contradiction]:
    for said in card.quantizations[:1]:
        if not packed:
            yield CARD_ONLY, f'{said.source} says "{said.text}", but the tensors are plain: {_listed(shares)}'
        elif said.value and not any(quantized_bits(d) == said.value or f"F{said.value:.0f}" in d for d in packed):
            yield CARD_ONLY, f'{said.source} says "{said.text}", but the tensors are {_listed(packed)}'
    for said in card.unquantized[:1]:
        if packed:
            yield CARD_ONLY, f'{said.source} says "{said.text}", but the tensors are {_listed(packed)}'


def _listed(shares: dict[str, float]) -> str:
    return ", ".join(f"{one_line(d, 40)} ({s:.0%})" for d, s in list(shares.items())[:4])
