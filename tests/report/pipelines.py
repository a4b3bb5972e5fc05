"""Reports for the tests of the formats for pipelines: `build`'s, with hostile text in every place that takes any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

from hypothesis import strategies as st

from provenance_gate.artifact.interface import BaseClaim, ClaimSource, FileKind
from provenance_gate.lineage.interface import LicenseTerm
from provenance_gate.policy.interface import Finding, Severity, Status, Undecided, Verdict, Waiver
from provenance_gate.report.interface import Report

from . import build

NASTY = (
    build.HOSTILE,
    "%0A::error::x",
    "::stop-commands::x",
    "##[add-mask]x",
    "##vso[task.setvariable variable=PATH]x",
    "a ]]> b & <![CDATA[",
    "<script>alert(1)</script>",
    "@everyone @octocat a@b.example",
    "![x](http://evil.example/a.png) [y](javascript:alert(1)) <http://e.example>",
    "https://evil.example www.evil.example #1 GH-2 org/repo#3 :smile: $x$ `code` **b** _i_ ~~s~~",
    "| a | b |\n| - | - |",
    "\\| \\` \\n \\",
    "\u202egnp.exe\u2066\u200b\ufeff",
    "\ud800 \udc80 \x00\x1b[2J\x85\u2028",
    "../../etc/passwd",
    "//evil.example/x",
    "{0} %s $(id) `id` ${{ github.token }}",
    "&amp; &#64; &lt;b&gt;",
    "x" * 100_000,
    "@" * 100_000,
    "\U0001f600 é 漢",
)
ANY_TEXT = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(), max_size=60),
    st.lists(st.sampled_from((*(n[:80] for n in NASTY), "::", "##", "\n", "\r", "%", ",", ":")), max_size=4).map(
        "".join
    ),
)


def any_report(text: str, status: Status = Status.FAIL, severity: Severity = Severity.ERROR) -> Report:
    """A report whose every free text is `text`: names, paths, rule, message, license, waiver, notes."""
    path = PurePosixPath(text.replace("\0", "0") or "x")
    claim = BaseClaim(text, text, text, ClaimSource(path, 3, text))
    files = (replace(build.file("x", FileKind.WEIGHTS), path=path), build.file("README.md", FileKind.CARD))
    subject = build.artifact(text, (claim,), (build.license_claim(text, text),), files, (text,))
    waiver = Waiver(text, text, text, text, build.WAIVER.expires, text, text, 1)
    base = build.finding(status=status, severity=severity, message=text, remedy=text, key=text)
    found = replace(
        base,
        rule_id=text,
        title=text,
        evidence=((text, text),),
        policy_file=text,
        location=claim.source,
        waiver=waiver if status is Status.WAIVED else None,
    )
    nodes = (build.ancestor(text, (text, text), licenses=(LicenseTerm(text, None, text, "unknown"),)),)
    lineage = replace(build.derived(text, (claim,)), kinds=(text,), reason=text, test=text)
    verdict = Verdict.FAIL if status is Status.FAIL else Verdict.PASS
    made = build.report(build.result(subject, (lineage,), nodes, (found,), verdict, f"pkg:generic/{text}"))
    return replace(made, policy=replace(made.policy, name=text, file=text), tool_version=text)


def with_findings(*findings: Finding, verdict: Verdict = Verdict.FAIL) -> Report:
    """A report of one artifact with these findings."""
    return build.report(build.result(build.artifact(), (), (), findings, verdict))


def failed(number: int = 0, severity: Severity = Severity.ERROR, status: Status = Status.FAIL) -> Finding:
    """One of many findings that differ in their key."""
    return build.finding(
        status=status, severity=severity, message=f"Matter {number}.", remedy="Do it.", key=f"matter {number}"
    )


def undecided(meaning: Undecided, severity: Severity = Severity.ERROR) -> Finding:
    """An open question, and what its rule says of such."""
    return replace(failed(0, severity, Status.UNDECIDED), undecided=meaning)
