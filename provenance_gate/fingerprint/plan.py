"""Which rows of a tensor are read: a function of role and shape only (and of a seed, for spot checks).

One block of consecutive rows a tensor, so that a remote file is read with few ranges. Where the block starts depends on
the shape alone and longer blocks extend shorter ones, so two tensors of one shape are comparable on their common rows
even when the role of one of them is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from provenance_gate.artifact.interface import Role

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


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """The plan and its only free number. Two plans are comparable when they are equal.

    `seed` moves all blocks, away from the standard ones where there is room. "" is the standard plan of every stored
    fingerprint; a spot check uses the digest of the artifact's own bytes, so that nobody can prepare just the rows that will be
    read.
    """

    seed: str = ""
    version: int = 1

    def rows(self, role: Role, shape: tuple[int, ...]) -> range:
        """Rows to read of a matrix of shape (R, C): between 1 and 64 consecutive ones, never more than R.

        Raises ValueError for anything but a matrix with at least one element.
        """
        if len(shape) != 2 or not shape[0] or not shape[1]:
            raise ValueError(f"no rows to sample in shape {shape}")
        total, columns = shape
        wanted = _UNKNOWN_VALUES if role is Role.OTHER else _VALUES.get(role, _OTHER_VALUES)
        count = min(total, MAX_ROWS, max(1, -(-wanted // columns)))
        first = self._start(total, columns)
        return range(first, first + count)

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
