"""PG203: models that nothing may descend from, by family, publisher or id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from provenance_gate.lineage.interface import Ancestor, Standing
from provenance_gate.policy.ancestors import claim_of, is_shown, nearest_base, one_per_key, route
from provenance_gate.policy.interface import Outcome, Status, Subject
from provenance_gate.policy.patterns import ALLOW_OR_DENY, PATTERN_LISTS, refusal
from provenance_gate.policy.wording import exact, shown


class Origin:
    """Ancestors of the artifact must come from accepted families and publishers.

    Patterns are model ids or globs (`org/name*`), `family:` and `publisher:` words as the catalog spells them, whatever
    their case. `deny` wins over `allow`. Ancestors are what the weights show and what is declared and not contradicted,
    followed through the catalog.

    - fail: an ancestor that weights and catalog lead to is refused;
    - undecided: it is refused, but the way to it is a claim that was not tested or a test that did not decide.
    """

    kind: Final = "origin"
    number: Final = "PG203"
    title: Final = "Ancestors come from accepted families and publishers"
    schema: Final[Mapping[str, Any]] = {"properties": dict(PATTERN_LISTS), "anyOf": ALLOW_OR_DENY}

    def explain(self, options: Mapping[str, Any]) -> str:
        """What the rule with these options checks, in one plain sentence."""
        parts = []
        if "deny" in options:
            parts.append(f"must not be any of {', '.join(options['deny'])}")
        if "allow" in options:
            parts.append(f"must be among {', '.join(options['allow'])}")
        return f"Every ancestor of the artifact {' and '.join(parts)}."

    def evaluate(self, options: Mapping[str, Any], subject: Subject) -> Sequence[Outcome]:
        """One outcome per refused ancestor, or a single one that sums up."""
        nodes = [n for n in subject.ancestry if n.standing is not Standing.SELF]
        found = one_per_key(o for node in nodes for o in _judge(node, options, subject))
        if found:
            return found
        if not nodes:
            return (Outcome(Status.PASS, "origins", "no ancestor is declared or shown by the weights"),)
        listed = ", ".join(shown(n.id) for n in nodes[:3]) + (f" and {len(nodes) - 3} more" if len(nodes) > 3 else "")
        return (Outcome(Status.PASS, "origins", f"ancestors are acceptable: {listed}"),)


def _judge(node: Ancestor, options: Mapping[str, Any], subject: Subject) -> Iterator[Outcome]:
    words = [node.id]
    words += [f"publisher:{node.publisher}"] if node.publisher else []
    words += [f"family:{node.family}"] if node.family else []
    why = refusal(options, words)
    if why is None:
        return
    message = f"{shown(node.id)} is an ancestor, {why}; path: {route(node)}"
    if is_shown(node):
        remedy = "choose another base, or add a waiver with reason, approver and expiry"
        yield Outcome(Status.FAIL, exact(node.id), message, remedy, (("path", route(node)),), claim_of(node, subject))
        return
    remedy = f"give the weights of {shown(nearest_base(node))} with --base, so that the way to it can be tested"
    message += f"; {node.rests_on.value}"
    yield Outcome(Status.UNDECIDED, exact(node.id), message, remedy, (("path", route(node)),), claim_of(node, subject))
