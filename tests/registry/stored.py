"""Registries with stored fingerprints, written to disk for tests; measured once, copied often."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provenance_gate.fingerprint.container import load_fingerprint, save_fingerprint
from provenance_gate.fingerprint.interface import Fingerprint
from provenance_gate.reading import Reading, fingerprint
from provenance_gate.registry.interface import Entry
from provenance_gate.registry.sketches import sketch_to_store
from provenance_gate.registry.writing import RegistryWriter
from tests.models import llama, write_model
from tests.registry.build import record, write_registry

BASE, OTHER = "acme/base", "acme/other"


@functools.cache
def measured(seed: int = 1) -> Fingerprint:
    """The fingerprint of a tiny model, as it is when it was read from its file."""
    with tempfile.TemporaryDirectory() as folder:
        found = fingerprint(str(write_model(Path(folder) / "model", llama(seed))), Reading(jobs=1))
        save_fingerprint(found, Path(folder) / "fingerprint")
        return load_fingerprint(Path(folder) / "fingerprint")


def entry(writer: RegistryWriter, model_id: str, seed: int = 1, **facts: Any) -> Entry:
    """An entry with a stored fingerprint."""
    found = measured(seed)
    known = {"aliases": (), "source": None, "record": None, **facts}
    return Entry(
        model_id, known["aliases"], known["source"], writer.store(found), sketch_to_store(found), known["record"], ""
    )


@functools.cache
def _original() -> Path:
    above = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, above, ignore_errors=True)
    folder = Path(above) / "registry"
    write_registry(folder, record(BASE), record("acme/cousin"))
    writer = RegistryWriter(str(folder))
    inline = record(OTHER, base_model={"id": BASE, "relation": "finetune"})
    writer.add([entry(writer, BASE, source="hf://acme/base@" + "c" * 40), entry(writer, OTHER, 2, record=inline)])
    return folder


def stored_registry(folder: Path) -> Path:
    """A registry of two models with fingerprints; the catalog knows the first one, the index has a record of the second."""
    shutil.copytree(_original(), folder)
    return folder


def edit_index(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the index as a stranger would: without care for anything but JSON."""
    content = json.loads((folder / "index.json").read_text("utf-8"))
    change(content)
    (folder / "index.json").write_text(json.dumps(content), "utf-8")


def objects(folder: Path) -> list[Path]:
    """Every stored object, sorted by digest."""
    return sorted(p for p in (folder / "objects").rglob("*") if p.is_file())
