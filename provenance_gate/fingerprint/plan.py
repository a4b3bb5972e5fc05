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

from collections.abc import Sequence
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
_SCATTERED = 4
"""Where scales lie scattered, of so many neighboring layers one is read, and as many times more of it."""


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """The plan and its only free number. Two plans are comparable when they are equal.

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

    def experts(self, layer: int, numbers: Sequence[int]) -> frozenset[int]:
        """Which of a layer's experts are read: the first, so that mixtures of other sizes have the same; of a spot check any."""
        if not self.seed:
            return frozenset(n for n in numbers if n < SAMPLED_EXPERTS)
        return frozenset(sorted(numbers, key=lambda n: (self._number(layer, n), n))[:SAMPLED_EXPERTS])

    def window(self, role: Role, shape: tuple[int, ...], lies: Lies) -> tuple[range, range]:
        """Rows and columns to read of a matrix of shape (R, C) that does not lie in rows: rows from the same one as `rows`, up to
        64, and columns from a multiple of 128 up to 1024 of them, all where there are no more.

        Raises ValueError for anything but a matrix with at least one element.
        """
        block = self.rows(role, shape)
        total, columns = shape
        wide = _WINDOW_VALUES // total
        if role in (*_MODEL_VALUES, Role.OTHER):
            wide = -(-_LAYER_VALUES // len(block))
            if self.seed:  # a second look confirms a correlation, and need not show that there is none
                wide -= _GRAIN // 2
            else:
                wanted = _MODEL_VALUES.get(role, _MODEL_VALUES[Role.FFN_DOWN])
                wide = max(wide, -(-wanted // (len(block) * total)))
            if lies is Lies.SCATTERED and role is not Role.OTHER:
                wide *= _SCATTERED
        wide = min(max(_GRAIN, -(-wide // _GRAIN) * _GRAIN), MAX_COLUMNS, columns)
        room = (columns - min(columns, MAX_COLUMNS)) // _ALIGNED
        first = self._number(columns, total) % (room + 1) * _ALIGNED
        return range(block.start, block.start + min(total, MAX_ROWS)), range(first, first + wide)

    def reads(self, key: TensorKey, lies: Lies) -> bool:
        """Whether a matrix is read at all. All are that lie in rows; of others a window needs a request for each part (packed
        integers, scales, zero points), so the output matrix of each layer is read, and of every other layer one more in turn.

        Where scales lie scattered, layers are passed over, too. What a spot check passes over of what it is given cannot be
        foreseen: about half of the other matrices.
        """
        if lies is Lies.ROWS or key.layer is None:
            return True
        turn = key.layer
        if lies is Lies.SCATTERED:
            turn, place = divmod(key.layer, _SCATTERED)
            if place != self._number(turn, 0) % _SCATTERED:
                return False
            turn *= 2
        others = next((roles for roles in _READERS if key.role in roles), ())
        if not others or not (key.part.isdigit() or key.part in ("", "self", "cross")):
            return True
        if self.seed:
            return self._number(key.layer, 1 + others.index(key.role)) % 2 == 0
        if key.part.isdigit():
            turn += 2 * int(key.part)
        return turn % (2 * len(others)) == 2 * others.index(key.role)

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
        text = f"{self.version}:{self.seed}:{total}x{columns}"
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
