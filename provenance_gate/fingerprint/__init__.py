"""The fingerprint room, which is also the function `provenance_gate.fingerprint(...)`.

Importing a module of this folder makes the folder an attribute of `provenance_gate`, in the place of the function of that
name. So the folder answers to a call as the function does.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provenance_gate.fingerprint.interface import Fingerprint


class _Room(ModuleType):
    def __call__(self, artifact: str, *, exact: bool | None = None) -> Fingerprint:
        from provenance_gate import reading

        return reading.fingerprint(artifact, reading.Reading(exact=exact))


sys.modules[__name__].__class__ = _Room
