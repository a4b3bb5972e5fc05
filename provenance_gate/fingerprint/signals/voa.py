"""VOA, vocabulary overlap: Jaccard index of the token strings. Reported, never decides."""

from __future__ import annotations

import numpy as np

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import UndefinedSignalError
from provenance_gate.fingerprint.interface import Evidence, SignalKind, SignalResult, SignalValue
from provenance_gate.fingerprint.observe import Observations


class VocabularyOverlap:
    """Shared token strings over all token strings, in [0, 1]; strings are compared by 64-bit digests.

    Two vocabularies of 256k strings collide in one pair with probability below 1e-8. Unrelated models that took over a
    public tokenizer: 1.0.
    """

    name = "voa"
    kind = SignalKind.TOKENIZER

    def measure(self, observations: Observations) -> SignalResult:
        """Sorted digests of the token strings, shape (n,), uint64."""
        facts = observations.artifact.tokenizer
        if isinstance(facts, NotMeasured):
            return facts
        return SignalValue("facts", {"digest": "blake2b-64"}, arrays={"tokens": facts.tokens})

    def compare(self, artifact: SignalValue, base: SignalValue) -> Evidence:
        """The Jaccard index."""
        a, b = artifact.arrays["tokens"], base.arrays["tokens"]
        if not len(a) or not len(b):
            raise UndefinedSignalError("a vocabulary is empty")
        shared = len(np.intersect1d(a, b, assume_unique=True))
        value = shared / (len(a) + len(b) - shared)
        return Evidence(
            self.name, value, "facts", "1.0 for models that share a public tokenizer", detail={"shared": shared}
        )
