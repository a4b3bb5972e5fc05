"""PG304: a signed statement speaks for the artifact or its bases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from provenance_gate.policy.interface import Outcome, Subject
from provenance_gate.policy.rules.signed import PATH, judged
from provenance_gate.signing.interface import ATTESTED, STATEMENT_SUFFIXES, VERIFICATION_SUMMARY

_NAME: Final[Mapping[str, Any]] = {"type": "string", "minLength": 1, "maxLength": 300}


class Attested:
    """An in-toto statement that the policy's key has signed must speak about the artifact, or about each of its bases.

    By default the statement is a verification summary as this gate writes it (`--vsa`), and must say PASSED. It must cover
    all weight files by SHA-256 (`files: all`: every file). Signers wrap it in a DSSE envelope, found beside the model or
    at `statement`. Paths are relative to the policy file. A summary says that some policy passed: name that policy by
    `policy_sha256`, or a lenient one will do.

    - fail: there is no statement, the key did not sign it, it speaks about other bytes, says something else or less;
    - undecided: there are no files to be covered, as with a base that was not read.

    A file that is no envelope, or a missing package (extra `signing`), ends the run with exit code 3.
    """

    kind: Final = ATTESTED
    number: Final = "PG304"
    title: Final = "A signed statement speaks for the model"
    schema: Final[Mapping[str, Any]] = {
        "required": ["id", "rule", "key"],
        "properties": {
            "key": {"title": "Public key (PEM, Ed25519 or ECDSA) whose owner must have signed the statement", **PATH},
            "of": {
                "title": "About which models a statement is needed",
                "enum": ["artifact", "bases"],
                "default": "artifact",
            },
            "statement": {
                "title": "File with the envelope",
                "description": f"Default: files beside the model named *{', *'.join(STATEMENT_SUFFIXES)}.",
                **PATH,
            },
            "predicate_type": {
                "title": "What must be stated",
                "type": "string",
                "minLength": 1,
                "maxLength": 300,
                "default": VERIFICATION_SUMMARY,
            },
            "files": {"title": "Files to be covered", "enum": ["weights", "all"], "default": "weights"},
            "verifier": {"title": "Verifier that a verification summary must name", **_NAME},
            "policy_sha256": {
                "title": "Digest of the policy on which a verification summary must rest",
                "type": "string",
                "pattern": "^[0-9a-fA-F]{64}$",
            },
            "levels": {
                "title": "Words that a verification summary must list as verified",
                "type": "array",
                "items": _NAME,
                "minItems": 1,
                "uniqueItems": True,
            },
        },
    }

    def explain(self, options: Mapping[str, Any]) -> str:
        """What the rule with these options checks, in one plain sentence."""
        about = "each base" if options.get("of") == "bases" else "the model"
        files = "all files" if options.get("files") == "all" else "all weight files"
        asked = [f"{key} {options[key]}" for key in ("verifier", "policy_sha256") if key in options]
        asked += [f"levels {', '.join(options['levels'])}"] if "levels" in options else []
        more = f" ({'; '.join(asked)})" if asked else ""
        stated = options.get("predicate_type", VERIFICATION_SUMMARY)
        return f"A statement {stated}{more} about {files} of {about} must be signed by the key {options['key']}."

    def evaluate(self, options: Mapping[str, Any], subject: Subject) -> Sequence[Outcome]:
        """One outcome per model."""
        return judged(subject, "a statement speaks for the model, signed by", "give the files of the model (--base)")
