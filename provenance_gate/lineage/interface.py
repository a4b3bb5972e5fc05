"""What the evidence supports about an artifact and a base. Pure values: no path, no tensor, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from provenance_gate.artifact.interface import BaseClaim, ClaimSource, NotMeasured
from provenance_gate.fingerprint.interface import Evidence

DERIVED_SCORE = 0.70
"""At or above: dependence shown at a false-positive rate of 1e-6 or better (DESIGN 3.4)."""
INDEPENDENT_SCORE = 0.30
"""At or below: the test could have seen a correlation of 0.05 and saw none (DESIGN 3.4)."""


ONE_BASE = NotMeasured("a mix needs at least two candidate parents")


class Relation(str, Enum):
    """How the artifact relates to the base, no stronger than what was measured."""

    IDENTICAL = "identical"
    REFORMATTED = "reformatted"
    DERIVED = "derived"
    PARTIAL = "partial"
    SHARED_INITIALIZATION = "shared initialization suspected"
    INDEPENDENT = "independent"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class ComponentEvidence:
    """One group of tensors. `correlation` in [-1, 1] over its sampled values, `share` of its tensors that depend on the base
    in [0, 1]; `p_value` only where the component has a null of its own. `relation` is DERIVED, PARTIAL, INDEPENDENT or UNDECIDED.
    """

    relation: Relation
    correlation: float | NotMeasured
    p_value: float | NotMeasured


@dataclass(frozen=True, slots=True)
class LayerMatch:
    """Layer `layer` of `stack` in the artifact, and the layer of the base that it comes from (None: none seen)."""

    stack: str
    layer: int
    base_layer: int | None
    correlation: float


@dataclass(frozen=True, slots=True)
class BaseRef:
    """The base as the user or a claim names it. `id` is a hub id where one is known, else the name of its folder."""

    id: str
    source: str
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Lineage:
    """One artifact against one base.

    Attributes
    ----------
    score
        In [0, 1]; how surely the transformer body of the artifact descends from the base. NotMeasured when no weights could be
        compared. Metadata and tokenizer signals never enter.
    p_value
        In (0, 1], of `test`, corrected for every alignment tried; floored at 1e-300.
    inheritance
        In [0, 1]; share of the variance of the sampled body weights that the base explains.
    relation, kinds
        Only what the evidence supports; `kinds` in a stable order, possibly empty.
    components
        Keyed by `Component` value, sorted.
    claims
        The claims of the artifact that name this base; empty means undeclared.
    reason
        One sentence: what decided, or what is missing.
    tier
        The tier that decided (0 digests .. 4 the whole file).
    mixing_weight
        At least 0; this base's share of the mix where several bases were compared at once, NotMeasured else.
    kin_of
        Id of a nearer base of the same family that the artifact declares, when this one was found by searching: it is a sibling,
        or an ancestor of that base, and the weights do not tell which. None else.
    """

    base: BaseRef
    score: float | NotMeasured
    relation: Relation
    kinds: tuple[str, ...]
    p_value: float | NotMeasured
    test: str
    inheritance: float | NotMeasured
    components: Mapping[str, ComponentEvidence]
    layers: tuple[LayerMatch, ...]
    signals: Mapping[str, Evidence]
    identity_score: float | NotMeasured
    claims: tuple[BaseClaim, ...]
    reason: str
    tier: int
    mixing_weight: float | NotMeasured = ONE_BASE
    kin_of: str | None = None


class Derivatives(str, Enum):
    """What a license lets others publish of a changed model."""

    ANY = "any"
    SAME_TERMS = "same-terms"
    NONE = "none"


class ConditionKind(str, Enum):
    """What a license asks of whoever publishes a derived model. Values stand in `licenses.json`."""

    LICENSE_COPY = "license-copy"
    NOTICE_FILE = "notice-file"
    NAME_PREFIX = "name-prefix"
    DISPLAY = "display"
    ATTRIBUTION = "attribution"
    MODIFICATION_NOTICE = "modification-notice"
    SOURCE = "source"
    USE_RESTRICTIONS = "use-restrictions"
    ACCEPTABLE_USE = "acceptable-use"
    NO_FURTHER_RESTRICTIONS = "no-further-restrictions"
    OUTPUT_TRAINING = "output-training"
    USER_LIMIT = "user-limit"
    REVENUE_LIMIT = "revenue-limit"
    TERRITORY = "territory"
    REGISTRATION = "registration"
    OTHER = "other"


COMMERCIAL_USE_OF: Mapping[str, str] = {
    "permissive": "yes",
    "copyleft": "yes",
    "open-with-use-restrictions": "conditional",
    "non-commercial": "no",
    "research-only": "no",
}
"""What a category says about commercial use where the terms themselves are not known."""


@dataclass(frozen=True, slots=True)
class LicenseCondition:
    """One condition. `texts`: words that must appear, any one of them, or what the condition says; `limit`: users a month, or
    US dollars a year; `url`: the page that the condition refers to.
    """

    kind: ConditionKind
    texts: tuple[str, ...] = ()
    url: str | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class LicenseTerm:
    """A license as policies speak of it.

    Attributes
    ----------
    id, spdx
        The hub's or SPDX spelling; the SPDX or LicenseRef id when known.
    category
        One of permissive, copyleft, open-with-use-restrictions, non-commercial, research-only, proprietary, unknown.
    commercial_use
        "yes", "no", "conditional"; None when not known: then `COMMERCIAL_USE_OF` the category may say.
    derivatives
        None when not known; nothing may be concluded from that.
    also_under
        Ids of further licenses that satisfy SAME_TERMS, as later versions do.
    conditions
        As far as known, in the order of the data file; an empty tuple says nothing of a license without `confidence`.
    confidence
        "verified" (the text was read), "recalled" (general knowledge), None when terms are not known at all.
    """

    id: str
    spdx: str | None
    name: str | None
    category: str
    url: str | None = None
    commercial_use: str | None = None
    derivatives: Derivatives | None = None
    also_under: tuple[str, ...] = ()
    conditions: tuple[LicenseCondition, ...] = ()
    confidence: str | None = None


class Standing(str, Enum):
    """Why a model counts among the ancestors."""

    SELF = "self"
    SHOWN = "shown by the weights"
    DECLARED = "declared, not tested"
    UNDECIDED = "tested, undecided"
    CATALOG = "catalog"


@dataclass(frozen=True, slots=True)
class Declared:
    """A claim says so: of the artifact, or of a base's own card. `relation` as `BaseClaim` has it."""

    source: ClaimSource
    relation: str | None


@dataclass(frozen=True, slots=True)
class Cataloged:
    """A catalog record says so. `record` is the id of the model it describes; `confidence` one of verified, recalled,
    reference, or None.
    """

    record: str
    relation: str | None
    confidence: str | None


@dataclass(frozen=True, slots=True)
class Detected:
    """The weights were compared. The other figures are those of the lineage."""

    relation: Relation
    score: float | NotMeasured
    p_value: float | NotMeasured


@dataclass(frozen=True, slots=True)
class Edge:
    """One statement that `child` comes from `parent`, with what it rests on. `child` None is the artifact itself, whose name
    may be that of a model, too.
    """

    child: str | None
    parent: str
    evidence: Declared | Cataloged | Detected

    @property
    def kind(self) -> str:
        """One of declared, cataloged, detected."""
        return type(self.evidence).__name__.lower()


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A node of the lineage graph: the artifact itself, a base, or a base's own ancestor known to the catalog.

    `path` leads from the artifact's own name to this id. `declared`: the artifact's own claims name it. `rests_on` is the
    standing of the weakest step between the artifact and this node, so a catalog ancestor of an undecided base is UNDECIDED
    there. `licenses` is empty when no source knows one. `edges`: every statement that leads here, from whichever child; those
    of the last step of `path` first.
    """

    id: str
    standing: Standing
    rests_on: Standing
    declared: bool
    path: tuple[str, ...]
    licenses: tuple[LicenseTerm, ...]
    publisher: str | None
    family: str | None
    license_source: str = ""
    edges: tuple[Edge, ...] = ()
