"""Tell 11: is the embedding table the base's, row by row, over the token strings that both vocabularies hold?"""

from __future__ import annotations

import numpy as np

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import one_line
from provenance_gate.fingerprint.interface import Json
from provenance_gate.tells.interface import Case, Side, TellGroup, TellResult
from provenance_gate.tells.public import names_disclosed
from provenance_gate.tells.tokencosines import TokenCosines, measure_cosines
from provenance_gate.tells.tokenstrings import token_strings
from provenance_gate.tells.wording import answer, not_measured

UNTOUCHED = 0.90
"""Share of unmoved tokens from which the table counts as the base's own: `docs/tells.md` has the ROC."""
RELATED = 0.75
"""Mean cosine from which the table descends from the base's, trained on or not: strangers stay below, see there."""
NO_BASE = "no base is at hand or nominated to compare with"
EXPECTED = "a table of its own has rows unlike the base's: mean cosine near 0"
MOVED = 20
"""Tokens that are listed, those that moved farthest first."""
STRENGTH = 0.9
"""Strangers never have it; but an honest fine-tune that leaves the table alone (adapters do) has it, too."""
STRENGTH_QUANTIZED = 0.5
"""... and one that trained the table lightly, too, where a quantized table hides it."""
REPRODUCE = (
    "load both embedding tables; for every token string in both tokenizer.json files take the cosine of its two rows"
)


class EmbeddingCosine:
    """Fires where the table is the base's own, untouched by training: see `docs/tells.md`, section 11."""

    id = 11
    name = "embedding-cosine"
    group = TellGroup.WEIGHTS
    title = "Embedding rows of shared tokens"

    def measure(self, case: Case) -> TellResult:
        """Against the likeliest base. Raises ArtifactError when a table cannot be read as declared."""
        if not case.bases:
            return not_measured(self, NO_BASE, EXPECTED, REPRODUCE)
        base = case.bases[0][0]
        found = measure_cosines(case.ours, base)
        if isinstance(found, NotMeasured):
            return not_measured(self, found.reason, EXPECTED, REPRODUCE)
        untouched = found.share >= UNTOUCHED
        related = untouched or found.mean >= RELATED
        numbers = found.numbers()
        numbers["table"] = "untouched" if untouched else "related" if related else "own"
        numbers["disclosed"] = related and names_disclosed(case, [base.name])
        numbers["moved"] = _moved(found, case.ours) if related else []
        what = {
            "untouched": "the table is the base's, untouched by training",
            "related": "the table comes from the base's, or was mixed from it, and was changed",
            "own": "the table shows no relation to the base's",
        }[str(numbers["table"])]
        seen = (
            f"{what}: {found.share:.1%} of {len(found.values):,} shared tokens have the row of {one_line(base.name)}, "
            f"mean cosine {found.mean:.4f}"
        )
        if untouched and found.quantized:
            seen += "; light training would not show: a table is quantized"
        return answer(
            self,
            seen=seen,
            expected=EXPECTED,
            reproduce=REPRODUCE,
            strength=(STRENGTH_QUANTIZED if found.quantized else STRENGTH) if untouched else 0.0,
            base=base.name if related else None,
            numbers=numbers,
        )


def _moved(found: TokenCosines, ours: Side) -> list[Json]:
    """The tokens whose rows differ most, least cosine first; ids -1 (aligned rows) are not named."""
    order = [int(i) for i in np.argsort(found.values, kind="stable")[:MOVED] if found.ids[i] >= 0]
    order = [i for i in order if not found.unmoved[i]]
    names = token_strings(ours, {int(found.ids[i]) for i in order})
    return [
        {"id": int(found.ids[i]), "token": names.get(int(found.ids[i]), ""), "cosine": float(found.values[i])}
        for i in order
    ]
