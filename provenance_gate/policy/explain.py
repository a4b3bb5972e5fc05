"""A policy in plain words, and a commented one to start from."""

from __future__ import annotations

import json
from shlex import quote

from provenance_gate.errors import one_line
from provenance_gate.policy.interface import Policy, RuleConfig, Undecided
from provenance_gate.policy.rules import RULES

_UNDECIDED = {
    Undecided.FAIL: "an open question fails it",
    Undecided.WARN: "an open question is a warning",
    Undecided.PASS: "an open question is only reported",
}


def explain(policy: Policy) -> str:
    """What the policy would check, rule by rule, and which waivers it grants."""
    lines = [f"Policy {one_line(policy.name)} ({one_line(policy.file)}), sha256 {policy.sha256}", ""]
    for rule in policy.rules:
        lines += [*_rule(rule), ""]
    if policy.registries.signed:
        lines += ["Registries must be signed.", ""]
    if policy.registries.skip_damaged:
        lines += ["Damaged entries of registries are left out and listed.", ""]
    for waiver in policy.waivers:
        lines.append(
            f"Waived until {waiver.expires.isoformat()}: {one_line(waiver.rule)} for {one_line(waiver.artifact)}, "
            f"approved by {one_line(waiver.approved_by)}: {one_line(waiver.reason)}"
        )
    if not policy.waivers:
        lines.append("No waivers.")
    return "\n".join(lines) + "\n"


def _rule(config: RuleConfig) -> list[str]:
    rule = next(r for r in RULES if r.kind == config.kind)
    return [
        f"{rule.number} {config.id} ({config.severity.value}; {_UNDECIDED[config.undecided]})",
        f"    {one_line(rule.explain(config.options), 2000)}",
        f"    from {one_line(config.file)}, line {config.line}",
    ]


STARTER = """\
# Policy of provenance-gate. Check it:   provenance-gate policy validate {name}
# See it in plain words:                 provenance-gate policy explain {name}
# All rules and keys:                    provenance-gate policy reference
version: 1
name: {title}

# Start from a builtin policy: baseline (claims must be true, no pickles), release (also no non-commercial ancestry),
# strict (also permissive licenses and safetensors only). metadata reads no weights: for commits.
extends: builtin:release

# What an error-level rule means that could not be decided: fail (default), warn or pass.
undecided: fail

rules:
  # A rule with the id of an inherited one replaces it.
  - id: declared-base-is-real
    rule: declared-base
    min_score: 0.70

  # The same with a declaration required: a model that names no base fails.
  # - id: declared-base-is-real
  #   rule: declared-base
  #   require_declaration: true

  # Families, publishers or models that nothing may descend from:
  # - id: no-restricted-origin
  #   rule: origin
  #   deny: ["family:example--family", "publisher:Example", "org/name*"]

  # Licenses that nothing may inherit, by SPDX id, glob or category:
  # - id: no-copyleft-ancestry
  #   rule: license
  #   deny: ["category:copyleft", "cc-by-nc-*"]

  # File formats, as a warning only:
  # - id: prefer-safetensors
  #   rule: format
  #   allow: [safetensors]
  #   severity: warning

  # An OpenSSF model signature over all files (pip install 'provenance-gate[model-signing]'); paths start from this file:
  # - id: signed-by-release
  #   rule: signed
  #   key: release.pub

# A dated exception. All five keys are required; after `expires` the finding counts again.
# waivers:
#   - rule: no-non-commercial-ancestry
#     artifact: "legacy-*"
#     reason: "Legal review LR-123"
#     approved_by: "legal@company.example"
#     expires: 2027-01-31
"""


def starter(path: str) -> str:
    """A commented policy that can be written to `path`, in a folder or not."""
    stem = path.replace("\\", "/").rsplit("/", 1)[-1].split(".")[0]
    title = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in stem) or "policy"
    return STARTER.format(name=quote(one_line(path, 4096)), title=json.dumps(title[:100]))
