"""What merge analysis speaks in: candidates in, a `Merge` out. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from provenance_gate.fingerprint.interface import Fingerprint, Json

RECIPES = (
    "linear",
    "slerp",
    "task_arithmetic",
    "ties",
    "dare_linear",
    "dare_ties",
    "passthrough",
    "single",
    "unknown",
)
"""The names that mergekit gives its methods; "single" is one parent and no merge, "unknown" a mix of no recognized kind."""

REPORTED = 0.05
"""Smallest overall weight of a parent that is reported."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A candidate parent: the id to report it under, and its fingerprint."""

    id: str
    fingerprint: Fingerprint


@dataclass(frozen=True, slots=True)
class Mixture:
    """How one component of one layer was mixed (`layer` None: a component outside of the layers).

    Attributes
    ----------
    sources
        (parent id, its layer) of every parent with a weight, in falling weight.
    weights
        One for each of `Merge.parents`, at least 0. They need not sum to one: those of SLERP sum to more.
    residual
        In [0, 1]: share of the second moment of the artifact's values that the mixture leaves unexplained (where candidates
        differ by less than the steps of a coarse format, of the values that tell them apart).
    t
        The SLERP parameter, from `mergekit["base_model"]` (0) to the other model (1): of two parents, the one that came first
        among the candidates is 0. Also given for a linear mix that SLERP would give as well; None for other recipes.
    """

    component: str
    stack: str
    layer: int | None
    sources: tuple[tuple[str, int | None], ...]
    weights: tuple[float, ...]
    residual: float
    t: float | None


@dataclass(frozen=True, slots=True)
class Merge:
    """How an artifact was mixed from the candidates.

    Attributes
    ----------
    parents
        Those with an overall weight of at least REPORTED, or with a layer of their own, in falling weight. The `base` of a
        recipe with task vectors is not one of them.
    weights
        Of every candidate, in [0, 1], mean over the mixtures by size. For recipes with task vectors the factors of the
        task vectors; the base then has what is left to one, at least 0.
    base
        The common ancestor that task vectors are taken from; None where the recipe has none.
    parameters
        What the method's mergekit configuration has (density, normalize, lambda), `weight:<id>` and `density:<id>` by
        parent, `weight_error` (largest standard error of an overall weight), and `change_left` (share of the artifact's
        distance from the base, or from its nearest parent, that stays unexplained; in [0, 1]).
    residual
        Mean of the mixtures' residuals by size.
    mergekit
        The structure of a mergekit configuration; empty when the recipe is "single" or "unknown".
    """

    parents: tuple[str, ...]
    weights: Mapping[str, float]
    base: str | None
    recipe: str
    parameters: Mapping[str, float]
    residual: float
    mixtures: tuple[Mixture, ...]
    reason: str
    mergekit: Mapping[str, Json]
