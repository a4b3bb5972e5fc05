"""Token strings by id, from a side's tokenizer.json."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath

from provenance_gate.artifact.jsonfile import load_json_object
from provenance_gate.errors import MalformedFileError, one_line
from provenance_gate.tells.interface import Side

LONGEST = 60
FILE = PurePosixPath("tokenizer.json")


def token_strings(side: Side, wanted: Collection[int]) -> dict[int, str]:
    """The strings of the `wanted` ids as printable lines of at most 60 characters; those that are not known are left out."""
    data = side.documents.get(FILE)
    if data is None or not wanted:
        return {}
    try:
        facts = load_json_object(data, FILE.name)
    except MalformedFileError:
        # The artifact's own reader has said so already.
        return {}
    model = facts.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    found: dict[int, str] = {}
    if isinstance(vocabulary, dict):
        found = {i: one_line(t, LONGEST) for t, i in vocabulary.items() if isinstance(i, int) and i in wanted}
    elif isinstance(vocabulary, list):
        for i in wanted:
            entry = vocabulary[i] if 0 <= i < len(vocabulary) else None
            if isinstance(entry, list) and entry and isinstance(entry[0], str):
                found[i] = one_line(entry[0], LONGEST)
    added = facts.get("added_tokens")
    for token in added if isinstance(added, list) else ():
        match token:
            case {"id": int(i), "content": str(text)} if i in wanted:
                found[i] = one_line(text, LONGEST)
            case _:
                pass
    return found
