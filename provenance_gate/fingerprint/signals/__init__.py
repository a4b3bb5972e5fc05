"""The signals, in the order of reports. To add one: a file here, a line below, a test file."""

from __future__ import annotations

from provenance_gate.fingerprint.interface import Signal
from provenance_gate.fingerprint.signals.content_identity import ContentIdentity
from provenance_gate.fingerprint.signals.eas import EmbeddingAnchors
from provenance_gate.fingerprint.signals.end import EmbeddingNorms
from provenance_gate.fingerprint.signals.lep import LayerEnergy
from provenance_gate.fingerprint.signals.mfi import MetadataFamily
from provenance_gate.fingerprint.signals.nlf import NormGains
from provenance_gate.fingerprint.signals.tfv import TokenizerFeatures
from provenance_gate.fingerprint.signals.voa import VocabularyOverlap
from provenance_gate.fingerprint.signals.weight_correlation import WeightCorrelation
from provenance_gate.fingerprint.signals.wvc import WeightValueCosine

SIGNALS: tuple[Signal, ...] = (
    MetadataFamily(),
    TokenizerFeatures(),
    VocabularyOverlap(),
    EmbeddingAnchors(),
    EmbeddingNorms(),
    NormGains(),
    LayerEnergy(),
    WeightValueCosine(),
    ContentIdentity(),
    WeightCorrelation(),
)
