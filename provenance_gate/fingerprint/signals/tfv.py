"""TFV, tokenizer feature vector: do two tokenizers look alike? Reported, never decides."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import UndefinedSignalError
from provenance_gate.fingerprint.interface import Evidence, Json, SignalKind, SignalResult, SignalValue
from provenance_gate.fingerprint.observe import Observations
from provenance_gate.fingerprint.signals.arithmetic import cosine

_SCRIPTS = ("Latin", "CJK", "Cyrillic", "Arabic", "Devanagari", "Other")


class TokenizerFeatures:
    """Weighted sum of ten agreements, in [0, 1] (reference definition).

    Two equal tokenizers without merges reach 0.925, not 1: "both without" counts half there. Unrelated models that took
    over a public tokenizer: up to 1.0.
    """

    name = "tfv"
    kind = SignalKind.TOKENIZER

    def measure(self, observations: Observations) -> SignalResult:
        """Facts of tokenizer.json."""
        facts = observations.artifact.tokenizer
        if isinstance(facts, NotMeasured):
            return facts
        return SignalValue(
            "facts",
            facts={
                "class_name": facts.class_name,
                "vocab_size": facts.vocab_size,
                "special_ids": dict(facts.special_ids),
                "mean_token_length": facts.mean_token_length,
                "space_mark_share": facts.space_mark_share,
                "script_shares": dict(facts.script_shares),
                "has_byte_tokens": facts.has_byte_tokens,
                "num_merges": facts.num_merges,
                "first_merges_sha256": str(facts.first_merges_sha256),
                "merges_sha256": str(facts.merges_sha256),
            },
        )

    def compare(self, artifact: SignalValue, base: SignalValue) -> Evidence:
        """The weighted sum."""
        a, b = artifact.facts, base.facts
        score = (
            0.10 * (a["class_name"] == b["class_name"])
            + 0.10 * _ratio(a["vocab_size"], b["vocab_size"])
            + 0.04 * (_special(a, "bos") == _special(b, "bos"))
            + 0.04 * (_special(a, "eos") == _special(b, "eos"))
            + 0.07 * _ratio(a["mean_token_length"], b["mean_token_length"])
            + 0.05 * (1.0 - abs(_number(a["space_mark_share"]) - _number(b["space_mark_share"])))
            + 0.10 * _script_cosine(a, b)
            + 0.05 * (a["has_byte_tokens"] == b["has_byte_tokens"])
            + 0.05 * _ratio(a["num_merges"], b["num_merges"])
            + 0.15 * (a["first_merges_sha256"] == b["first_merges_sha256"])
            + 0.10 * _special_share(a, b)
            + 0.15 * _merges(a, b)
        )
        detail: dict[str, Json] = {"merges": "not stored"} if _stores_no_merges(a) or _stores_no_merges(b) else {}
        level = "up to 1.0 for models that share a public tokenizer"
        return Evidence(self.name, float(score), "facts", level, detail=detail)


def _number(value: Json) -> float:
    if not isinstance(value, (int, float)):
        raise UndefinedSignalError(f"expected a number among the tokenizer facts, found {value!r}")
    return float(value)


def _ratio(a: Json, b: Json) -> float:
    x, y = _number(a), _number(b)
    return 1.0 if x == y else min(x, y) / max(x, y)


def _special(facts: Mapping[str, Json], name: str) -> Json:
    ids = facts["special_ids"]
    return ids.get(name) if isinstance(ids, dict) else None


def _special_share(a: Mapping[str, Json], b: Mapping[str, Json]) -> float:
    pairs = [(_special(a, n), _special(b, n)) for n in ("pad", "unk", "mask")]
    known = [x == y for x, y in pairs if (x is None) == (y is None)]
    return sum(known) / len(known) if known else 0.0


def _script_cosine(a: Mapping[str, Json], b: Mapping[str, Json]) -> float:
    vectors = []
    for facts in (a, b):
        shares = facts["script_shares"]
        vectors.append(np.array([_number(shares.get(s, 0.0)) if isinstance(shares, dict) else 0.0 for s in _SCRIPTS]))
    if not vectors[0].any() or not vectors[1].any():
        return float(vectors[0].any() == vectors[1].any())
    return cosine(vectors[0], vectors[1])


def _stores_no_merges(facts: Mapping[str, Json]) -> bool:
    """The reference system's database counts the merges and leaves them out; it scores that as none on that side."""
    return facts["num_merges"] != 0 and facts["merges_sha256"] == ""


def _merges(a: Mapping[str, Json], b: Mapping[str, Json]) -> float:
    if all(facts["num_merges"] == 0 or _stores_no_merges(facts) for facts in (a, b)):
        return 0.5
    return float(a["merges_sha256"] == b["merges_sha256"])
