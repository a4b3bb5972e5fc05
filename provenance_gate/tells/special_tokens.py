"""Tell 10: special tokens and chat template, beside those of the candidate base. The template is compared as text, never
rendered."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import unified_diff
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import one_line
from provenance_gate.fingerprint.interface import Json
from provenance_gate.tells.chat_template import ChatTemplate, chat_template
from provenance_gate.tells.documents import SPECIAL_TOKENS, TOKENIZER_CONFIG, json_document
from provenance_gate.tells.interface import Case, Side, TellGroup, TellResult
from provenance_gate.tells.public import PublicModel, disclosed, public_models, tokenizer_facts
from provenance_gate.tells.wording import answer, not_measured

SAME_TEMPLATE: Final = 0.35
"""A program of hundreds of characters, equal to the last one. Makers of fine-tunes keep it, and so do unrelated models
that adopt a format (ChatML) by copying."""
NEAR_TEMPLATE: Final = 0.3
"""Edited: a name taken out, a date put in; what a relabeled copy shows."""
SAME_TOKENS: Final = 0.15
"""All special tokens at the same ids; whoever takes over a tokenizer has that."""

NEAR: Final = 0.8
"""Least similarity of a template that counts as edited: 1 - distance / length of the longer one. Two unrelated templates
share Jinja's own words and still differ in most characters."""
LEAST_TEMPLATE: Final = 80
"""Characters; shorter templates ("{{ messages }}") are equal by nature."""
LEAST_TOKENS: Final = 3
MAX_EDIT: Final = 8_192
"""Characters up to which the edit distance is counted in characters; beyond, in lines."""
MAX_LINES: Final = 1_000
MAX_DIFF: Final = 200
MAX_DIFFERING: Final = 20
_MAX_TOKENS: Final = 2_000


class SpecialTokens:
    """Ids and strings of special tokens (tokenizer_config.json, special_tokens_map.json) and the chat template, with each
    base at hand: equality, edit distance, and a unified diff as lines in the numbers. The base with the nearest template
    is reported.
    """

    id: Final = 10
    name: Final = "special-tokens"
    group: Final = TellGroup.TOKENIZER
    title: Final = "Special tokens and chat template are a base's"

    def measure(self, case: Case) -> TellResult:
        """FIRED when the template is equal or edited, or all special tokens are equal."""
        expected = "special tokens and a chat template of its own"
        reproduce = f"diff chat_template.jinja BASE/chat_template.jinja; diff {SPECIAL_TOKENS} BASE/{SPECIAL_TOKENS}"
        bases = [m for m in public_models(case) if m.side is not None]
        if not bases:
            return not_measured(self, "no base is at hand to compare with", expected, reproduce)
        ours, mine = special_tokens(case.ours), chat_template(case.ours)
        if not ours and isinstance(mine, NotMeasured):
            return not_measured(self, f"no special tokens are stated; {mine.reason}", expected, reproduce)
        compared = [c for m in bases if (c := _compare(ours, mine, m)) is not None]
        if not compared:
            return not_measured(self, "no base at hand states special tokens or a chat template", expected, reproduce)
        strength, seen, model, numbers = max(compared, key=lambda c: c[0])
        openly = disclosed(case, [model])
        return answer(
            self,
            seen=seen + ("; the artifact declares it" if openly and strength else ""),
            expected=expected,
            reproduce=reproduce,
            strength=strength,
            base=model.id if strength else None,
            numbers={**numbers, "disclosed": openly},
        )


def special_tokens(side: Side) -> dict[str, str]:
    """Strings by what they are for ("bos_token") and by id ("#151643"); ids from `added_tokens_decoder` and tokenizer
    facts."""
    found: dict[str, str] = {}
    for name in (SPECIAL_TOKENS, TOKENIZER_CONFIG):
        settings = json_document(side, name)
        if isinstance(settings, NotMeasured):
            continue
        for key, value in settings.items():
            text = value.get("content") if isinstance(value, Mapping) else value
            if key.endswith("_token") and isinstance(text, str):
                found.setdefault(one_line(key, 60), one_line(text, 120))
        decoder = settings.get("added_tokens_decoder")
        for key, value in list(decoder.items())[:_MAX_TOKENS] if isinstance(decoder, Mapping) else ():
            text = value.get("content") if isinstance(value, Mapping) else None
            if isinstance(text, str) and isinstance(value, Mapping) and value.get("special") is True:
                found.setdefault("#" + one_line(key, 20), one_line(text, 120))
    facts = tokenizer_facts(side)
    ids: Any = {} if isinstance(facts, NotMeasured) else facts.get("special_ids") or {}
    for name, number in ids.items() if isinstance(ids, Mapping) else ():
        if isinstance(number, int):
            found.setdefault(f"{one_line(str(name), 20)} id", str(number))
    return found


def edit_distance(one: str, other: str) -> tuple[int, int]:
    """Levenshtein distance and the length of the longer side: in characters up to `MAX_EDIT`, else in lines up to
    `MAX_LINES`."""
    if max(len(one), len(other)) <= MAX_EDIT:
        a, b = (np.array([ord(c) for c in text], dtype=np.int64) for text in (one, other))
    else:
        lines_a, lines_b = one.splitlines()[:MAX_LINES], other.splitlines()[:MAX_LINES]
        numbers = {line: i for i, line in enumerate(dict.fromkeys((*lines_a, *lines_b)))}
        a, b = (np.array([numbers[line] for line in lines], dtype=np.int64) for lines in (lines_a, lines_b))
    return _levenshtein(a, b), max(len(a), len(b))


def _levenshtein(a: NDArray[np.int64], b: NDArray[np.int64]) -> int:
    """Row by row over `a`; insertions along a row are a running minimum of the row less its index."""
    index = np.arange(len(b) + 1)
    row = index.copy()
    for step, symbol in enumerate(a, 1):
        fresh = row + 1
        fresh[1:] = np.minimum(fresh[1:], row[:-1] + (b != symbol))
        fresh[0] = step
        row = np.minimum.accumulate(fresh - index) + index
    return int(row[-1])


def _compare(
    ours: Mapping[str, str], mine: ChatTemplate | NotMeasured, model: PublicModel
) -> tuple[float, str, PublicModel, dict[str, Json]] | None:
    if model.side is None:
        return None
    theirs, template = special_tokens(model.side), chat_template(model.side)
    name = one_line(model.id, 120)
    numbers: dict[str, Json] = {"base": name}
    strength, parts = 0.0, []
    common = sorted(ours.keys() & theirs.keys())
    if common:
        equal = [k for k in common if ours[k] == theirs[k]]
        whole = len(equal) == len(common) and len(ours) == len(theirs)
        unequal = [k for k in common if ours[k] != theirs[k]]
        differing: list[Json] = [[k, ours[k], theirs[k]] for k in unequal[:MAX_DIFFERING]]
        numbers |= {
            "tokens": len(ours),
            "tokens_of_base": len(theirs),
            "tokens_compared": len(common),
            "tokens_equal": len(equal),
            "tokens_that_differ": differing,
        }
        parts.append(f"{len(equal)} of {len(common)} special tokens and ids are those of {name}")
        if whole and len(common) >= LEAST_TOKENS:
            strength = SAME_TOKENS
    if isinstance(mine, ChatTemplate) and isinstance(template, ChatTemplate):
        found, sentence, more = _templates(mine, template, name)
        strength, numbers = max(strength, found), {**numbers, **more}
        parts.insert(0, sentence)
    else:
        missing = mine.reason if isinstance(mine, NotMeasured) else "the base has no chat template at hand"
        numbers["template"] = one_line(missing, 200)
    return (strength, "; ".join(parts), model, numbers) if parts else None


def _templates(mine: ChatTemplate, theirs: ChatTemplate, name: str) -> tuple[float, str, dict[str, Json]]:
    distance, length = edit_distance(mine.text, theirs.text)
    similarity = 1.0 - distance / length if length else 1.0
    unit = "characters" if max(len(mine.text), len(theirs.text)) <= MAX_EDIT else "lines"
    old, new = (t.text.splitlines()[:MAX_LINES] for t in (theirs, mine))
    diff = islice(unified_diff(old, new, "base", "artifact", lineterm="", n=1), MAX_DIFF)
    numbers: dict[str, Json] = {
        "template_equal": mine.text == theirs.text,
        "template_distance": distance,
        "template_length": length,
        "template_unit": unit,
        "template_similarity": round(similarity, 4),
        "template_diff": [one_line(line, 300) for line in diff],
    }
    short = min(len(mine.text), len(theirs.text)) < LEAST_TEMPLATE
    if mine.text == theirs.text:
        return (0.0 if short else SAME_TEMPLATE), f"the chat template is that of {name}, to the last character", numbers
    sentence = f"the chat template differs from that of {name} by {distance:,} of {length:,} {unit}"
    return (0.0 if short or similarity < NEAR else NEAR_TEMPLATE), sentence, numbers
