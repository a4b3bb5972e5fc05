"""The JSON Schema of policies, made from the rules themselves so that the two cannot differ."""

from __future__ import annotations

from typing import Any

from provenance_gate.policy.interface import Severity, Undecided
from provenance_gate.policy.rules import RULES

_UNDECIDED = {
    "title": "What an answer that could not be decided means",
    "description": "fail: it fails the run (default); warn: it is reported as a warning; pass: it is reported only.",
    "enum": [u.value for u in Undecided],
}
_TEXT = {"type": "string", "minLength": 1, "maxLength": 500}


def policy_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a policy file."""
    source = {
        "type": "string",
        "minLength": 1,
        "description": "builtin:baseline, builtin:metadata, builtin:release, builtin:strict, or a file.",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:provenance-gate:schema:policy:1",
        "title": "provenance-gate policy",
        "type": "object",
        "required": ["version"],
        "additionalProperties": False,
        "properties": {
            "version": {"description": "Version of the policy language.", "const": 1},
            "name": {**_TEXT, "description": "What reports call this policy; default: the file name."},
            "extends": {
                "description": "Rules to start from. A rule here replaces an inherited one with the same id.",
                "oneOf": [source, {"type": "array", "items": source, "minItems": 1}],
            },
            "undecided": {**_UNDECIDED, "default": "fail"},
            "registries": {
                "description": "What is asked of registries; of an extended policy, the stricter demand holds.",
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "damaged": {
                        "title": "What an entry that cannot be believed means",
                        "description": "fail: the run ends (default); skip: the entry is left out, and the report lists it.",
                        "enum": ["fail", "skip"],
                    },
                    "signed": {
                        "title": "Registries must be signed",
                        "description": "Whether every registry of --registry must carry a signature by a --registry-key.",
                        "type": "boolean",
                    },
                },
            },
            "rules": {"type": "array", "items": {"oneOf": [_rule_schema(r.kind) for r in RULES]}},
            "waivers": {"type": "array", "items": _waiver_schema()},
        },
    }


def _rule_schema(kind: str) -> dict[str, Any]:
    rule = next(r for r in RULES if r.kind == kind)
    options = dict(rule.schema)
    own = options.pop("properties", {})
    common = {
        "id": {
            "type": "string",
            "pattern": "^[a-z0-9][a-z0-9-]{0,62}$",
            "description": "Name of this rule in reports and waivers.",
        },
        "rule": {"const": kind},
        "severity": {"enum": [s.value for s in Severity], "default": "error"},
        "undecided": _UNDECIDED,
        "description": _TEXT,
    }
    return {
        "title": rule.title,
        "description": (type(rule).__doc__ or "").strip().split("\n", 1)[0],
        "type": "object",
        "required": ["id", "rule"],
        "additionalProperties": False,
        "properties": {**common, **own},
        **options,
    }


def rule_schemas() -> dict[str, dict[str, Any]]:
    """The schema of one entry under `rules:`, by kind: for errors that speak about the right kind only."""
    return {rule.kind: _rule_schema(rule.kind) for rule in RULES}


def _waiver_schema() -> dict[str, Any]:
    return {
        "description": "A dated exception, with an owner and a reason.",
        "type": "object",
        "required": ["rule", "artifact", "reason", "approved_by", "expires"],
        "additionalProperties": False,
        "properties": {
            "rule": {**_TEXT, "description": "Id of the waived rule."},
            "artifact": {**_TEXT, "description": "Name of the artifact, or a glob."},
            "reason": _TEXT,
            "approved_by": _TEXT,
            "expires": {
                "type": "string",
                "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
                "description": "Last valid day, UTC: YYYY-MM-DD.",
            },
            "ticket": _TEXT,
        },
    }
