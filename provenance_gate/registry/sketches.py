"""Sketches as an index stores them: base64 of each part, digests as 16 hex digits.

Those of the method that this version compares are read; those of other methods are kept as they stand.
"""

from __future__ import annotations

import binascii
import re
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenance_gate.errors import FingerprintError, RegistryError, UndefinedSignalError
from provenance_gate.fingerprint.compact import DIGEST_NAMES, PART_BITS, SKETCH_METHOD, TAG_BYTES, Sketch, sketch_of
from provenance_gate.fingerprint.interface import Fingerprint

_HEX = re.compile(r"[0-9a-f]*")
_METHOD = re.compile(r"[\x21-\x7e]{1,100}")
_HEX_DIGITS = 16
_FIELDS = {"method", "parts", "digests"}
_SIZES = {name: (TAG_BYTES + bits // 8, -(-(TAG_BYTES + bits // 8) // 3) * 4) for name, bits in PART_BITS.items()}
"""Bytes of each part, and characters of its base64."""
_DIGESTS = frozenset(DIGEST_NAMES)


def sketch_json(sketch: Sketch) -> dict[str, Any]:
    """The JSON form; equal sketches give equal values."""
    return {
        "method": sketch.method,
        "parts": {n: binascii.b2a_base64(p.tobytes(), newline=False).decode() for n, p in sketch.parts.items()},
        "digests": {n: f"{d:016x}" for n, d in sketch.digests.items()},
    }


def read_sketch(stored: object) -> Sketch | None:
    """The sketch of its JSON form, None for one of another method. Raises FingerprintError that starts with ``sketch``."""
    if not isinstance(stored, dict) or stored.keys() != _FIELDS:
        raise FingerprintError("sketch: expected method, parts and digests")
    method, parts, digests = stored["method"], stored["parts"], stored["digests"]
    if not isinstance(parts, dict) or not isinstance(digests, dict):
        raise FingerprintError("sketch: expected objects under parts and digests")
    if method != SKETCH_METHOD:
        if not isinstance(method, str) or not _METHOD.fullmatch(method):
            raise FingerprintError("sketch: method: expected 1 to 100 printable characters")
        return None
    # An index holds many thousands: each step is done once for all parts or digests of a sketch.
    if not parts.keys() <= _SIZES.keys() or not digests.keys() <= _DIGESTS:
        known = ", ".join((*PART_BITS, *DIGEST_NAMES))
        raise FingerprintError(f"sketch: a part or digest that {method} does not have; it has {known}")
    try:
        text = "".join(digests.values())
        found = {n: _decoded(p, *_SIZES[n]) for n, p in parts.items()}
    except (TypeError, ValueError):
        raise FingerprintError("sketch: expected base64 of a tag and as many bits as each part has") from None
    if not _HEX.fullmatch(text) or not set(map(len, digests.values())) <= {_HEX_DIGITS}:
        raise FingerprintError(f"sketch: digests: expected {_HEX_DIGITS} hex digits in lower case")
    numbers = struct.unpack(f">{len(digests)}Q", bytes.fromhex(text))
    return Sketch(found, dict(zip(digests, numbers, strict=True)), method)


def _decoded(text: str, size: int, length: int) -> NDArray[np.uint8]:
    """`size` bytes of base64, the first two not both 0. Raises ValueError, TypeError."""
    data = binascii.a2b_base64(text)
    # The decoder passes over foreign characters: with none to spare, one of them makes the result too short.
    if len(text) != length or len(data) != size or not (data[0] or data[1]):
        raise ValueError
    return np.frombuffer(data, np.uint8)


def sketch_to_store(fingerprint: Fingerprint) -> Sketch | None:
    """The sketch of a fingerprint, None when it holds nothing to make one from. Raises RegistryError for a broken one."""
    try:
        found = sketch_of(fingerprint)
    except UndefinedSignalError:
        return None
    except FingerprintError as error:
        raise RegistryError(f"{fingerprint.subject.name}: {error}") from error
    return found if found.parts or found.digests else None
