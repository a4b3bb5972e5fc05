"""Which rows of a tensor are read: a function of role and shape only (and of a seed, for spot checks).

One block of consecutive rows a tensor, so that a remote file is read with few ranges. Where the block starts depends on
the shape alone and longer blocks extend shorter ones, so two tensors of one shape are comparable on their common rows
even when the role of one of them is not known.

A matrix that is stored turned (GPT-2, GPTQ, AWQ, stacked experts of some models) has its rows spread over the whole tensor. Of
a large one a *window* is read: the same rows, as many as there may be, and of each a run of columns that lies together.
It meets the block of a matrix that is not turned in a smaller block, which is what is compared. Under independence the hidden
units of a window are as exchangeable as those of the whole row, since shapes alone choose it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from provenance_gate.artifact.interface import Lies, Role, TensorKey

MAX_ROWS = 64
"""Rows of the longest block. The permutation statistic costs rows squared per pair of layers."""

_VALUES: dict[Role, int] = {
    Role.FFN_DOWN: 49152,
    Role.EXPERT_DOWN: 8192,
    Role.EXPERT_GATE: 4096,
    Role.EXPERT_UP: 4096,
    Role.EMBEDDING: 65536,
    Role.HEAD: 65536,
}
_OTHER_VALUES = 12288
_UNKNOWN_VALUES = 49152
"""Values wanted of a tensor by role. 49152 values of each `down` matrix show a correlation of 0.05 in one layer at 11 sigma."""

SAMPLED_EXPERTS = 8
"""Experts of a layer that are read. Mixtures with hundreds would cost a gigabyte of rows else."""
_OUTPUT = (Role.FFN_DOWN, Role.EXPERT_DOWN)
_READERS = (
    (Role.ATTENTION_V, Role.ATTENTION_O, Role.FFN_UP, Role.ATTENTION_K, Role.ATTENTION_Q, Role.FFN_GATE),
    (Role.EXPERT_GATE, Role.EXPERT_UP),
)
"""The other matrices of a layer, in the order of their turns."""
_LAYER_VALUES = 512
"""Values of a layer's output matrix that a window shares with a block at least: they show a correlation of 0.25 in one layer."""
_MODEL_VALUES: dict[Role, int] = {Role.FFN_DOWN: 2_560_000, Role.EXPERT_DOWN: 640_000}
"""Width times rows of a block times outputs, at least. Models have a layer for 128 outputs, more or less, so all layers together
show a correlation of 0.05."""
_WINDOW_VALUES = 1 << 18
"""Values in a window of any other matrix."""
_GRAIN, _ALIGNED = 32, 128
"""Windows are so many columns wide, or a multiple, and start at a multiple of a usual group of columns with one scale."""
MAX_COLUMNS = 1024
_SCATTERED = 6
"""Where scales lie scattered, of so many neighboring layers one is read, and as many times more of it."""


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """The plan and what is free in it. Two plans are comparable when they are equal.

    `seed` moves all blocks, away from the standard ones where there is room. "" is the standard plan of every stored
    fingerprint; a spot check uses the digest of the artifact's own bytes, so that nobody can prepare just the rows that will be
    read. `tall`: twice the rows of output matrices, which makes windows half as wide; for a spot check of two models of which
    one has windows, whose columns cost more than the other one's rows.
    """

    seed: str = ""
    version: int = 1
    tall: bool = False

    def rows(self, role: Role, shape: tuple[int, ...]) -> range:
        """Rows to read of a matrix of shape (R, C): between 1 and 64 consecutive ones, never more than R.

        Raises ValueError for anything but a matrix with at least one element.
        """
        if len(shape) != 2 or not shape[0] or not shape[1]:
            raise ValueError(f"no rows to sample in shape {shape}")
        total, columns = shape
        wanted = _UNKNOWN_VALUES if role is Role.OTHER else _VALUES.get(role, _OTHER_VALUES)
        if self.tall and role in _OUTPUT:
            wanted *= 2
        count = min(total, MAX_ROWS, max(1, -(-wanted // columns)))
        first = self._start(total, columns)
        return range(first, first + count)

    def experts(self, numbers: Sequence[int]) -> frozenset[int]:
        """Which of the experts of a layer are read: the first, so that mixtures of other sizes have the same; of a spot check
        any, but the same in every layer, so that layers can be compared.
        """
        if not self.seed:
            return frozenset(n for n in numbers if n < SAMPLED_EXPERTS)
        return frozenset(self.shuffled("expert", numbers)[:SAMPLED_EXPERTS])

    def shuffled(self, what: str, numbers: Iterable[int]) -> list[int]:
        """`numbers` in an order that the seed chooses."""
        return sorted(numbers, key=lambda n: (self._hash(f"{what}:{n}"), n))

    def window(self, role: Role, shape: tuple[int, ...], lies: Lies) -> tuple[range, range]:
        """Rows and columns to read of a matrix of shape (R, C) that does not lie in rows: rows from the same one as `rows`, up to
        64, and columns from a multiple of 128 up to 1024 of them, all where there are no more.

        Raises ValueError for anything but a matrix with at least one element.
        """
        block = self.rows(role, shape)
        total, columns = shape
        wide = _WINDOW_VALUES // total // (2 if self.tall else 1)
        if role in (*_MODEL_VALUES, Role.OTHER):
            wide = -(-_LAYER_VALUES // len(block))
            if self.seed:  # a second look confirms a correlation, and need not show that there is none
                wide -= _GRAIN // 2
            else:
                wanted = _MODEL_VALUES.get(role, _MODEL_VALUES[Role.FFN_DOWN])
                wide = max(wide, -(-wanted // (len(block) * total)))
            if lies is Lies.SCATTERED and role is not Role.OTHER:
                wide *= 2 if self.seed else _SCATTERED
        wide = min(max(_GRAIN, -(-wide // _GRAIN) * _GRAIN), MAX_COLUMNS, columns)
        room = (columns - min(columns, MAX_COLUMNS)) // _ALIGNED
        first = self._number(columns, total) % (room + 1) * _ALIGNED
        return range(block.start, block.start + min(total, MAX_ROWS)), range(first, first + wide)

    def passed_over(self, matrices: Mapping[TensorKey, Lies]) -> frozenset[TensorKey]:
        """Which of a model's matrices that do not lie in rows are not read.

        A window needs a request for each part (packed integers, scales, zero points). So of every other layer one matrix is
        read beside the output matrix, in turn; of a spot check, which is given few and chosen ones, all. Where scales lie
        scattered, whole layers are passed over: all but one of six neighbors, and three fifths of them, any, of a spot check.
        """
        stacks: dict[str, dict[int, list[TensorKey]]] = {}
        for key in matrices:
            if key.layer is not None:
                stacks.setdefault(key.stack, {}).setdefault(key.layer, []).append(key)
        passed: list[TensorKey] = []
        for layers in stacks.values():
            scattered = any(matrices[k] is Lies.SCATTERED for keys in layers.values() for k in keys)
            read = self._read_layers(sorted(layers)) if scattered else sorted(layers)
            passed += [k for layer in layers.keys() - set(read) for k in layers[layer]]
            if self.seed and len(read) < len(layers):
                passed += [k for layer in read[1::2] for k in layers[layer] if k.role not in _OUTPUT]
            elif not self.seed:
                # By the place among all layers, so that what is read where scales lie scattered is read elsewhere, too.
                turns = {layer: n / 2 for n, layer in enumerate(sorted(layers))}
                passed += [k for layer in read for k in layers[layer] if not _has_turn(k, turns[layer])]
        return frozenset(passed)

    def _read_layers(self, numbers: Sequence[int]) -> list[int]:
        if len(numbers) < 2 * _SCATTERED:
            return list(numbers)
        if self.seed:
            return self.shuffled("layer", numbers)[: -(-2 * len(numbers) // 5)]
        # In each block a layer in which it is the turn of another kind of matrix.
        blocks = [numbers[at : at + _SCATTERED] for at in range(0, len(numbers), _SCATTERED)]
        return [block[min(n // 2 % 3 * 2, (len(block) - 1) // 2 * 2)] for n, block in enumerate(blocks)]

    def _start(self, total: int, columns: int) -> int:
        room = total - min(total, MAX_ROWS)
        if not self.seed:
            return self._number(total, columns) % (room + 1)
        # A spot check looks elsewhere: blocks that touch the standard one come last, where there is no other room.
        standard = SamplingPlan(version=self.version)._start(total, columns)
        below, above = max(0, standard - MAX_ROWS + 1), max(0, room - standard - MAX_ROWS + 1)
        if not below + above:
            return 0 if standard > room - standard else room
        choice = self._number(total, columns) % (below + above)
        return choice if choice < below else standard + MAX_ROWS + choice - below

    def _number(self, total: int, columns: int) -> int:
        return self._hash(f"{total}x{columns}")

    def _hash(self, text: str) -> int:
        data = f"{self.version}:{self.seed}:{text}".encode()
        return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def _has_turn(key: TensorKey, turn: float) -> bool:
    """Whether a matrix is the one of its layer that is read beside the output matrix; `turn` is no whole number where none is."""
    others = next((roles for roles in _READERS if key.role in roles), ())
    expert = key.expert
    if not others or not (expert is not None or key.part in ("", "self", "cross")):
        return True
    return (turn + (expert or 0)) % len(others) == others.index(key.role)
