"""Registry folders written to disk for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def record(model_id: str, **changes: Any) -> dict[str, Any]:
    """A complete, valid record."""
    facts: dict[str, Any] = {
        "id": model_id,
        "family": "acme--base",
        "publisher": "Acme",
        "released": "2024-05",
        "license": {
            "id": "apache-2.0",
            "name": None,
            "spdx": "Apache-2.0",
            "url": None,
            "category": "permissive",
            "commercial_use": "yes",
            "conditions": None,
        },
        "base_model": None,
        "config": None,
        "tokenizer": None,
        "params": 1,
        "sources": ["https://example.org"],
        "confidence": "recalled",
        "license_confidence": "recalled",
        "base_confidence": None,
    }
    return {**facts, **changes}


def license_facts(**changes: Any) -> dict[str, Any]:
    """The license part of a record."""
    facts: dict[str, Any] = record("x")["license"]
    return {**facts, **changes}


def write_registry(folder: Path, *records: Any, file: str = "acme--base.json") -> Path:
    """A registry folder that holds `records` in one file of its catalog."""
    catalog = folder / "catalog"
    catalog.mkdir(parents=True, exist_ok=True)
    (catalog / file).write_text(json.dumps(list(records)), encoding="utf-8")
    return folder
