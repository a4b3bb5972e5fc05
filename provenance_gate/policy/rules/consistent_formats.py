"""PG302: what stands in several formats must be one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.lineage.interface import Relation
from provenance_gate.policy.interface import FormatAgreement, Outcome, Status, Subject
from provenance_gate.policy.wording import lineage_evidence, lineage_summary, shown

_SAME: Final = frozenset({Relation.IDENTICAL, Relation.REFORMATTED})


class ConsistentFormats:
    """A folder that holds the model in several formats must hold one model.

    A loader takes one of them: a clean safetensors file says nothing about the GGUF or PyTorch file beside it.

    - fail: two formats hold different weights, or a file is refused (a pickle that would run code, say);
    - undecided: the weights could not be compared;
    - pass: all formats are one model to the rounding of the coarser, or there is only one format.
    """

    kind: Final = "consistent-formats"
    number: Final = "PG302"
    title: Final = "Several formats hold one model"
    schema: Final[Mapping[str, Any]] = {"properties": {}}

    def explain(self, options: Mapping[str, Any]) -> str:
        """What the rule checks, in one plain sentence."""
        return "Weights that stand in several formats must be one model in all of them."

    def evaluate(self, options: Mapping[str, Any], subject: Subject) -> Sequence[Outcome]:
        """One outcome per format that does not agree, or a single one that sums up."""
        open_ones = tuple(o for f in subject.formats if (o := _judge(f)) is not None)
        if open_ones:
            return open_ones
        names = ", ".join(f.format for f in subject.formats)
        message = f"the weights in {names} are the same model" if names else "the weights stand in one format only"
        return (Outcome(Status.PASS, "formats agree", message),)


def _judge(found: FormatAgreement) -> Outcome | None:
    remedy = f"remove the {found.format} files, or write them anew from the same weights"
    lineage = found.lineage
    if isinstance(lineage, NotMeasured):
        message = f"the {found.format} files beside the measured weights are refused: {shown(lineage.reason)}"
        return Outcome(Status.FAIL, found.format, message, remedy)
    if lineage.relation in _SAME:
        return None
    summary = lineage_summary(lineage)
    if isinstance(lineage.score, NotMeasured):
        message = f"whether the {found.format} files hold the same model is undecided: {shown(lineage.reason)}"
        return Outcome(Status.UNDECIDED, found.format, message, remedy, lineage_evidence(lineage))
    message = f"the {found.format} files hold another model than the measured weights: {summary}"
    return Outcome(Status.FAIL, found.format, message, remedy, lineage_evidence(lineage))
