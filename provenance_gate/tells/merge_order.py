"""Tell 9: the order of BPE merges: how long two lists run together, and where they part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.jsonparts import JsonParts, Span
from provenance_gate.errors import MalformedFileError, one_line
from provenance_gate.fingerprint.interface import Json
from provenance_gate.tells.documents import TOKENIZER, document
from provenance_gate.tells.interface import Case, Side, TellGroup, TellResult
from provenance_gate.tells.known_tokenizer import same_first_merges
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

PREFIX: Final = 50
"""Rules with a letter in the common prefix. Training writes merges by frequency in its corpus: trained on two halves of
one corpus (six trials, 1 to 7 MB of code, its docstrings, and texts), the lists ran together for 3 to 5 rules; on
different corpora for 0 to 3."""
SHARED: Final = 0.35
"""The list, or its beginning, is another tokenizer's. The weights behind it may still be new."""
FIRST_ONLY: Final = 0.1
"""Only the first 50 are known to agree: 94 of the 152 models with a tokenizer in the shipped catalog share them with a model
of another family and no recorded common ancestor; one list is in eleven families."""

_SPACES: Final = frozenset("ĠĊĉčĢ▁")


class MergeOrder:
    """The longest common prefix with each base whose merges are at hand; where only digests are, whether all or the first
    50 agree.

    Rules without a letter (runs of spaces and newlines, which some converters put first) do not count toward `PREFIX`.
    """

    id: Final = 9
    name: Final = "merge-order"
    group: Final = TellGroup.TOKENIZER
    title: Final = "BPE merges stand in a public tokenizer's order"

    def measure(self, case: Case) -> TellResult:
        """FIRED from `PREFIX` common rules on."""
        expected = "merges that part from every known list within the first few rules"
        reproduce = f"diff <(jq -c '.model.merges[]' {TOKENIZER}) <(jq -c '.model.merges[]' BASE/{TOKENIZER}) | head"
        facts = tokenizer_facts(case.ours)
        if isinstance(facts, NotMeasured):
            return not_measured(self, facts.reason, expected, reproduce)
        if not facts.get("num_merges"):
            return not_measured(self, "the tokenizer has no merges: it is no BPE", expected, reproduce)
        models = [m for m in public_models(case) if m.tokenizer]
        if not models:
            return not_measured(
                self, "no base and no catalog with tokenizer facts to compare with", expected, reproduce
            )
        best: dict[str, Json] | None = None
        for model in models:
            if model.side is None:
                continue
            found = _with_base(facts, case.ours, model)
            if found is not None and (best is None or _length(found) > _length(best)):
                best = found
        if best is not None and _length(best) >= PREFIX:
            return self._fired(case, best, expected, reproduce)
        first = [m for m in models if same_first_merges(facts, m.tokenizer)]
        if first:
            openly = "; the artifact declares one of them" if disclosed(case, first) else ""
            return answer(
                self,
                seen=f"the first 50 merges are those of {listed(first)}{openly}",
                expected=expected,
                reproduce=reproduce,
                strength=FIRST_ONLY,
                base=pointed_at(first),
                numbers={"num_merges": facts["num_merges"], "first_50": True, **shared_by(case, first)},
            )
        seen = f"the {number(facts['num_merges'])} merges begin like none of the {len(models)} known lists"
        if best is not None:
            seen = f"the merges part from those of {best['base']} {_where(best)}, and begin like no other known list"
        return answer(self, seen=seen, expected=expected, reproduce=reproduce, numbers=best or {"first_50": False})

    def _fired(self, case: Case, best: dict[str, Json], expected: str, reproduce: str) -> TellResult:
        base = str(best["base"])
        model = next(m for m in public_models(case) if one_line(m.id, 200) == base)
        openly = disclosed(case, [model])
        whole = best["common"] == best["num_merges"]
        what = (
            "all merges are"
            if whole
            else f"the first {number(best['common'])} of {number(best['num_merges'])} merges are"
        )
        return answer(
            self,
            seen=f"{what} those of {base}, in the same order{'' if whole else '; they part ' + _where(best)}",
            expected=expected,
            reproduce=reproduce,
            strength=SHARED,
            base=base,
            numbers={**best, "disclosed": openly},
        )


def merge_rules(side: Side) -> Iterator[str] | None:
    """The merges of tokenizer.json as "left right", a portion at a time; None where the file is not at hand or has none."""
    data = document(side, TOKENIZER)
    if data is None:
        return None
    try:
        parts = JsonParts(data, TOKENIZER)
        model = parts.fields(parts.top).get("model")
        span = None if model is None else parts.fields(model, "model").get("merges")
    except MalformedFileError:
        # A model whose tokenizer is refused does not open; what differs is a document that nothing else reads.
        return None
    return None if span is None or not parts.is_a(span, b"[]") else _rules(parts, span)


def _rules(parts: JsonParts, span: Span) -> Iterator[str]:
    for portion in parts.portions(span, "model.merges"):
        for rule in portion if isinstance(portion, list) else ():
            yield " ".join(map(str, rule)) if isinstance(rule, list) else str(rule)


@dataclass(frozen=True, slots=True)
class Prefix:
    """How many rules from the start on are equal, how many of them hold a letter, and what stands where they part.

    `ours`, `theirs`: None where the list has ended.
    """

    common: int
    with_letters: int
    ours: str | None
    theirs: str | None


def common_prefix(ours: Iterable[str], theirs: Iterable[str]) -> Prefix:
    """The longest common prefix of two lists of rules."""
    common = letters = 0
    for one, other in zip_longest(ours, theirs):
        if one != other:
            return Prefix(common, letters, one, other)
        common += 1
        letters += _has_letter(one)
    return Prefix(common, letters, None, None)


def _with_base(facts: Mapping[str, Any], ours: Side, model: PublicModel) -> dict[str, Json] | None:
    """Numbers of the comparison with one base; None where nothing can be compared."""
    if model.side is None or not model.tokenizer.get("num_merges"):
        return None
    total, theirs_total = int(facts["num_merges"]), int(model.tokenizer["num_merges"])
    found: dict[str, Json] = {
        "base": one_line(model.id, 200),
        "num_merges": total,
        "num_merges_of_base": theirs_total,
    }
    if facts.get("merges_sha256") and facts.get("merges_sha256") == model.tokenizer.get("merges_sha256"):
        return {**found, "common": total, "common_with_letters": total}
    mine, theirs = merge_rules(ours), merge_rules(model.side)
    if mine is None or theirs is None:
        return None
    prefix = common_prefix(mine, theirs)
    return {
        **found,
        "common": prefix.common,
        "common_with_letters": prefix.with_letters,
        "ours_there": None if prefix.ours is None else one_line(prefix.ours, 80),
        "theirs_there": None if prefix.theirs is None else one_line(prefix.theirs, 80),
    }


def _length(found: dict[str, Json]) -> int:
    value = found["common_with_letters"]
    return value if isinstance(value, int) else 0


def _has_letter(rule: str) -> bool:
    return any(c.isalpha() and c not in _SPACES for c in rule)


def _where(found: dict[str, Json]) -> str:
    common = found["common"]
    place = f"after {number(common)} rules"
    mine, theirs = found.get("ours_there"), found.get("theirs_there")
    if mine is None or theirs is None:
        return f"{place}, where {'our' if mine is None else 'its'} list ends"
    return f'{place}: here "{mine}", there "{theirs}"'
