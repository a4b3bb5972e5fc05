"""What tracing an artifact's parts back to a base finds: pure values, kept by the lineage room.

Tracing needs both models at hand. It first finds a **frame**, a common coordinate system for the two residual streams, from the
embeddings of shared tokens, and then looks in it for the artifact's feed-forward neurons and attention heads among the
base's. A function-preserving disguise (reordered or rescaled hidden units, a rotated residual stream) does not hide them, nor
does a change of width: neurons are looked for one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from provenance_gate.artifact.interface import NotMeasured


class FrameKind(str, Enum):
    """How the residual stream of the artifact lies to that of the base."""

    SAME = "same"
    PERMUTED = "permuted"
    ROTATED = "rotated"


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """The frame that the traces were made in.

    Attributes
    ----------
    shared_tokens
        Token strings that both vocabularies hold.
    agreement
        Mean cosine in [-1, 1] of the embeddings of shared tokens in the frame, over tokens that the frame was not fitted
        on. It says how alike the embeddings are, not that they have one origin.
    reordered
        Whether shared tokens have other ids in the artifact.
    flipped
        Whether coordinates have the other sign (of a permuted frame).
    """

    kind: FrameKind
    shared_tokens: int
    agreement: float | NotMeasured
    reordered: bool = False
    flipped: bool = False


@dataclass(frozen=True, slots=True)
class VocabularyFacts:
    """Two embedding tables, their rows matched by token string.

    `shared` tokens of `ours` and `theirs`; `reordered` when some have another id; `agreement` is the mean cosine in [-1, 1]
    of the embeddings of shared tokens as they stand, each table centered first.
    """

    shared: int
    ours: int
    theirs: int
    reordered: bool
    agreement: float


@dataclass(frozen=True, slots=True)
class NeuronTrace:
    """Probed neurons of one feed-forward block (or expert) of the artifact, looked up in one of the base.

    Attributes
    ----------
    part, base_part
        "" or the number of an expert.
    probed, matched
        Neurons looked up, and the different neurons of the base that were best by the first reading row (gate) and by the
        second (up; by the writing column in blocks without a gate) for one of them.
    correlation
        Mean cosine of probed neurons and their best matches, in [-1, 1], over coordinates that the matching did not use.
    learned
        Mean cosine of them, in [-1, 1], along the four strongest directions of the base's neurons among them: what training
        made strong, and a common random start does not share.
    moved
        Share of matched neurons that stand at another place, in [0, 1].
    choices
        Blocks of the base that this one was compared with.
    width, base_width
        Neurons of the two blocks.
    """

    stack: str
    layer: int
    part: str
    base_stack: str
    base_layer: int
    base_part: str
    probed: int
    matched: int
    correlation: float
    learned: float
    moved: float
    choices: int
    width: int
    base_width: int

    @property
    def share(self) -> float:
        """Matched share of the probed neurons, in [0, 1]."""
        return self.matched / self.probed


@dataclass(frozen=True, slots=True)
class HeadTrace:
    """Attention heads of one layer, by the products that no disguise changes: W_o W_v and W_q^T W_k of each head.

    `correlation` as for neurons; `moved` is the share of heads whose best match stands at another place.
    """

    stack: str
    layer: int
    heads: int
    correlation: float
    moved: float


@dataclass(frozen=True, slots=True)
class Trace:
    """All that was traced.

    Attributes
    ----------
    neurons
        The best match of each probed block of the artifact, in order.
    layers, base_layers
        Layers with a feed-forward block in the two models.
    hidden, base_hidden
        Width of the residual streams.
    frames_tried
        Frames in which the search was or could have been made.
    """

    frame: FrameFacts
    neurons: tuple[NeuronTrace, ...]
    heads: tuple[HeadTrace, ...]
    layers: int
    base_layers: int
    hidden: int
    base_hidden: int
    frames_tried: int

    @property
    def probed(self) -> int:
        """Neurons looked up."""
        return sum(n.probed for n in self.neurons)

    @property
    def matched(self) -> int:
        """Neurons found."""
        return sum(n.matched for n in self.neurons)

    @property
    def share(self) -> float:
        """Matched share of all probed neurons, in [0, 1]."""
        return self.matched / self.probed if self.probed else 0.0
