"""Whether a BOM may be written: the schema of its version, then what the schema does not see.

The schema check misses repeated bom-refs, references to nothing and a model card on something that is no model; without the
library's `json-validation` extra it also leaves addresses and times unchecked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from provenance_gate.errors import ReportError
from provenance_gate.report.cyclonedx.identifiers import Body, is_safe_url, parse_purl

VERSIONS = ("1.6", "1.7")

_DATE_TIME = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?"
    r"(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_FILES_AT_ONCE = 50
_TIMES = frozenset({"timestamp", "created", "expires"})


def validate_bom(body: Body) -> None:
    """Raise `ReportError` with the first fault of `body`, if it has one."""
    fault = _schema_fault(body) or next(_own_faults(body), None)
    if fault is not None:
        raise ReportError(f"the CycloneDX BOM is not valid and was not written: {fault}")


def _schema_fault(body: Body) -> str | None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    version = body.get("specVersion")
    if version not in VERSIONS:
        return f"specVersion is {version!r}, expected one of {', '.join(VERSIONS)}"
    validator = JsonStrictValidator(SchemaVersion[f"V{version.replace('.', '_')}"])
    for place, part in _schema_parts(body):
        error = validator.validate_str(json.dumps(part))
        if error is not None:
            inner = "".join(f"/{step}" for step in error.data.absolute_path)
            return f"{place}{inner}: {error.data.message}"
    return None


def _schema_parts(body: Body) -> Iterator[tuple[str, Body]]:
    """`body` with at most `_FILES_AT_ONCE` files a component, then the other files as BOMs of their own.

    The library compares the items of a list pairwise to find equal ones, which for 100,000 files takes hours. Files in
    different parts differ because their bom-refs do, and those are checked over the whole.
    """
    shortened, rest = [], []
    for index, component in enumerate(body.get("components", [])):
        files = component.get("components", [])
        if len(files) <= _FILES_AT_ONCE:
            shortened.append(component)
            continue
        shortened.append({**component, "components": files[:_FILES_AT_ONCE]})
        for start in range(_FILES_AT_ONCE, len(files), _FILES_AT_ONCE):
            place = f"/components/{index}/components[{start}:]"
            rest.append((place, files[start : start + _FILES_AT_ONCE]))
    yield "", {**body, "components": shortened}
    for place, files in rest:
        yield place, {"bomFormat": "CycloneDX", "specVersion": body["specVersion"], "version": 1, "components": files}


def _own_faults(body: Body) -> Iterator[str]:
    nodes = list(_objects(body, ""))
    yield from _repeated_refs(nodes)
    yield from _dangling(body, nodes)
    for place, node in nodes:
        if "modelCard" in node and node.get("type") != "machine-learning-model":
            yield f"{place}: a modelCard on a component of type {node.get('type')!r}"
    yield from _malformed(nodes)
    for index, citation in enumerate(body.get("citations", [])):
        for pointer in citation.get("pointers", []):
            if not _resolves(body, pointer):
                yield f"/citations/{index}: the pointer {pointer!r} leads nowhere"


def _objects(value: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every JSON object below `value` with its JSON pointer."""
    if isinstance(value, dict):
        yield place, value
        for key, item in value.items():
            yield from _objects(item, f"{place}/{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _objects(item, f"{place}/{index}")


def _repeated_refs(nodes: list[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    first: dict[str, str] = {}
    for place, node in nodes:
        ref = node.get("bom-ref")
        if ref is None:
            continue
        if ref in first:
            yield f"{place}: the bom-ref {ref!r} is already that of {first[ref]}"
        first.setdefault(ref, place)


def _dangling(body: Body, nodes: list[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    everything = {node["bom-ref"] for _, node in nodes if "bom-ref" in node}
    declared = body.get("declarations", {})
    assessors, claims, evidence = (
        {item["bom-ref"] for item in declared.get(key, []) if "bom-ref" in item}
        for key in ("assessors", "claims", "evidence")
    )
    requirements = {
        requirement["bom-ref"]
        for standard in body.get("definitions", {}).get("standards", [])
        for requirement in standard.get("requirements", [])
        if "bom-ref" in requirement
    }
    for place, key, ref in _references(nodes):
        match key:
            case "assessor":
                known, kind = assessors, "assessor"
            case "requirement":
                known, kind = requirements, "requirement"
            case "claims" | "counterClaims":
                known, kind = claims, "claim"
            case "mitigationStrategies" | "evidence" | "counterEvidence":
                known, kind = evidence, "evidence"
            case _:
                known, kind = everything, "bom-ref"
        if ref not in known:
            yield f"{place}/{key}: no {kind} is called {ref!r}"


_REFERENCES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern), keys)
    for pattern, keys in (
        (r"/dependencies/\d+", ("ref", "dependsOn", "provides")),
        (r"/compositions/\d+", ("assemblies", "dependencies", "vulnerabilities")),
        (r"/declarations/attestations/\d+", ("assessor",)),
        (r"/declarations/attestations/\d+/map/\d+", ("requirement", "claims", "counterClaims")),
        (r"/declarations/attestations/\d+/map/\d+/conformance", ("mitigationStrategies",)),
        (r"/declarations/claims/\d+", ("target", "evidence", "counterEvidence", "mitigationStrategies")),
        (r"/definitions/standards/\d+/requirements/\d+", ("parent",)),
        (r"/definitions/standards/\d+/levels/\d+", ("requirements",)),
        (r"/citations/\d+", ("attributedTo", "process")),
        (r".*/evidence/identity(?:/\d+)?", ("tools",)),
    )
)
"""Which keys of which objects hold bom-refs."""


def _references(nodes: list[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[str, str, str]]:
    for place, node in nodes:
        for pattern, keys in _REFERENCES:
            if pattern.fullmatch(place) is None:
                continue
            for key in keys:
                value = node.get(key, [])
                for ref in [value] if isinstance(value, str) else value:
                    yield place, key, ref


def _malformed(nodes: list[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    checks: dict[str, Callable[[str], bool]] = {
        "url": is_safe_url,
        "purl": lambda purl: parse_purl(purl) is not None,
        **dict.fromkeys(_TIMES, lambda text: _DATE_TIME.fullmatch(text) is not None),
    }
    for place, node in nodes:
        for key, is_well_formed in checks.items():
            value = node.get(key)
            if isinstance(value, str) and not is_well_formed(value):
                yield f"{place}/{key}: {value!r} is malformed"


def _resolves(body: Body, pointer: str) -> bool:
    value: Any = body
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        elif isinstance(value, dict) and name in value:
            value = value[name]
        else:
            return False
    return pointer.startswith("/")
