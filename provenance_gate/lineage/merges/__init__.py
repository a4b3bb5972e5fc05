"""How an artifact was mixed from candidate parents, read from sampled rows only. Pure.

`interface.py` has the values, `analyze.py` the order of the questions, `tensors.py` which matrices correspond, `fit.py`
weights, `family.py` and `unchanged.py` how the candidates relate to each other, `slerp.py` and `sparse.py` the recipes that
are not linear, `config.py` the mergekit form.
"""

from provenance_gate.lineage.merges.analyze import analyze_merge
from provenance_gate.lineage.merges.config import merge_yaml
from provenance_gate.lineage.merges.interface import Merge, Mixture, Parent

__all__ = ["Merge", "Mixture", "Parent", "analyze_merge", "merge_yaml"]
