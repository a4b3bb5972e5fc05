"""All tells, by id. A new one is a file here and a line in `TELLS`.

Not in `__init__.py`: policies speak of results only, and would load all of them.
"""

from __future__ import annotations

from provenance_gate.tells.embedding_cosine import EmbeddingCosine
from provenance_gate.tells.equal_shape import EqualShape
from provenance_gate.tells.generation import Generation
from provenance_gate.tells.interface import Tell
from provenance_gate.tells.known_tokenizer import KnownTokenizer
from provenance_gate.tells.layer_delta import LayerDelta
from provenance_gate.tells.leftover_name import LeftoverName
from provenance_gate.tells.merge_order import MergeOrder
from provenance_gate.tells.norm_vectors import NormVectorTell
from provenance_gate.tells.public_architecture import PublicArchitecture
from provenance_gate.tells.quantization_story import QuantizationStory
from provenance_gate.tells.rope_story import RopeStory
from provenance_gate.tells.special_tokens import SpecialTokens
from provenance_gate.tells.stack_story import StackStory
from provenance_gate.tells.vocabulary_story import VocabularyStory

TELLS: tuple[Tell, ...] = (
    LeftoverName(),
    PublicArchitecture(),
    EqualShape(),
    RopeStory(),
    VocabularyStory(),
    StackStory(),
    QuantizationStory(),
    KnownTokenizer(),
    MergeOrder(),
    SpecialTokens(),
    EmbeddingCosine(),
    LayerDelta(),
    NormVectorTell(),
    Generation(),
)
