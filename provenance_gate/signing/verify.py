"""All that a policy asks of signatures, answered for one artifact before the rules run.

What verifies is imported when a policy asks: most policies do not, and a commit hook waits for every import.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import TypeAlias

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.sources.hub_cache import is_offline
from provenance_gate.signing.interface import (
    ATTESTED,
    SIGNATURE_FILE,
    SIGNED,
    VERIFICATION_SUMMARY,
    CertificateSigner,
    KeySigner,
    Material,
    Place,
    RuleEntry,
    SignatureDemand,
    Signer,
    SigstoreSigner,
    StatementDemand,
    Verification,
)

Demand: TypeAlias = SignatureDemand | StatementDemand


def verify_rules(
    rules: Iterable[RuleEntry], artifact: Material, bases: Sequence[Material] = (), *, offline: bool | None = None
) -> dict[str, tuple[Verification, ...]]:
    """By rule id the answers for the rules `signed` and `attested`; empty when the policy has none.

    Parameters
    ----------
    artifact
        Its files with digests.
    bases
        Those that were compared; a file without digest is hashed only when a rule asks for it.
    offline
        None: as the environment says. Only Sigstore's trust root is ever fetched.

    Raises what `model_signature.verify_signature` and `attestation.verify_statement` raise.
    """
    demands = {rule.id: demand for rule in rules if (demand := demand_of(rule)) is not None}
    return {rule_id: _answers(demand, artifact, bases, is_offline(offline)) for rule_id, demand in demands.items()}


def check_signers(rules: Iterable[RuleEntry]) -> None:
    """Whether keys and packages are there, before anything expensive is done. Raises PolicyError, MissingLibraryError."""
    for rule in rules:
        match demand_of(rule):
            case SignatureDemand() as demand:
                from provenance_gate.signing.model_signature import check_signer

                check_signer(demand)
            case StatementDemand(place, key):
                from provenance_gate.signing.keys import load_key

                load_key(key, place)


def demand_of(rule: RuleEntry) -> Demand | None:
    """What a rule asks of signatures; None for a rule of another kind."""
    place, options = Place(rule.file, rule.line), rule.options
    if rule.kind == SIGNED:
        signature = PurePosixPath(options.get("signature", SIGNATURE_FILE))
        unsigned = tuple(PurePosixPath(path) for path in options.get("unsigned", ()))
        return SignatureDemand(place, _signer(rule, place), signature, unsigned)
    if rule.kind == ATTESTED:
        return StatementDemand(
            place=place,
            key=place.path(options["key"]),
            of_bases=options.get("of", "artifact") == "bases",
            predicate_type=options.get("predicate_type", VERIFICATION_SUMMARY),
            statement=place.path(options["statement"]) if "statement" in options else None,
            all_files=options.get("files", "weights") == "all",
            verifier=options.get("verifier"),
            policy_sha256=options["policy_sha256"].lower() if "policy_sha256" in options else None,
            levels=tuple(options.get("levels", ())),
        )
    return None


def _signer(rule: RuleEntry, place: Place) -> Signer:
    options = rule.options
    if "key" in options:
        return KeySigner(place.path(options["key"]))
    if "certificate" in options:
        return CertificateSigner(place.path(options["certificate"]["chain"]))
    sigstore = options["sigstore"]
    trust = place.path(sigstore["trust_config"]) if "trust_config" in sigstore else None
    return SigstoreSigner(sigstore["identity"], sigstore["issuer"], trust)


def _answers(demand: Demand, artifact: Material, bases: Sequence[Material], offline: bool) -> tuple[Verification, ...]:
    match demand:
        case SignatureDemand():
            from provenance_gate.signing.model_signature import verify_signature

            return (Verification(artifact.name, verify_signature(demand, artifact, offline=offline)),)
        case StatementDemand():
            from provenance_gate.signing.attestation import verify_statement
            from provenance_gate.signing.keys import load_key

            key = load_key(demand.key, demand.place)
            if demand.of_bases and not bases:
                return (Verification("bases", NotMeasured("no base is at hand; give it with --base")),)
            models = bases if demand.of_bases else (artifact,)
            return tuple(Verification(m.name, verify_statement(demand, key, m)) for m in models)
