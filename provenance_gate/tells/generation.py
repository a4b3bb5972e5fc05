"""Tell 14: do both models continue the same prompts with the same tokens, without sampling?

Not asked for unless a caller says where the models lie: `Generation(Run(...))`. Local models need the extra ``generation``
(`greedy.py`), a vendor's endpoint does not (`endpoint.py`); there only the text can be compared, for ids are not given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import one_line
from provenance_gate.fingerprint.interface import Json
from provenance_gate.tells.decoding import Continuation, Decoded, Endpoint, Settings
from provenance_gate.tells.endpoint import decode_remote
from provenance_gate.tells.interface import Case, Side, TellGroup, TellResult
from provenance_gate.tells.public import names_disclosed
from provenance_gate.tells.wording import answer, not_measured

Place: TypeAlias = "Path | Endpoint"

EQUAL = 0.30
"""Share of equal continuations from which the two count as one model: `docs/tells.md` has what copies and strangers reach."""
FEWEST = 10
"""Prompts that must be decoded for the tell to fire."""
STRENGTH = 0.9
"""Two trainings do not agree word by word; rounding alone parts some continuations of one model."""
SHOWN, LONGEST = 5, 200
"""Pairs of texts that part that are kept, and their characters."""
REPRODUCE = (
    "transformers: model.generate(ids, do_sample=False) for each prompt of provenance_gate/tells/prompts, both models"
)
EXPECTED = "two models of their own part within the first words of nearly every prompt"


@dataclass(frozen=True, slots=True)
class Run:
    """What to decode: the artifact's and the base's place, the prompts, and where these came from."""

    ours: Place
    base: Place
    prompts: tuple[str, ...]
    source: str = "general"
    settings: Settings = field(default_factory=Settings)


class Generation:
    """Fires where most greedy continuations are equal: see `docs/tells.md`, section 14."""

    id = 14
    name = "generation"
    group = TellGroup.BEHAVIOR
    title = "Greedy decoding"

    def __init__(self, run: Run | None = None) -> None:
        self._run = run

    def measure(self, case: Case) -> TellResult:
        """Against the likeliest base. Raises UsageError for an endpoint's address that may not be used."""
        run = self._run
        if run is None:
            return self._absent("not asked for: decoding runs both models, or asks the vendor's endpoint")
        if not run.prompts:
            return self._absent("no prompts were given")
        base = case.bases[0][0] if case.bases else None
        ours = _decode(run.ours, case.ours, run)
        if isinstance(ours, NotMeasured):
            return self._absent(f"artifact: {ours.reason}")
        theirs = _decode(run.base, base, run)
        if isinstance(theirs, NotMeasured):
            return self._absent(f"base: {theirs.reason}")
        return self._result(run, case, ours, theirs)

    def _result(self, run: Run, case: Case, ours: Decoded, theirs: Decoded) -> TellResult:
        base = case.bases[0][0].name if case.bases else "the base"
        by_ids = _by_ids(ours, theirs)
        pairs = list(zip(ours.continuations, theirs.continuations, strict=True))
        if not by_ids and any(c.text is None for pair in pairs for c in pair):
            return self._absent("the vocabularies differ, and texts are not known")
        parted = [parts_at(a, b, by_ids=by_ids) for a, b in pairs]
        equal = sum(at is None for at in parted)
        unit = "tokens" if by_ids else "characters"
        positions: list[Json] = list(parted)
        shown: list[Json] = []
        for prompt, (a, b), at in zip(run.prompts, pairs, parted, strict=True):
            if at is not None and len(shown) < SHOWN:
                shown.append(
                    {"prompt": one_line(prompt, LONGEST), "ours": _shown(a), "base": _shown(b), "parts_at": at}
                )
        share = equal / len(pairs)
        numbers: dict[str, Json] = {
            "prompts": len(pairs),
            "prompt_source": one_line(run.source, LONGEST),
            "compared": unit,
            "equal": equal,
            "share_equal": share,
            "parts_at": positions,
            "examples": shown,
            "ours": dict(ours.record),
            "base": dict(theirs.record),
        }
        early = sorted(at for at in parted if at is not None)
        where = f"; the others part at position {early[len(early) // 2]} (median, in {unit})" if early else ""
        seen = f"{equal} of {len(pairs)} greedy continuations are equal to those of {one_line(base)}{where}"
        fired = share >= EQUAL and len(pairs) >= FEWEST
        numbers["disclosed"] = fired and names_disclosed(case, [base])
        return answer(
            self,
            seen=seen,
            expected=EXPECTED,
            reproduce=REPRODUCE,
            strength=STRENGTH if fired else 0.0,
            base=base if fired else None,
            numbers=numbers,
        )

    def _absent(self, reason: str) -> TellResult:
        return not_measured(self, reason, EXPECTED, REPRODUCE)


def parts_at(ours: Continuation, base: Continuation, *, by_ids: bool) -> int | None:
    """Position, from 0, of the first token (of the first character of the texts) that differs; None when all are equal.

    Texts are compared without the space around them: some tokenizers drop the one before the first word.
    """
    a: Sequence[object] | None
    b: Sequence[object] | None
    a, b = (ours.ids, base.ids) if by_ids else (_stripped(ours.text), _stripped(base.text))
    if a is None or b is None:
        return 0
    if a == b:
        return None
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _stripped(text: str | None) -> str | None:
    return None if text is None else text.strip()


def _by_ids(ours: Decoded, theirs: Decoded) -> bool:
    same = bool(ours.vocabulary) and ours.vocabulary == theirs.vocabulary
    return same and all(c.ids is not None for d in (ours, theirs) for c in d.continuations)


def _decode(place: Place, side: Side | None, run: Run) -> Decoded | NotMeasured:
    if isinstance(place, Endpoint):
        return decode_remote(place, run.prompts, run.settings)
    if side is None or side.artifact is None:
        return NotMeasured("only a fingerprint is at hand: decoding needs the weights, or an endpoint")
    # Here and not above: only this tell may cost the import of torch.
    from provenance_gate.tells.greedy import decode_local

    return decode_local(place, side.artifact, run.prompts, run.settings)


def _shown(continuation: Continuation) -> str:
    return one_line(continuation.text if continuation.text is not None else str(continuation.ids), LONGEST)
