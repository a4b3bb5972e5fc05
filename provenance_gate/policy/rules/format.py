"""PG301: file formats that weights may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from provenance_gate.artifact.interface import FileRecord, WeightFormat
from provenance_gate.policy.interface import Outcome, Status, Subject
from provenance_gate.policy.patterns import ALLOW_OR_DENY
from provenance_gate.policy.wording import first_few

_CHOICES = sorted(f.value for f in WeightFormat if f is not WeightFormat.LFS_POINTER)
_LIST = {"type": "array", "items": {"enum": _CHOICES}, "minItems": 1, "uniqueItems": True}


class FileFormat:
    """Every weight file must be in an accepted format.

    A format is told by the first bytes as well as by the suffix, so a pickle that calls itself `.safetensors` is a pickle.
    Files in subfolders count.

    - fail: a file is in a refused format;
    - undecided: there is no weight file, or only a Git LFS pointer in its place.
    """

    kind: Final = "format"
    number: Final = "PG301"
    title: Final = "Weight files are in accepted formats"
    schema: Final[Mapping[str, Any]] = {
        "properties": {
            "allow": {"title": "Accepted formats", "description": "All others are refused.", **_LIST},
            "deny": {"title": "Refused formats", **_LIST},
        },
        "anyOf": ALLOW_OR_DENY,
    }

    def explain(self, options: Mapping[str, Any]) -> str:
        """What the rule with these options checks, in one plain sentence."""
        parts = []
        if "allow" in options:
            parts.append(f"must be {' or '.join(options['allow'])}")
        if "deny" in options:
            parts.append(f"must not be {' or '.join(options['deny'])}")
        return f"Weight files {' and '.join(parts)}."

    def evaluate(self, options: Mapping[str, Any], subject: Subject) -> Sequence[Outcome]:
        """One outcome per refused format, or a single one that sums up."""
        files: dict[WeightFormat, list[FileRecord]] = {}
        for record in subject.artifact.files:
            if record.format is not None:
                files.setdefault(record.format, []).append(record)
        if not files:
            return (
                Outcome(
                    Status.UNDECIDED, "no weights", "there is no weight file", "add the weights, or drop this rule"
                ),
            )
        outcomes = []
        for found, records in sorted(files.items(), key=lambda item: item[0].value):
            names = first_few(str(r.path) for r in records)
            if found is WeightFormat.LFS_POINTER:
                message = f"a Git LFS pointer stands in place of weights: {names}"
                outcomes.append(Outcome(Status.UNDECIDED, found.value, message, "run `git lfs pull`"))
            elif found.value in options.get("deny", ()) or found.value not in options.get("allow", (found.value,)):
                remedy = "convert the weights to safetensors and remove these files"
                outcomes.append(
                    Outcome(Status.FAIL, found.value, f"weights in the refused format {found.value}: {names}", remedy)
                )
        listed = ", ".join(sorted(f.value for f in files))
        return tuple(outcomes) or (Outcome(Status.PASS, "formats", f"all weight files are {listed}"),)
