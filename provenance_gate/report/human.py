"""Text for people: the verdict in the first line, why in a table, then what to do, lineage and cost.

Every string of an artifact goes through `one_line` into a `rich.text.Text`, never into markup, and color repeats what words
already say.
"""

from __future__ import annotations

from collections.abc import Sequence

from provenance_gate.artifact.interface import Artifact, NotMeasured
from provenance_gate.fingerprint.interface import Evidence, Subject
from provenance_gate.lineage.interface import ONE_BASE, BaseRef, LayerMatch, Lineage
from provenance_gate.lineage.merges.interface import Merge, Mixture
from provenance_gate.policy.interface import Finding, Severity, Status
from provenance_gate.report.graph import render_tree
from provenance_gate.report.interface import SIGNALS, ArtifactResult, ReadingCost, Report, ReportOptions
from provenance_gate.report.page import Page

_ORDER = {Status.FAIL: 0, Status.UNDECIDED: 1, Status.WAIVED: 2, Status.PASS: 3}
_SEVERITY_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


def render_check(report: Report, options: ReportOptions) -> str:
    """The human text of one `check`; every line fits `options.width`, none ends in a space."""
    page = Page(options)
    findings = [finding for result in report.results for finding in result.findings]
    several = len(report.results) != 1
    name = f"{len(report.results)} artifacts" if several else report.results[0].artifact.name
    page.headline(report.verdict.value.upper(), f"{name}, policy {report.policy.name}: {_count_answers(findings)}")
    for result in report.results:
        if several:
            page.blank()
            page.headline(result.verdict.value.upper(), f"{result.artifact.name}: {_count_answers(result.findings)}")
        _write_result(page, result, options)
    return page.text()


def render_compare(
    artifact: Artifact | Subject,
    base: BaseRef,
    lineage: Lineage,
    options: ReportOptions,
    merge: Merge | NotMeasured = ONE_BASE,
) -> str:
    """The human text of one `compare`: score and relation, components, layers, mix, signals."""
    page = Page(options)
    kinds = f" ({', '.join(lineage.kinds)})" if lineage.kinds else ""
    page.line(f"Score {number_text(lineage.score)}: {lineage.relation.value}{kinds}", style="bold")
    page.line(f"{artifact.name} against {base.id}" + (f" at {base.revision}" if base.revision else ""))
    page.line(lineage.reason)
    page.line(_lineage_numbers(lineage))
    page.line(f"This base is {_declared(lineage)}; tier {lineage.tier} decided.")
    if lineage.components:
        page.section("Components")
        page.table(
            ("component", "relation", "correlation", "p-value"),
            [
                (name, part.relation.value, number_text(part.correlation), number_text(part.p_value))
                for name, part in sorted(lineage.components.items())
            ],
        )
    if lineage.layers:
        page.section("Layers")
        for stack, matches in _by_stack(lineage.layers):
            page.line(_layer_summary(stack, matches))
        if options.verbose:
            page.table(("layer", "base layer", "correlation"), [_layer_row(match) for match in lineage.layers])
    write_merge(page, merge, options)
    page.section("Signals")
    page.table(
        ("signal", "value", "method", "unrelated models", "note"),
        [
            _signal_row(name, lineage.signals.get(name))
            for name in (*SIGNALS, *sorted(set(lineage.signals) - set(SIGNALS)))
        ],
    )
    page.line(
        f"Identity score, a weighted mean of five of them that decides nothing: {number_text(lineage.identity_score)}"
    )
    return page.text()


def _write_result(page: Page, result: ArtifactResult, options: ReportOptions) -> None:
    page.blank()
    findings = sorted(result.findings, key=lambda f: (_ORDER[f.status], _SEVERITY_ORDER[f.severity]))
    page.table(("rule", "answer", "why"), [(_rule(f), _answer(f), _why(f)) for f in findings], answers=1)
    open_ones = [f for f in findings if f.status in (Status.FAIL, Status.UNDECIDED) and f.remedy]
    if open_ones:
        page.section("What to do")
        for finding in open_ones:
            page.line(f"{_rule(finding)}: {finding.remedy}", indent=2)
    if result.lineages:
        page.section("Lineage")
        for lineage in result.lineages:
            _write_lineage(page, lineage)
    write_merge(page, result.merge, options)
    if options.verbose:
        _write_details(page, result, findings)
    if result.artifact.notes:
        page.section("Notes")
        for note in result.artifact.notes:
            page.line(note, indent=2)
    page.blank()
    page.line(cost_line(result.cost))


def _write_lineage(page: Page, lineage: Lineage) -> None:
    kinds = f" ({', '.join(lineage.kinds)})" if lineage.kinds else ""
    page.line(
        f"{lineage.base.id}: {lineage.relation.value}{kinds}, score {number_text(lineage.score)}, {_declared(lineage)}",
        indent=2,
    )
    page.line(_lineage_numbers(lineage), indent=4)
    if lineage.components:
        parts = ", ".join(f"{name} {part.relation.value}" for name, part in sorted(lineage.components.items()))
        page.line(f"components: {parts}", indent=4)
    page.line(lineage.reason, indent=4)
    if lineage.kin_of is not None:
        page.line(f"of the family of {lineage.kin_of}, and further away: a sibling or an ancestor of it", indent=4)


def write_merge(page: Page, merge: Merge | NotMeasured, options: ReportOptions) -> None:
    """Which bases the artifact was mixed from; nothing where a single base was compared."""
    if isinstance(merge, NotMeasured):
        return
    page.section("Mix")
    shares = ", ".join(f"{name} {weight:.3f}" for name, weight in sorted(merge.weights.items(), key=_by_weight))
    page.line(f"{merge.recipe}: {shares}; {merge.residual:.2%} of the weights left unexplained", indent=2)
    page.line(merge.reason, indent=2)
    if options.verbose:
        rows = [_mixture_row(mixture, merge.parents) for mixture in merge.mixtures]
        page.table(("place", "component", *merge.parents, "t", "left"), rows)


def _by_weight(item: tuple[str, float]) -> tuple[float, str]:
    return -item[1], item[0]


def _mixture_row(mixture: Mixture, parents: Sequence[str]) -> tuple[str, ...]:
    layers = dict(mixture.sources)
    shares = [
        f"{weight:.3f}" + (f" (layer {layers[name]})" if layers.get(name) not in (None, mixture.layer) else "")
        for name, weight in zip(parents, mixture.weights, strict=True)
    ]
    place = f"{mixture.stack} {mixture.layer}" if mixture.layer is not None else "outside"
    return place, mixture.component, *shares, "" if mixture.t is None else f"{mixture.t:.3f}", f"{mixture.residual:.2%}"


def _write_details(page: Page, result: ArtifactResult, findings: Sequence[Finding]) -> None:
    tree = render_tree(result.ancestry, result.lineages)
    if len(tree) > 1:
        page.section("Ancestry")
        for line in tree:
            page.line(line, indent=2)
    supported = [finding for finding in findings if finding.evidence]
    if supported:
        page.section("Evidence")
        for finding in supported:
            pairs = ", ".join(f"{name} {value}" for name, value in finding.evidence)
            page.line(f"{_rule(finding)}: {pairs}", indent=2)


def _rule(finding: Finding) -> str:
    return f"{finding.number} {finding.rule_id}"


def _answer(finding: Finding) -> str:
    answer = finding.status.value
    if finding.status in (Status.PASS, Status.WAIVED):
        return answer
    word = answer.upper()
    return word if finding.severity is Severity.ERROR else f"{word} ({finding.severity.value})"


def _why(finding: Finding) -> str:
    if finding.status is not Status.WAIVED or finding.waiver is None:
        return finding.message
    waiver = finding.waiver
    return f"{finding.message} Waived until {waiver.expires.isoformat()} by {waiver.approved_by}: {waiver.reason}" + (
        f" ({waiver.ticket})" if waiver.ticket else ""
    )


def _count_answers(findings: Sequence[Finding]) -> str:
    words = {
        Status.FAIL: "failed",
        Status.UNDECIDED: "undecided",
        Status.WAIVED: "waived",
        Status.PASS: "passed",
    }
    counts = [(sum(f.status is status for f in findings), word) for status, word in words.items()]
    return ", ".join(f"{count} {word}" for count, word in counts if count) or "no findings"


def _lineage_numbers(lineage: Lineage) -> str:
    test = f" ({lineage.test})" if lineage.test else ""
    return f"p-value {number_text(lineage.p_value)}{test}, inheritance {number_text(lineage.inheritance)}"


def _declared(lineage: Lineage) -> str:
    if not lineage.claims:
        return "not declared"
    return "declared in " + ", ".join(f"{c.source.path}:{c.source.line} ({c.source.field})" for c in lineage.claims)


def _by_stack(layers: Sequence[LayerMatch]) -> list[tuple[str, list[LayerMatch]]]:
    stacks: dict[str, list[LayerMatch]] = {}
    for match in layers:
        stacks.setdefault(match.stack, []).append(match)
    return sorted(stacks.items())


def _layer_summary(stack: str, matches: Sequence[LayerMatch]) -> str:
    mapped = [match.base_layer for match in matches if match.base_layer is not None]
    if not mapped:
        return f"{stack}: none of {len(matches)} layers comes from the base"
    if all(match.base_layer == match.layer for match in matches):
        return f"{stack}: {len(matches)} of {len(matches)} layers map in order"
    order = "in rising order" if mapped == sorted(mapped) else "out of order"
    repeats = len(mapped) - len(set(mapped))
    repeated = f", {repeats} repeated" if repeats else ""
    return f"{stack}: {len(mapped)} of {len(matches)} layers map to a layer of the base, {order}{repeated}"


def _layer_row(match: LayerMatch) -> tuple[str, str, str]:
    base = "none seen" if match.base_layer is None else str(match.base_layer)
    return f"{match.stack} {match.layer}", base, number_text(match.correlation)


def _signal_row(name: str, evidence: Evidence | None) -> tuple[str, str, str, str, str]:
    if evidence is None:
        return name, "not measured", "", "", "not compared in this run"
    match evidence.value:
        case NotMeasured(reason):
            return name, "not measured", evidence.method, evidence.null_level, reason
        case value:
            error = evidence.standard_error
            spread = "" if error is None else f"standard error {number_text(error)}"
            return name, number_text(value), evidence.method, evidence.null_level, spread


def cost_line(cost: ReadingCost) -> str:
    requests = f", {cost.requests} requests" if cost.requests else ""
    if cost.bytes_read >= cost.weight_bytes:
        # Small models are read whole, and their sampled rows once more.
        return f"Read all {_bytes(cost.weight_bytes)} of weights{requests}."
    share = f" ({100 * cost.bytes_read / cost.weight_bytes:.2g} %)"
    return f"Read {_bytes(cost.bytes_read)} of {_bytes(cost.weight_bytes)} of weights{share}{requests}."


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def number_text(value: float | NotMeasured) -> str:
    match value:
        case NotMeasured(reason):
            return f"not measured ({reason})"
        case number:
            return f"{number:.3g}"
