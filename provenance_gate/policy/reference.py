"""The reference of the policy language as a page of Markdown, made from the schema, the rules and the builtin policies.

``provenance-gate policy reference -o docs/policy.md`` renews the page; a test fails where it is stale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from inspect import cleandoc
from typing import Any, Final

from provenance_gate.data import data_dir
from provenance_gate.policy.baseline import RESOLVED
from provenance_gate.policy.evaluate import EXPIRED, UNUSED
from provenance_gate.policy.interface import Policy, Rule, RuleConfig
from provenance_gate.policy.load import BUILTIN, MAX_BYTES, MAX_EXTENDS, load_policy
from provenance_gate.policy.rules import RULES
from provenance_gate.policy.schema import policy_schema, rule_schemas

_COMMON: Final = ("id", "rule", "severity", "undecided", "description")
_ORDER: Final = ("baseline", "metadata", "release", "strict")

_HEAD: Final = """\
<!-- Made by `provenance-gate policy reference -o docs/policy.md` from the schema and the rules. Edit those. -->
# Policies

A policy is a YAML file. It says which rules a model has to keep, how heavy each one weighs, and which exceptions somebody
answers for.

```yaml
version: 1
name: release
extends: builtin:release
undecided: fail
rules:
  - id: no-restricted-origin
    rule: origin
    deny: ["family:example--family", "publisher:Example", "org/name*"]
waivers:
  - rule: no-restricted-origin
    artifact: "acme/legacy-*"
    reason: "Legal review LR-123"
    approved_by: "legal@acme.example"
    expires: 2027-01-31
```

`provenance-gate policy init` writes one to start from, `policy validate FILE` checks it, `policy explain FILE` says in plain
words what it asks, and `policy schema` prints the JSON Schema for editors.
"""

_READING: Final = f"""\
Unknown keys, unknown rules, two rules with one id and values out of range are errors with file, line and column (exit code
2). A file has at most {MAX_BYTES >> 20} MiB. `extends` goes at most {MAX_EXTENDS} files deep; paths start from the file that
names them, and a URL is refused.
"""

_ANSWERS: Final = """\
## Answers

| Answer | Means | Fails the run |
| --- | --- | --- |
| pass | what the rule asks was seen, or there was nothing to ask; the message says which | no |
| fail | the opposite was seen | when the rule weighs as much as `--fail-on` or more |
| undecided | it could not be seen, or the evidence lies in between | as `undecided` says |
| waived | it failed or was undecided, and a waiver that is still valid covers it | no |

`severity` is the weight of a rule: `error` (default), `warning`, `note`. `--fail-on` is `error` unless told otherwise.

`undecided` of the policy, or of one rule: with `fail` an open question weighs like a failure, with `warn` at most like a
warning, with `pass` it is only reported. A base whose weights could not be measured is undecided, never a pass.
"""

_WAIVERS: Final = f"""\
A waiver covers every fail and every undecided answer of its rule for the artifacts that it names, through its last day. Names
come from the command line (the folder's name, the hub id), never from the model's files.

| Number | Finding | Severity |
| --- | --- | --- |
| {EXPIRED} | a waiver has expired, and its rule still does not pass | error |
| {UNUSED} | nothing needs a waiver | note |
| {RESOLVED} | nothing needs an entry of the [baseline](reports.md#baselines) | note |
"""

_WAIVER_KEYS: Final = {
    "reason": "Why the finding may stand",
    "approved_by": "Who answers for that",
    "ticket": "Where it was discussed",
}


def reference() -> str:
    """The page. It depends on nothing but this package, and is the same on every run."""
    schema = policy_schema()
    keys: dict[str, Any] = {k: v for k, v in schema["properties"].items() if k not in ("rules", "waivers")}
    keys["rules"] = {"type": "array", "description": "What is asked: [one entry per rule](#rules)."}
    keys["waivers"] = {"type": "array", "description": "Dated exceptions: [below](#waivers)."}
    waiver = schema["properties"]["waivers"]["items"]
    dated = {key: {"description": _WAIVER_KEYS.get(key), **value} for key, value in waiver["properties"].items()}
    builtins = [load_policy(f"{BUILTIN}{name}") for name in _builtin_names()]
    parts = [
        _HEAD,
        "## The file\n\n" + _table(keys, schema["required"]),
        _READING,
        "## Builtin policies\n\n" + _builtin_table(builtins),
        _ANSWERS,
        "## Waivers\n\n" + _table(dated, waiver["required"]),
        _WAIVERS,
        "## Rules\n\nEvery entry has these keys, and those of its kind:\n\n" + _common_table(),
        *(_rule(rule, builtins) for rule in sorted(RULES, key=lambda r: r.number)),
    ]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _builtin_names() -> list[str]:
    """Names of the builtin policies, from the mildest to the strictest, others after them."""
    names = sorted(path.stem for path in data_dir("policies").glob("*.yaml"))
    return sorted(names, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))


def _builtin_table(policies: Sequence[Policy]) -> str:
    lines = ["| Policy | Rules | Undecided |", "| --- | --- | --- |"]
    for policy in policies:
        names = ", ".join(f"`{rule.id}` ({_number(rule)})" for rule in policy.rules)
        lines.append(f"| `{policy.file}` | {names} | {policy.undecided.value} |")
    return "\n".join(lines) + "\n"


def _number(config: RuleConfig) -> str:
    return next(rule.number for rule in RULES if rule.kind == config.kind)


def _common_table() -> str:
    common = next(iter(rule_schemas().values()))["properties"]
    keys = {key: common[key] for key in _COMMON}
    keys["rule"] = {"type": "string", "description": "The kind of rule: one of the names below."}
    keys["severity"] = {**keys["severity"], "description": "How much the rule weighs."}
    keys["undecided"] = {**keys["undecided"], "title": "As for the policy, for this rule alone"}
    keys["undecided"].pop("description")
    keys["description"] = {**keys["description"], "description": "A remark for readers of the policy."}
    return _table(keys, ("id", "rule"))


def _rule(rule: Rule, builtins: Sequence[Policy]) -> str:
    lines = [f"### {rule.number} `{rule.kind}`", "", f"*{rule.title}.*", "", cleandoc(type(rule).__doc__ or ""), ""]
    own: Mapping[str, Any] = rule.schema.get("properties", {})
    if own:
        required = [key for key in rule.schema.get("required", ()) if key not in _COMMON]
        lines += [_table(own, required)]
    for word, joined in (("anyOf", "At least one"), ("oneOf", "Exactly one")):
        names = [f"`{key}`" for branch in rule.schema.get(word, ()) for key in branch.get("required", ())]
        if names:
            lines += [f"{joined} of {', '.join(names)} is needed.", ""]
    uses = [(policy, config) for policy in builtins for config in policy.rules if config.kind == rule.kind]
    lines += _uses(rule, uses)
    return "\n".join(lines)


def _uses(rule: Rule, uses: Sequence[tuple[Policy, RuleConfig]]) -> Iterator[str]:
    """Where builtin policies use a rule, and what it asks there; policies that ask the same stand in one line."""
    said: dict[tuple[str, str], list[str]] = {}
    for policy, config in uses:
        weight = "" if config.severity.value == "error" else f" ({config.severity.value})"
        said.setdefault((f"`{config.id}`{weight}", rule.explain(config.options)), []).append(f"`{policy.file}`")
    if not said:
        yield "In no builtin policy."
    for (name, sentence), policies in said.items():
        yield f"- {name} of {', '.join(policies)}: {_literal(sentence)}"


def _table(properties: Mapping[str, Any], required: Sequence[str] = ()) -> str:
    lines = ["| Key | Accepts | Default | Meaning |", "| --- | --- | --- | --- |"]
    for key, accepted, default, meaning in _rows(properties, required, ""):
        lines.append(f"| `{key}` | {_cell(accepted)} | {default} | {_cell(meaning)} |")
    return "\n".join(lines) + "\n"


def _rows(properties: Mapping[str, Any], required: Sequence[str], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for key, schema in properties.items():
        default = "required" if key in required else ""
        if "default" in schema:
            default = _value(schema["default"])
        inner = schema.get("properties", {})
        yield f"{prefix}{key}", _accepts(schema), default, _meaning(schema)
        if inner and not _is_table(inner):
            yield from _rows(inner, schema.get("required", ()), f"{prefix}{key}.")


def _is_table(properties: Mapping[str, Any]) -> bool:
    """Whether all values of a mapping are of one kind: then its keys are listed in one row."""
    kinds = list(properties.values())
    return len(kinds) > 1 and all(kind == kinds[0] for kind in kinds)


def _accepts(schema: Mapping[str, Any]) -> str:
    """What a value may be, in a few words."""
    if "enum" in schema:
        return ", ".join(_value(choice) for choice in schema["enum"])
    if "const" in schema:
        return _value(schema["const"])
    if "oneOf" in schema:
        return " or ".join(_accepts(choice) for choice in schema["oneOf"])
    match schema.get("type"):
        case "array":
            items = schema.get("items")
            return f"list of {_accepts(items)}".replace("number,", "numbers,") if items else "list"
        case "object":
            inner = schema.get("properties", {})
            if _is_table(inner):
                names = ", ".join(f"`{name}`" for name in inner)
                return f"mapping from {names} to {_accepts(next(iter(inner.values())))}"
            return "mapping"
        case "boolean":
            return "`true`, `false`"
        case "number" | "integer" as kind:
            word = "number" if kind == "number" else "whole number"
            return f"{word}, {schema['minimum']} to {schema['maximum']}" if "maximum" in schema else word
        case _:
            return "text"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:.2f}`" if 0 < value < 1 else f"`{value:g}`"
    if isinstance(value, list | tuple):
        return f"`[{', '.join(str(item) for item in value)}]`"
    return f"`{value}`"


def _meaning(schema: Mapping[str, Any]) -> str:
    said = [schema[key].rstrip(".") for key in ("title", "description") if schema.get(key)]
    return _literal(". ".join(said))


def _literal(text: str) -> str:
    """`text` without emphasis: stars outside of backticks stand for themselves."""
    parts = text.split("`")
    return "`".join(part.replace("*", r"\*") if n % 2 == 0 else part for n, part in enumerate(parts))


def _cell(text: str) -> str:
    """`text` for a cell of a table: nothing in it can end the cell."""
    return text.replace("\\|", "|").replace("|", "\\|")
