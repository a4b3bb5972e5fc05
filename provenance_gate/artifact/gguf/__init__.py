"""GGUF, the weight file of llama.cpp and its kin: header, block-quantized tensors, and the facts that it carries.

Format: the GGUF specification (ggml repository, docs/gguf.md), versions 2 and 3, little endian. Nothing is executed, nothing
is mapped; a tensor is decoded block range by block range.
"""

from provenance_gate.artifact.gguf.open import GgufModel, open_gguf

__all__ = ["GgufModel", "open_gguf"]
