"""Claims against evidence: what card, config, file names and merge recipe say, beside what the files show.

A claim that nothing contradicts is not thereby true: "trained from scratch" never agrees, it can only be contradicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Final

from provenance_gate.artifact.dtypes import quantized_bits
from provenance_gate.artifact.interface import (
    COMPONENT_OF_ROLE,
    Artifact,
    BaseClaim,
    Component,
    LicenseClaim,
    NotMeasured,
    Role,
)
from provenance_gate.errors import one_line
from provenance_gate.lineage.interface import DERIVED_SCORE, Lineage, Relation
from provenance_gate.tells.card import Card, Said, read_card, sizes_in_name
from provenance_gate.tells.documents import CONFIG
from provenance_gate.tells.interface import Case, ClaimCheck, KnownModel, Side, Standing
from provenance_gate.tells.public import config_facts, tokenizer_facts
from provenance_gate.tells.quantization_story import dtype_shares, is_quantized
from provenance_gate.tells.rope_story import TOLERANCE, reach_of, scaling_of
from provenance_gate.tells.scripts import SCRIPT_OF, token_scripts
from provenance_gate.tells.wording import number

SIZE_TOLERANCE: Final = 0.3
"""Names round: "1B" for 1.24, "7B" for 6.7 to 8.5 billion, with or without the embeddings."""
LEAST_TOKENS: Final = 50
"""Tokens with a letter of a script from which a vocabulary was made for it: those of other languages hold a few strays."""
LEAST_SHARE: Final = 0.1
"""Mixing weight from which a base counts as a parent."""

_DERIVED: Final = frozenset({Relation.IDENTICAL, Relation.REFORMATTED, Relation.DERIVED})
_AGREES, _CONTRADICTS, _OPEN = Standing.AGREES, Standing.CONTRADICTS, Standing.CANNOT_BE_SEEN


def check_claims(case: Case) -> tuple[ClaimCheck, ...]:
    """One row per claim that was recognized, by topic; empty when nobody claims anything and no base is shown."""
    read = read_card(case.ours)
    card = Card() if isinstance(read, NotMeasured) else read
    return (
        *_scratch(case, card),
        *_bases(case),
        *_context(case, card),
        *_quantization(case, card),
        *_parameters(case, card),
        *_licenses(case),
        *_languages(case, card),
        *_vocabulary(case, card),
    )


def is_shown(lineage: Lineage) -> bool:
    """Whether the weights show descent, whole or in part."""
    score = lineage.score
    whole = lineage.relation in _DERIVED and isinstance(score, float) and score >= DERIVED_SCORE
    mixed = isinstance(lineage.mixing_weight, float) and lineage.mixing_weight >= LEAST_SHARE
    return whole or lineage.relation is Relation.PARTIAL or (mixed and lineage.relation is not Relation.INDEPENDENT)


def _summary(lineage: Lineage) -> str:
    score, p = lineage.score, lineage.p_value
    said = f"score {score:.3f}" if isinstance(score, float) else f"score not measured ({one_line(score.reason, 120)})"
    mixed = f", {lineage.mixing_weight:.0%} of the mix" if isinstance(lineage.mixing_weight, float) else ""
    return f"{lineage.relation.value}, {said}" + (f", p-value {p:.2g}" if isinstance(p, float) else "") + mixed


def _scratch(case: Case, card: Card) -> Iterator[ClaimCheck]:
    for said in (*card.scratch, *card.own_model)[:1]:
        shown = [x for _, x in case.bases if is_shown(x)]
        if shown:
            text = f"the weights show {one_line(shown[0].base.id, 120)} as a base: {_summary(shown[0])}"
        elif case.bases:
            text = f"none of {len(case.bases)} tested models shows as a base; that there is none at all cannot be shown"
        else:
            text = "no base was tested"
        yield ClaimCheck("trained from scratch", said.text, said.source, text, _CONTRADICTS if shown else _OPEN)


def _bases(case: Case) -> Iterator[ClaimCheck]:
    claims = case.ours.fingerprint.subject.claims.bases
    for claim in claims:
        lineage = next((x for _, x in case.bases if _names(claim, x)), None)
        source = one_line(f"{claim.source.path}:{claim.source.line} ({claim.source.field})", 200)
        words = one_line(claim.id, 200) + (f" ({claim.relation})" if claim.relation else "")
        if lineage is None:
            yield ClaimCheck("base", words, source, "its weights were not at hand", _OPEN)
        elif is_shown(lineage):
            yield ClaimCheck("base", words, source, f"the weights show it: {_summary(lineage)}", _AGREES)
        elif lineage.relation is Relation.INDEPENDENT:
            yield ClaimCheck(
                "base", words, source, f"the weights do not come from it: {_summary(lineage)}", _CONTRADICTS
            )
        else:
            yield ClaimCheck("base", words, source, f"the evidence does not decide: {_summary(lineage)}", _OPEN)
    for _, lineage in case.bases:
        if is_shown(lineage) and not any(_names(c, lineage) for c in claims):
            declared = ", ".join(one_line(c.id, 80) for c in claims[:3]) or "no base"
            text = f"the weights show {one_line(lineage.base.id, 120)}: {_summary(lineage)}"
            yield ClaimCheck("base", f"{declared} declared", "all files", text, _CONTRADICTS)


def _names(claim: BaseClaim, lineage: Lineage) -> bool:
    return claim in lineage.claims or claim.id.casefold() == lineage.base.id.casefold()


def _context(case: Case, card: Card) -> Iterator[ClaimCheck]:
    if not card.contexts:
        return
    said = max(card.contexts, key=lambda c: c.value)
    facts = config_facts(case.ours)
    limit = None if isinstance(facts, NotMeasured) else facts.get("max_position_embeddings")
    if not isinstance(limit, int):
        yield ClaimCheck("context length", said.text, said.source, f"{CONFIG} states no limit of positions", _OPEN)
        return
    reach = reach_of(limit, scaling_of(case))
    fits = said.value <= reach * TOLERANCE
    text = f"{CONFIG} gives {number(reach)} positions" + ("; how well they are used was not tested" if fits else "")
    yield ClaimCheck("context length", said.text, said.source, text, _AGREES if fits else _CONTRADICTS)


def _quantization(case: Case, card: Card) -> Iterator[ClaimCheck]:
    artifact = case.ours.artifact
    facts = config_facts(case.ours)
    method = None if isinstance(facts, NotMeasured) else facts.get("quant_method")
    claims = [*card.quantizations[:3], *card.unquantized[:1]]
    if isinstance(method, str):
        claims.append(Said(f"quant_method {one_line(method, 60)}", CONFIG, one_line(method, 60).casefold()))
    for said in claims:
        if artifact is None or not artifact.stored:
            yield ClaimCheck("quantization", said.text, said.source, "no tensors are at hand", _OPEN)
            continue
        shares = dtype_shares(artifact)
        packed = [d for d in shares if is_quantized(d)]
        stored = ", ".join(f"{one_line(d, 30)} ({s:.0%})" for d, s in list(shares.items())[:4])
        plain = said in card.unquantized
        bits = not said.value or any(quantized_bits(d) == said.value or f"F{said.value:.0f}" in d for d in packed)
        fits = not packed if plain else bool(packed) and bits
        text = f"the tensors are {stored}"
        yield ClaimCheck("quantization", said.text, said.source, text, _AGREES if fits else _CONTRADICTS)


def _parameters(case: Case, card: Card) -> Iterator[ClaimCheck]:
    artifact = case.ours.artifact
    named = sizes_in_name(case.ours.name.rpartition("/")[2], "its name")
    files = [f.path.name for f in artifact.files if f.format is not None] if artifact is not None else []
    in_files = [s for name in dict.fromkeys(files) for s in sizes_in_name(name, one_line(f"file name {name}", 120))]
    seen: set[float] = set()
    for said in (*card.parameters, *named, *in_files):
        if said.most in seen:
            continue
        seen.add(said.most)
        if artifact is None or not artifact.canonical:
            yield ClaimCheck("parameter count", said.text, said.source, "no tensors are at hand", _OPEN)
            continue
        total, tables = parameters_of(artifact)
        low, high = said.value * (1 - SIZE_TOLERANCE), said.most * (1 + SIZE_TOLERANCE)
        fits = any(low <= n <= high for n in (total, total - tables))
        text = f"the tensors have {number(total)} elements, {number(tables)} of them in embeddings and head"
        yield ClaimCheck("parameter count", said.text, said.source, text, _AGREES if fits else _CONTRADICTS)


def parameters_of(artifact: Artifact) -> tuple[int, int]:
    """Elements of all canonical tensors, and those of embeddings and head among them."""
    total = tables = 0
    for tensor in artifact.canonical:
        count = prod(tensor.shape)
        total += count
        if (
            COMPONENT_OF_ROLE.get(tensor.key.role) in (Component.EMBEDDINGS, Component.HEAD)
            and tensor.key.role is not Role.POSITION
        ):
            tables += count
    return total, tables


def _licenses(case: Case) -> Iterator[ClaimCheck]:
    known = {n.casefold(): k for k in case.known for n in (*k.aliases, k.id)}
    parents = [(x, known.get(x.base.id.casefold())) for _, x in case.bases if is_shown(x)]
    for claim in case.ours.fingerprint.subject.claims.licenses:
        source = one_line(f"{claim.source.path}:{claim.source.line} ({claim.source.field})", 200)
        words = one_line(claim.id if claim.name is None else f"{claim.id} ({claim.name})", 200)
        yield ClaimCheck("license", words, source, *_license(claim, parents))


def _license(claim: LicenseClaim, parents: Sequence[tuple[Lineage, KnownModel | None]]) -> tuple[str, Standing]:
    """What the licenses of the bases that the weights show say to a claimed one; the first that objects counts."""
    if not parents:
        return "the weights show no base whose license would bind", _OPEN
    texts = []
    for lineage, record in parents:
        base = one_line(lineage.base.id, 120)
        terms = record.facts.get("license") if record is not None else None
        theirs = terms.get("id") if isinstance(terms, Mapping) else None
        if not isinstance(terms, Mapping) or not isinstance(theirs, str):
            return f"the weights show {base}, whose license is not in the catalog", _OPEN
        stated = {x.casefold() for x in (claim.id, claim.name) if x is not None}
        names = {str(terms.get(k)).casefold() for k in ("id", "name", "spdx") if terms.get(k)} - {"other", "unknown"}
        category = str(terms.get("category"))
        text = f"{base} is under {one_line(theirs, 60)} ({one_line(category, 60)})"
        if not stated & names and category != "permissive":
            return f"the weights show {base}: {text}, which is not the stated license", _CONTRADICTS
        texts.append(text)
    return "; ".join(texts[:3]), _AGREES


def _languages(case: Case, card: Card) -> Iterator[ClaimCheck]:
    by_script: dict[str, list[Said]] = {}
    for said in card.languages:
        by_script.setdefault(SCRIPT_OF.get(said.word.partition("-")[0], ""), []).append(said)
    scripts = token_scripts(case.ours) if by_script else NotMeasured("no language is claimed")
    for script, said_ones in by_script.items():
        words, source = ", ".join(s.text for s in said_ones[:10]), said_ones[0].source
        if isinstance(scripts, NotMeasured):
            yield ClaimCheck("languages", words, source, one_line(scripts.reason, 200), _OPEN)
            continue
        count = scripts.tokens.get(script, 0)
        name = script if script == "CJK" else script.capitalize()
        few = f"only {number(count)}" if count else "no"
        if not script:
            text, standing = "no script is known for it", _OPEN
        elif script == "LATIN" and count >= LEAST_TOKENS:
            text, standing = (
                f"{number(count)} tokens have Latin letters; which languages they serve cannot be told",
                _OPEN,
            )
        elif count >= LEAST_TOKENS:
            text, standing = f"{number(count)} tokens have {name} letters", _AGREES
        elif scripts.spells_bytes:
            text, standing = f"{few} tokens have {name} letters; the rest is spelled byte by byte", _OPEN
        else:
            text = f"{few} tokens have {name} letters, and there are no bytes to spell others with"
            standing = _CONTRADICTS
        yield ClaimCheck("languages", words, source, text, standing)


def _vocabulary(case: Case, card: Card) -> Iterator[ClaimCheck]:
    ours = tokenizer_facts(case.ours)
    for said in card.new_vocabulary[:1]:
        if isinstance(ours, NotMeasured):
            yield ClaimCheck("vocabulary", said.text, said.source, one_line(ours.reason, 200), _OPEN)
            continue
        digest, size = ours.get("vocabulary_sha256"), ours.get("vocab_size")
        same = next((x for side, x in case.bases if _digest(side) == digest and digest is not None), None)
        if same is not None:
            text = f"its {number(size)} tokens and their ids are those of {one_line(same.base.id, 120)}"
            yield ClaimCheck("vocabulary", said.text, said.source, text, _CONTRADICTS)
        else:
            text = f"it has {number(size)} tokens, and is not that of a base at hand"
            yield ClaimCheck("vocabulary", said.text, said.source, text, _AGREES if case.bases else _OPEN)


def _digest(side: Side) -> object:
    facts = tokenizer_facts(side)
    return None if isinstance(facts, NotMeasured) else facts.get("vocabulary_sha256")


TOPICS: Final = (
    *("trained from scratch", "base", "context length", "quantization", "parameter count", "license"),
    *("languages", "vocabulary"),
)
"""Every topic that a row may have, in the order of the rows."""
