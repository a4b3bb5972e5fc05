"""The tables of names: one declarative table per family of implementations."""

from provenance_gate.artifact.architectures.families import FAMILIES
from provenance_gate.artifact.architectures.gguf_names import GGUF
from provenance_gate.artifact.architectures.table import Architecture, Entry, Layout

ARCHITECTURES: tuple[Architecture, ...] = (*FAMILIES, *GGUF)

__all__ = ["ARCHITECTURES", "Architecture", "Entry", "Layout"]
