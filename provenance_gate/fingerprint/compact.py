"""Compact depth: half a kilobyte of signs, enough to nominate a model out of millions. Nominates, never decides.

A part is one vector of a model (`compact_vectors`), reduced to the signs of a fixed random rotation: the share of equal bits
tells the correlation of two such vectors without either being kept [1]_. Vectors of different form are not compared: a part
begins with a tag of its form. Arithmetic behind the vectors is on integers, so that neither the machine nor the version of numpy
moves a bit.

References
----------
.. [1] Charikar, "Similarity Estimation Techniques from Rounding Algorithms", STOC 2002.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import shake_128

import numpy as np
from numpy.typing import NDArray

from provenance_gate.errors import FingerprintError
from provenance_gate.fingerprint.compact_vectors import Vector, part_vectors
from provenance_gate.fingerprint.interface import Fingerprint, Json, SignalValue

SKETCH_METHOD = "provenance-gate-sketch/1"

PART_BITS: Mapping[str, int] = {"feed_forward": 2048, "attention": 1024, "geometry": 1024}
"""Bits of each part. Standard error of the agreement of strangers: 1 / sqrt(bits)."""
AGREES: Mapping[str, float] = {"feed_forward": 5.0, "attention": 5.0, "body": 5.0, "geometry": 12.0}
"""z from which a part says more than chance; "body" is the first two as one. Of unrelated bodies one in 3 million reaches 5;
unrelated tables of one tokenizer and language stayed below 10 on the benchmark's fit split, children above 15."""
TAG_BYTES = 2
CONTENT_DIGESTS = 4
DIGEST_NAMES = ("architecture", "vocabulary", "merges", *(f"content_{i}" for i in range(CONTENT_DIGESTS)))

_LEVELS = 32
"""Integer steps per standard deviation of a vector before it is rotated."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """Signs of a model.

    Attributes
    ----------
    parts
        By part, uint8 of shape (2 + PART_BITS / 8,): a big-endian tag in [1, 65535] of the form of the part's vector, then its
        packed sign bits. Absent where the model has no such weights. Parts of unequal tag are not comparable.
    digests
        64-bit digests of facts that copies share, by `DIGEST_NAMES`.
    """

    parts: Mapping[str, NDArray[np.uint8]]
    digests: Mapping[str, int]
    method: str = SKETCH_METHOD


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of one part.

    Attributes
    ----------
    correlation
        Estimate for the vectors behind the signs, in [-1, 1]: ``sin(pi / 2 * (1 - 2 h))``, h the share of unequal bits.
    z
        ``(1 - 2 h) * sqrt(bits)``. Standard normal for unrelated bodies; unrelated tables share more (`AGREES`).
    """

    correlation: float
    z: float


def sketch_of(fingerprint: Fingerprint) -> Sketch:
    """The sketch of a standard fingerprint; reads no weights. Costs a few milliseconds.

    Raises
    ------
    FingerprintError
        A stored value is not of the form that `measure` writes.
    """
    parts = {}
    for name, (form, vector) in part_vectors(fingerprint).items():
        signs = _signs(vector, f"{SKETCH_METHOD}:{name}:{form}", PART_BITS[name])
        if signs is not None:
            parts[name] = np.concatenate([_tag(form), signs])
    return Sketch(parts, _digests(fingerprint))


def agreement(a: Sketch, b: Sketch) -> dict[str, Agreement]:
    """Agreement of every part that both have in one form; none for sketches of different methods.

    Raises FingerprintError for a part of another length than the method's.
    """
    if a.method != b.method:
        return {}
    (tags, signs), (other_tags, other_signs) = _split(a), _split(b)
    common = [n for n in PART_BITS if n in tags and tags[n] == other_tags.get(n)]
    return {n: agreement_of(int(np.unpackbits(signs[n] ^ other_signs[n]).sum()), PART_BITS[n]) for n in common}


def split_part(sketch: Sketch, name: str) -> tuple[int, NDArray[np.uint8]]:
    """Tag and packed signs of a part that the sketch has. Raises FingerprintError for a tag of 0 or a wrong length."""
    part = sketch.parts[name]
    tag = int(part[0]) << 8 | int(part[1]) if len(part) == TAG_BYTES + PART_BITS[name] // 8 else 0
    if not tag:
        raise FingerprintError(f"sketch: {name}: expected a tag and {PART_BITS[name]} bits")
    return tag, part[TAG_BYTES:]


def _split(sketch: Sketch) -> tuple[dict[str, int], dict[str, NDArray[np.uint8]]]:
    found = {n: split_part(sketch, n) for n in PART_BITS if n in sketch.parts}
    return {n: tag for n, (tag, _) in found.items()}, {n: signs for n, (_, signs) in found.items()}


def agreement_of(unequal: int, bits: int) -> Agreement:
    """From the number of unequal bits."""
    share = 1.0 - 2.0 * unequal / bits
    return Agreement(math.sin(math.pi / 2.0 * share), share * math.sqrt(bits))


def _signs(vector: Vector, label: str, bits: int) -> NDArray[np.uint8] | None:
    """Signs of a random rotation, packed; None for a vector of zeros.

    Random signs, sums of every `bits`-th element and a Hadamard transform: for a vector without a direction of its own each
    bit is an independent fair coin. The elements are rounded first, so that sums are exact in any order.
    """
    deviation = float(np.sqrt((vector * vector).mean())) if len(vector) else 0.0
    if not deviation > 0:
        return None
    steps = np.rint(np.clip(vector / deviation, -4.0, 4.0) * _LEVELS).astype(np.int64)
    padded = np.zeros(-(-len(steps) // bits) * bits, dtype=np.int64)
    padded[: len(steps)] = steps
    drawn = np.frombuffer(shake_128(label.encode()).digest(len(padded) // 8), dtype=np.uint8)
    padded *= 1 - 2 * np.unpackbits(drawn).astype(np.int64)
    return np.packbits(_hadamard(padded.reshape(-1, bits).sum(axis=0)) > 0)


def _hadamard(vector: NDArray[np.int64]) -> NDArray[np.int64]:
    """Product with the Hadamard matrix of Sylvester's order; the length is a power of two."""
    half = 1
    while half < len(vector):
        pairs = vector.reshape(-1, 2, half)
        vector = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(-1)
        half *= 2
    return vector


def _tag(form: str) -> NDArray[np.uint8]:
    tag = 1 + int.from_bytes(shake_128(form.encode()).digest(4), "big") % 65535
    return np.frombuffer(tag.to_bytes(TAG_BYTES, "big"), dtype=np.uint8)


def _digests(fingerprint: Fingerprint) -> dict[str, int]:
    return dict(_facts_digests(fingerprint)) | dict(_content_digests(fingerprint))


def _facts_digests(fingerprint: Fingerprint) -> Iterator[tuple[str, int]]:
    config, tokenizer = fingerprint.signals.get("mfi"), fingerprint.signals.get("tfv")
    stated: list[tuple[str, Json]] = []
    if isinstance(config, SignalValue):
        stated += [
            ("architecture", config.facts.get("architecture_sha256")),
            ("vocabulary", config.facts.get("tokenizer")),
        ]
    # All tokenizers without merges have the same ones.
    if isinstance(tokenizer, SignalValue) and tokenizer.facts.get("num_merges"):
        stated.append(("merges", tokenizer.facts.get("first_merges_sha256")))
    for name, digest in stated:
        if isinstance(digest, str) and len(digest) == 64 and not set(digest) - set("0123456789abcdef"):
            yield name, int(digest[:16], 16)


def _content_digests(fingerprint: Fingerprint) -> Iterator[tuple[str, int]]:
    """Of the largest tensors, of equal ones those of the smallest digests: copies of a part choose alike."""
    contents = fingerprint.signals.get("content_identity")
    if not isinstance(contents, SignalValue):
        return
    digests, sizes = contents.arrays.get("digests"), contents.arrays.get("sizes")
    if digests is None or sizes is None or sizes.dtype != np.int64 or digests.dtype != np.uint64:
        raise FingerprintError("content_identity: expected digests of uint64 and sizes of int64")
    if sizes.ndim != 1 or digests.shape != (len(sizes), 2):
        raise FingerprintError("content_identity: expected two words and a size for each tensor")
    order = np.lexsort((digests[:, 0], -sizes))
    first = dict.fromkeys(int(d) for d in digests[order[: 4 * CONTENT_DIGESTS], 0])
    for i, digest in enumerate(list(first)[:CONTENT_DIGESTS]):
        yield f"content_{i}", digest
