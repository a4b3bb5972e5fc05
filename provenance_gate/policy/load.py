"""YAML to `Policy`. Every fault is a PolicyError with file, line, column and the accepted choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any

from provenance_gate.artifact.yamlfile import Node, YamlError, load_yaml, position_of
from provenance_gate.data import data_dir
from provenance_gate.errors import PolicyError, one_line
from provenance_gate.policy.interface import Policy, RegistryDemands, RuleConfig, Severity, Undecided, Waiver
from provenance_gate.policy.schema import policy_schema, rule_schemas

MAX_BYTES = 1 << 20
MAX_EXTENDS = 8
BUILTIN = "builtin:"
_COMMON = frozenset({"id", "rule", "severity", "undecided", "description"})


@dataclass(frozen=True, slots=True)
class _File:
    """One policy file, read and checked."""

    name: str
    folder: Path
    data: bytes
    root: Node
    plain: Mapping[str, Any]

    def fault(self, message: str, *path: str | int) -> PolicyError:
        line, column = position_of(self.root, path)
        return PolicyError(message, file=self.name, line=line, column=column)


def load_policy(source: str) -> Policy:
    """Read ``builtin:NAME`` or a file, and all that it extends.

    The policy's `sha256` is over the SHA-256 digests (hex, a line each) of the extended files, in the order in which they are
    read, and of the file itself, last. A file that extends nothing has the digest of that one line.

    Raises
    ------
    PolicyError
        Not readable, not YAML, breaks the schema, an unknown rule in a waiver, a circle of `extends`, or no rule at all.
    """
    rules, waivers, digests, demands, file = _load(source, None, ())
    if not rules:
        raise PolicyError("no rules, neither here nor in what it extends", file=file.name)
    for waiver in waivers:
        if waiver.rule not in rules:
            raise PolicyError(
                f"waiver for unknown rule {one_line(waiver.rule)!r}{_choices(waiver.rule, sorted(rules))}",
                file=waiver.file,
                line=waiver.line,
            )
    return Policy(
        name=file.plain.get("name") or Path(file.name.removeprefix(BUILTIN)).stem,
        file=file.name,
        sha256=sha256("".join(f"{d}\n" for d in digests).encode()).hexdigest(),
        rules=tuple(rules.values()),
        waivers=tuple(waivers),
        undecided=Undecided(file.plain.get("undecided", "fail")),
        registries=_demands(demands),
    )


def _demands(said: list[Mapping[str, Any]]) -> RegistryDemands:
    """Damaged entries are skipped only where a policy says so and none of them refuses."""
    damaged = {d["damaged"] for d in said if "damaged" in d}
    return RegistryDemands(skip_damaged=damaged == {"skip"}, signed=any(d.get("signed", False) for d in said))


def _load(
    source: str, by: _File | None, chain: tuple[str, ...]
) -> tuple[dict[str, RuleConfig], list[Waiver], list[str], list[Mapping[str, Any]], _File]:
    file = _read(source, by)
    if file.name in chain or len(chain) >= MAX_EXTENDS:
        fault = "extends itself" if file.name in chain else f"extends more than {MAX_EXTENDS} files deep"
        raise PolicyError(f"{fault}: {' -> '.join((*chain, file.name))}", file=file.name)
    _check(file)
    extends = file.plain.get("extends", ())
    rules: dict[str, RuleConfig] = {}
    waivers: list[Waiver] = []
    digests: list[str] = []
    demands: list[Mapping[str, Any]] = [file.plain.get("registries") or {}]
    for parent in (extends,) if isinstance(extends, str) else extends:
        inherited, theirs, theirs_digests, theirs_demands, _ = _load(parent, file, (*chain, file.name))
        rules.update(inherited)
        waivers += theirs
        digests += theirs_digests
        demands += theirs_demands
    rules.update({rule.id: rule for rule in _rules(file)})
    waivers += _waivers(file)
    return rules, waivers, [*digests, sha256(file.data).hexdigest()], demands, file


def _read(source: str, by: _File | None) -> _File:
    where = by.name if by else source
    line, column = position_of(by.root, ["extends"]) if by else (None, None)
    if source.startswith(BUILTIN):
        folder = data_dir("policies")
        names = sorted(p.stem for p in folder.glob("*.yaml"))
        name = source.removeprefix(BUILTIN)
        if name not in names:
            message = f"no builtin policy {one_line(name)!r}{_choices(name, names)}"
            raise PolicyError(message, file=where, line=line, column=column)
        path, shown = folder / f"{name}.yaml", source
    elif "://" in source:
        raise PolicyError(f"{one_line(source)!r} is a URL; policies are files", file=where, line=line, column=column)
    else:
        path = (by.folder if by else Path()) / source
        shown = str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        message = f"cannot read the policy {one_line(source)!r}: {getattr(error, 'strerror', None) or error}"
        raise PolicyError(message, file=where, line=line, column=column) from error
    try:
        root = load_yaml(data.decode("utf-8"), shown)
    except UnicodeDecodeError as error:
        raise PolicyError(f"not UTF-8 at byte {error.start}", file=shown) from error
    except YamlError as error:
        raise PolicyError(error.problem, file=shown, line=error.line, column=error.column) from error
    plain = root.to_plain()
    if not isinstance(plain, dict):
        raise PolicyError("expected a mapping with version and rules", file=shown, line=root.line, column=root.column)
    return _File(shown, path.parent, data, root, plain)


def _check(file: _File) -> None:
    """All faults against the schema, the first in the file raised."""
    faults = [*_own_faults(file), *_rule_faults(file)]
    if faults:
        faults.sort(key=lambda f: (f.line or 0, f.column or 0))
        if len(faults) > 1:
            first = faults[0]
            text = str(first).removeprefix(f"{first.file}:{first.line}:{first.column}: ")
            more = f"{text} (and {len(faults) - 1} more)"
            raise PolicyError(more, file=first.file, line=first.line, column=first.column)
        raise faults[0]


def _own_faults(file: _File) -> list[PolicyError]:
    schema = policy_schema()
    # Entries under `rules` are checked by kind, where a fault can say more than that no branch of `oneOf` fits.
    schema["properties"] = {**schema["properties"], "rules": {"type": "array", "items": {"type": "object"}}}
    return _faults(file, schema, file.plain, ())


def _rule_faults(file: _File) -> list[PolicyError]:
    entries = file.plain.get("rules")
    if not isinstance(entries, list):
        return []
    schemas = rule_schemas()
    faults: list[PolicyError] = []
    seen: set[str] = set()
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            continue
        at = ("rules", number)
        kind = entry.get("rule")
        if not isinstance(kind, str) or kind not in schemas:
            said = "no `rule`" if kind is None else f"unknown rule {one_line(str(kind), 60)!r}"
            faults.append(file.fault(f"{said}{_choices(str(kind), sorted(schemas))}", *at, "rule"))
            continue
        if not entry.get("allow", True) and not entry.get("deny"):
            faults.append(file.fault("allow and deny are both empty: the rule would check nothing", *at, "allow"))
        faults += _faults(file, schemas[kind], entry, at)
        if isinstance(entry.get("id"), str):
            if entry["id"] in seen:
                faults.append(file.fault(f"duplicate rule id {one_line(entry['id'])!r}", *at, "id"))
            seen.add(entry["id"])
    return faults


def _faults(file: _File, schema: Mapping[str, Any], value: Any, at: tuple[str | int, ...]) -> list[PolicyError]:
    import jsonschema

    errors = jsonschema.Draft202012Validator(schema).iter_errors(value)
    return [file.fault(*_worded(error, schema, at)) for error in errors]


def _worded(error: Any, schema: Mapping[str, Any], at: tuple[str | int, ...]) -> tuple[Any, ...]:
    """A fault in the policy author's words, and its path."""
    path = (*at, *error.absolute_path)
    field = str(error.absolute_path[-1]) if error.absolute_path else "policy"
    found = one_line(repr(error.instance), 60)
    match error.validator:
        case "additionalProperties":
            known = sorted(error.schema.get("properties", {}))
            key = next(k for k in error.instance if k not in known)
            return (f"unknown key {one_line(str(key), 60)!r}{_choices(str(key), known)}", *path, key)
        case "required":
            key = next(k for k in error.validator_value if k not in error.instance)
            return (f"missing key {key!r}", *path)
        case "enum":
            return (f"{field}: {found}{_choices(str(error.instance), [str(v) for v in error.validator_value])}", *path)
        case "const":
            return (f"{field}: {found}; accepted: {error.validator_value}", *path)
        case "minimum" | "maximum":
            return (f"{field}: {found} is outside of [{error.schema['minimum']}, {error.schema['maximum']}]", *path)
        case "type":
            wanted = (
                error.validator_value if isinstance(error.validator_value, str) else " or ".join(error.validator_value)
            )
            return (f"{field}: expected {wanted}, found {found}", *path)
        case "minItems":
            return (f"{field}: the list is empty", *path)
        case "oneOf" if all("required" in branch for branch in error.validator_value):
            keys = " or ".join(repr(key) for branch in error.validator_value for key in branch["required"])
            return (f"expected exactly one of the keys {keys}", *path)
        case "anyOf":
            return ("allow and deny are both missing: the rule would check nothing", *path)
        case _:
            return (f"{field}: {one_line(error.message, 160)}", *path)


def _choices(word: str, accepted: list[str]) -> str:
    close = get_close_matches(word, accepted, n=1, cutoff=0.5)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"{hint}; accepted: {', '.join(accepted)}"


def _rules(file: _File) -> list[RuleConfig]:
    default = file.plain.get("undecided", "fail")
    rules = []
    for number, entry in enumerate(file.plain.get("rules") or ()):
        line, _ = position_of(file.root, ["rules", number])
        rules.append(
            RuleConfig(
                id=entry["id"],
                kind=entry["rule"],
                severity=Severity(entry.get("severity", "error")),
                undecided=Undecided(entry.get("undecided", default)),
                options={k: v for k, v in entry.items() if k not in _COMMON},
                file=file.name,
                line=line,
            )
        )
    return rules


def _waivers(file: _File) -> list[Waiver]:
    waivers = []
    for number, entry in enumerate(file.plain.get("waivers") or ()):
        line, _ = position_of(file.root, ["waivers", number])
        try:
            expires = date.fromisoformat(entry["expires"])
        except ValueError as error:
            raise file.fault(
                f"expires: {one_line(repr(entry['expires']))} is no date", "waivers", number, "expires"
            ) from error
        waivers.append(
            Waiver(
                rule=entry["rule"],
                artifact=entry["artifact"],
                reason=entry["reason"],
                approved_by=entry["approved_by"],
                expires=expires,
                ticket=entry.get("ticket"),
                file=file.name,
                line=line,
            )
        )
    return waivers
