"""Tell 8: the tokenizer is a known one, by digest."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.fingerprint.interface import Json
from provenance_gate.tells.documents import TOKENIZER, document
from provenance_gate.tells.interface import Case, Side, TellGroup, TellResult
from provenance_gate.tells.public import (
    PublicModel,
    disclosed,
    listed,
    pointed_at,
    public_models,
    shared_by,
    tokenizer_facts,
)
from provenance_gate.tells.wording import answer, not_measured, number

SAME_FILE: Final = 0.4
"""Byte for byte the file of a base. Taking over a public tokenizer for own weights is usual, and honest when said."""
SAME_VOCABULARY: Final = 0.35
"""Every token at its id and every merge in its place; only settings around them differ."""
SAME_COUNTS: Final = 0.15
"""Size, number of merges and the first 50 of them, as far as a catalog has them: 57 of the 152 models with a tokenizer in the
shipped one share all three with a model of another family and no recorded common ancestor."""

_LEAST: Final = 1000
"""Tokens; smaller vocabularies are equal by nature."""


class KnownTokenizer:
    """Compared are, in this order: the SHA-256 of tokenizer.json with that of each base at hand; the digest of all
    (token, id) pairs and of all merges; the catalog's size, number of merges and digest of the first 50.
    """

    id: Final = 8
    name: Final = "known-tokenizer"
    group: Final = TellGroup.TOKENIZER
    title: Final = "The tokenizer is that of a public model"

    def measure(self, case: Case) -> TellResult:
        """FIRED when a base or a known model has the same tokenizer."""
        expected = "a tokenizer that no known model has, or one whose origin the card names"
        reproduce = f"sha256sum {TOKENIZER}, beside the one of the base; jq '.model.merges[:50]' {TOKENIZER}"
        facts = tokenizer_facts(case.ours)
        if isinstance(facts, NotMeasured):
            return not_measured(self, facts.reason, expected, reproduce)
        size = facts.get("vocab_size")
        digest = file_digest(case.ours)
        models = [m for m in public_models(case) if m.tokenizer]
        numbers: dict[str, Json] = {
            "sha256": digest,
            "vocabulary_sha256": facts.get("vocabulary_sha256"),
            "merges_sha256": facts.get("merges_sha256"),
            "vocab_size": size,
            "num_merges": facts.get("num_merges"),
            "compared": len(models),
        }
        if not models:
            return not_measured(
                self, "no base and no catalog with tokenizer facts to compare with", expected, reproduce
            )
        for word, strength, equal in _equals(facts, digest, models):
            if not equal or not isinstance(size, int) or size < _LEAST:
                continue
            openly = "; the artifact declares one of them" if disclosed(case, equal) else ""
            return answer(
                self,
                seen=f"{TOKENIZER} ({number(size)} tokens) {word} of {listed(equal)}{openly}",
                expected=expected,
                reproduce=reproduce,
                strength=strength,
                base=pointed_at(equal),
                numbers={**numbers, **shared_by(case, equal), "equal": word},
            )
        seen = f"{TOKENIZER} ({number(size)} tokens) is none of the {len(models)} that are known"
        if isinstance(size, int) and size < _LEAST:
            seen = f"{TOKENIZER} has {number(size)} tokens, too few to tell one from another"
        return answer(self, seen=seen, expected=expected, reproduce=reproduce, numbers=numbers)


def file_digest(side: Side) -> str | None:
    """SHA-256 of tokenizer.json: of its bytes, else as the inventory has it."""
    data = document(side, TOKENIZER)
    if data is not None:
        return sha256(data).hexdigest()
    files = side.fingerprint.subject.files if side.artifact is None else side.artifact.files
    return next((f.sha256 for f in files if str(f.path) == TOKENIZER and isinstance(f.sha256, str)), None)


def _equals(
    ours: Mapping[str, Any], digest: str | None, models: list[PublicModel]
) -> tuple[tuple[str, float, list[PublicModel]], ...]:
    """From the strongest agreement to the weakest, and who shows it."""
    same_file = [m for m in models if digest and m.side is not None and file_digest(m.side) == digest]
    same_vocabulary = [m for m in models if _agree(ours, m.tokenizer, ("vocabulary_sha256", "merges_sha256"))]
    counts = [m for m in models if same_first_merges(ours, m.tokenizer) and _agree(ours, m.tokenizer, _COUNTS)]
    return (
        ("is the very file", SAME_FILE, same_file),
        ("has the tokens, ids and merges", SAME_VOCABULARY, same_vocabulary),
        ("has the size, number of merges and first merges", SAME_COUNTS, counts),
    )


_COUNTS: Final = ("vocab_size", "num_merges")


def _agree(ours: Mapping[str, Any], theirs: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    return all(ours.get(k) is not None and ours.get(k) == theirs.get(k) for k in names)


def same_first_merges(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether the first 50 merges are equal; a catalog calls their digest `merge_rule_hash`. False where there are no
    merges."""
    known = theirs.get("first_merges_sha256") or theirs.get("merge_rule_hash")
    return bool(ours.get("num_merges")) and known is not None and ours.get("first_merges_sha256") == known
