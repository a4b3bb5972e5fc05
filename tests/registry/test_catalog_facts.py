"""The shipped catalog says what its source says, record by record.

`catalog_facts.txt` holds a digest of every record as the source file has it: SHA-256 (32 hex digits) of the record as JSON with
sorted keys and no spaces. Whoever corrects a fact changes its line as well, so that a slip of the keyboard is noticed.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from provenance_gate.registry.layers import open_registries

FACTS = Path(__file__).with_name("catalog_facts.txt")
ADDED = "inherits_weights"
"""The one key of ours: a distilled model whose student started from its parent's layers."""


def digest(record: dict[str, Any]) -> str:
    base = record["base_model"]
    if isinstance(base, dict):
        record = {**record, "base_model": {k: v for k, v in base.items() if k != ADDED}}
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:32]


def test_every_record_has_the_facts_of_the_source() -> None:
    wanted = {line[34:]: line[:32] for line in FACTS.read_text(encoding="utf-8").splitlines()}
    found = {r.id: digest(dict(r.facts)) for r in open_registries(()).catalog.records()}
    assert len(found) == 273
    assert found == wanted


def test_a_changed_fact_changes_the_digest() -> None:
    record = dict(open_registries(()).catalog.records()[0].facts)
    assert digest(record) != digest({**record, "publisher": "someone else"})
