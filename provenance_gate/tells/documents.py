"""Which small files of a model an audit reads, and how much of them: texts of a stranger, parsed only by strict readers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

from provenance_gate.artifact.interface import FileRecord, NotMeasured
from provenance_gate.artifact.jsonfile import load_json_object
from provenance_gate.artifact.sources.interface import Store
from provenance_gate.errors import MalformedFileError
from provenance_gate.tells.interface import Side

CARD: Final = "README.md"
CONFIG: Final = "config.json"
GENERATION: Final = "generation_config.json"
TOKENIZER: Final = "tokenizer.json"
TOKENIZER_CONFIG: Final = "tokenizer_config.json"
SPECIAL_TOKENS: Final = "special_tokens_map.json"
CHAT_TEMPLATE: Final = "chat_template.jinja"

_SMALL: Final = 4 << 20
DOCUMENTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        CARD: 1 << 20,
        CONFIG: _SMALL,
        GENERATION: _SMALL,
        # The largest in wide use, Gemma 3's, has 33 MB.
        TOKENIZER: 64 << 20,
        TOKENIZER_CONFIG: _SMALL,
        SPECIAL_TOKENS: _SMALL,
        CHAT_TEMPLATE: 1 << 20,
        "adapter_config.json": _SMALL,
        "quantize_config.json": _SMALL,
        "mergekit_config.yml": _SMALL,
        "mergekit_moe_config.yml": _SMALL,
    }
)
"""Names at the root, and the most bytes that are read of each."""


def read_side_documents(store: Store, files: Iterable[FileRecord]) -> Mapping[PurePosixPath, bytes]:
    """The files of `DOCUMENTS` that are there, by path; those over their limit are left out.

    Raises ArtifactError when a file cannot be read.
    """
    return {
        f.path: store.read_small(f, DOCUMENTS[str(f.path)])
        for f in files
        if str(f.path) in DOCUMENTS and f.size <= DOCUMENTS[str(f.path)]
    }


def document(side: Side, name: str) -> bytes | None:
    """The bytes of a file at the root of `side`; None when they are not at hand."""
    return side.documents.get(PurePosixPath(name))


def json_document(side: Side, name: str) -> Mapping[str, object] | NotMeasured:
    """The object in a JSON file of `side`, or why there is none."""
    data = document(side, name)
    if data is None:
        return NotMeasured(f"no {name}")
    try:
        return load_json_object(data, name)
    except MalformedFileError as error:
        return NotMeasured(str(error))
