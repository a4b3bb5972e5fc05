"""PG101: licenses of the artifact and of all that it inherits from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from provenance_gate.artifact.interface import ClaimSource
from provenance_gate.lineage.interface import Ancestor, LicenseTerm, Standing
from provenance_gate.policy.ancestors import claim_of, is_shown, nearest_base, one_per_key, route
from provenance_gate.policy.interface import Outcome, Status, Subject
from provenance_gate.policy.patterns import ALLOW_OR_DENY, PATTERN_LISTS, refusal
from provenance_gate.policy.wording import exact, shown

_UNKNOWN = {"fail": Status.FAIL, "undecided": Status.UNDECIDED, "pass": Status.PASS}


class License:
    """Licenses that the artifact states, and that its ancestors bring along, must be acceptable.

    Patterns are SPDX ids, hub ids or globs, whatever their case (`apache-2.0`, `cc-by-nc-*`, `llama3*`), and
    `category:` words (permissive, copyleft, open-with-use-restrictions, non-commercial, research-only, proprietary,
    unknown). `deny` wins over `allow`; under `allow` every license of a model must be on the list.

    `scope`: `self` looks at the artifact's own claims, `declared` also at the bases that it declares, `ancestry` (default)
    at what the weights show and at what is declared and not contradicted, followed through the catalog to the roots.

    - fail: a license is refused, and weights and catalog lead to it (or the artifact states it itself);
    - undecided: it is refused, but the way to it is a claim that was not tested or a test that did not decide; or nobody
      knows the license of a model, unless `unknown` says otherwise.
    """

    kind: Final = "license"
    number: Final = "PG101"
    title: Final = "Licenses of the model and its ancestors are acceptable"
    schema: Final[Mapping[str, Any]] = {
        "properties": {
            **PATTERN_LISTS,
            "scope": {
                "title": "Whose licenses",
                "description": "self: the artifact's own; declared: also of declared bases; ancestry: also of all that the "
                "weights show, followed to the roots.",
                "enum": ["self", "declared", "ancestry"],
                "default": "ancestry",
            },
            "unknown": {
                "title": "What a model without a known license means",
                "enum": ["fail", "undecided", "pass"],
                "default": "undecided",
            },
        },
        "anyOf": ALLOW_OR_DENY,
    }

    def explain(self, options: Mapping[str, Any]) -> str:
        """What the rule with these options checks, in one plain sentence."""
        scope = {
            "self": "the artifact itself",
            "declared": "the artifact and the bases it declares",
            "ancestry": "the artifact and all ancestors that weights, claims and catalog lead to",
        }[options.get("scope", "ancestry")]
        parts = []
        if "deny" in options:
            parts.append(f"must not carry {', '.join(options['deny'])}")
        if "allow" in options:
            parts.append(f"must carry nothing but {', '.join(options['allow'])}")
        return f"Licenses of {scope} {' and '.join(parts)}."

    def evaluate(self, options: Mapping[str, Any], subject: Subject) -> Sequence[Outcome]:
        """One outcome per refused or unknown license, or a single one that sums up."""
        nodes = [n for n in subject.ancestry if _in_scope(n, options.get("scope", "ancestry"))]
        found = one_per_key(o for node in nodes for o in _judge(node, options, subject))
        if found:
            return found
        ids = sorted({exact(t.id) for n in nodes for t in n.licenses})
        listed = ", ".join(shown(i) for i in ids) or "none known"
        return (
            Outcome(
                Status.PASS,
                "licenses",
                f"acceptable in {len(nodes)} {'model' if len(nodes) == 1 else 'models'}: {listed}",
            ),
        )


def _in_scope(node: Ancestor, scope: str) -> bool:
    if node.standing is Standing.SELF:
        return True
    return scope == "ancestry" or (scope == "declared" and node.declared)


def _judge(node: Ancestor, options: Mapping[str, Any], subject: Subject) -> Iterator[Outcome]:
    place = _place(node, subject)
    if not node.licenses:
        status = _UNKNOWN[options.get("unknown", "undecided")]
        if status is not Status.PASS:
            message = f"the license of {shown(node.id)} is not known (path: {route(node)})"
            remedy = (
                "state `license` in the front matter of README.md"
                if node.standing is Standing.SELF
                else _name_license(node)
            )
            yield Outcome(status, f"{exact(node.id)}: unknown license", message, remedy, location=place)
        return
    for term in node.licenses:
        why = refusal(options, _words(term))
        if why is None:
            continue
        shown_way = is_shown(node)
        message = f"{shown(node.id)} is under {shown(term.id)} (category {term.category}), {why}; path: {route(node)}"
        if not shown_way:
            message += f"; {node.rests_on.value}"
        remedy = (
            "choose another base, or add a waiver with reason, approver and expiry"
            if shown_way
            else f"give the weights of {shown(nearest_base(node))} with --base, so that the way to this license can be tested"
        )
        evidence = (
            ("license", exact(term.id)),
            ("category", term.category),
            ("path", route(node)),
            ("source", shown(node.license_source)),
        )
        status = Status.FAIL if shown_way else Status.UNDECIDED
        yield Outcome(status, f"{exact(node.id)}: {exact(term.id)}", message, remedy, evidence, place)


def _place(node: Ancestor, subject: Subject) -> ClaimSource | None:
    if node.standing is Standing.SELF:
        licenses = subject.artifact.claims.licenses
        return licenses[0].source if licenses else None
    return claim_of(node, subject)


def _name_license(node: Ancestor) -> str:
    return f"add {shown(node.id)} to a registry, or give its folder with a model card as --base"


def _words(term: LicenseTerm) -> list[str]:
    return [word for word in (term.id, term.spdx, term.name, f"category:{term.category}") if word]
