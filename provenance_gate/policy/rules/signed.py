"""PG303: the artifact carries a signature by whom the policy names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import one_line
from provenance_gate.policy.interface import Outcome, Status, Subject
from provenance_gate.policy.wording import exact, shown
from provenance_gate.signing.interface import SIGNATURE_FILE, SIGNED, Refused, Verification, Verified

PATH: Final[Mapping[str, Any]] = {"type": "string", "minLength": 1, "maxLength": 500}
_WITHIN: Final[Mapping[str, Any]] = {**PATH, "pattern": r"^(?!/)(?!(.*/)?\.\.(/|$)).+$"}
_NAME: Final[Mapping[str, Any]] = {"type": "string", "minLength": 1, "maxLength": 300}


def _object(required: Sequence[str], properties: Mapping[str, Any], title: str) -> dict[str, Any]:
    return {
        "title": title,
        "type": "object",
        "required": list(required),
        "additionalProperties": False,
        "properties": dict(properties),
    }


class Signed:
    """The artifact must carry an OpenSSF model signature by the key, certificate or identity that the policy names.

    The signature covers every file of the folder: weights always, other files unless `unsigned` excuses them. It says who
    released these bytes, nothing about where they come from. Paths are relative to the policy file.

    - fail: there is no signature, somebody else made it, a file was changed, added, removed or left out;
    - undecided: the artifact is remote, or consists of links of the hub's cache.

    A signature that cannot be read, or a missing package (extra `model-signing`), ends the run with exit code 3.
    """

    kind: Final = SIGNED
    number: Final = "PG303"
    title: Final = "The model is signed by whom the policy names"
    schema: Final[Mapping[str, Any]] = {
        "properties": {
            "key": {"title": "Public key (PEM, ECDSA) whose owner must have signed", **PATH},
            "certificate": _object(
                ["chain"],
                {
                    "chain": {
                        "title": "PEM file with the certificates of whoever issued the signing certificate",
                        **PATH,
                    }
                },
                "Certificates to which the signer's certificate must lead",
            ),
            "sigstore": _object(
                ["identity", "issuer"],
                {
                    "identity": {"title": "Who must have signed, as an address or the URL of a workflow", **_NAME},
                    "issuer": {"title": "OpenID Connect issuer that vouches for the identity", **_NAME},
                    "trust_config": {
                        "title": "Client trust configuration, default: of the public good instance, fetched",
                        **PATH,
                    },
                },
                "Identity that must have signed through Sigstore",
            ),
            "signature": {
                "title": "File with the signature, within the artifact's folder",
                "default": SIGNATURE_FILE,
                **_WITHIN,
            },
            "unsigned": {
                "title": "Files and folders of the artifact that need not be signed; weights always must",
                "type": "array",
                "items": _WITHIN,
                "uniqueItems": True,
                "maxItems": 100,
                "default": [],
            },
        },
        "oneOf": [{"required": ["key"]}, {"required": ["certificate"]}, {"required": ["sigstore"]}],
    }

    def explain(self, options: Mapping[str, Any]) -> str:
        """What the rule with these options checks, in one plain sentence."""
        if "key" in options:
            who = f"the key {options['key']}"
        elif "certificate" in options:
            who = f"a certificate under {options['certificate']['chain']}"
        else:
            who = f"{options['sigstore']['identity']} through Sigstore ({options['sigstore']['issuer']})"
        but = f", but for {', '.join(options['unsigned'])}," if options.get("unsigned") else ""
        where = options.get("signature", SIGNATURE_FILE)
        return f"All files of the model{but} must be signed ({where}) by {who}."

    def evaluate(self, options: Mapping[str, Any], subject: Subject) -> Sequence[Outcome]:
        """One outcome."""
        return judged(subject, "the model is signed by", "get the model onto disk and check it there")


def judged(subject: Subject, praise: str, remedy: str) -> tuple[Outcome, ...]:
    """One outcome per model about which the rule was to be answered before it ran; undecided when it was not."""
    unasked = Verification(subject.artifact.name, NotMeasured("signatures were not looked at"))
    return tuple(_judge(one, praise, remedy) for one in subject.verifications.get(subject.rule_id, (unasked,)))


def _judge(found: Verification, praise: str, remedy: str) -> Outcome:
    model = ("model", exact(found.model))
    match found.answer:
        case Verified(signer, file, evidence):
            return Outcome(Status.PASS, exact(found.model), f"{praise} {signer}: {file}", "", (model, *evidence))
        case Refused(matter, reason, better, evidence):
            message = f"{shown(found.model)}: {one_line(reason, 500)}"
            return Outcome(Status.FAIL, f"{matter}: {exact(found.model)}", message, better, (model, *evidence))
        case NotMeasured(reason):
            message = f"{shown(found.model)}: {one_line(reason, 300)}"
            return Outcome(Status.UNDECIDED, exact(found.model), message, remedy, (model,))
