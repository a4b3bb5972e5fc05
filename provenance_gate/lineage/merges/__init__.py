"""How an artifact was mixed from candidate parents, read from sampled rows only. Pure.

`interface.py` has the values, `analyze.py` the order of the questions, `tensors.py` which matrices correspond, `fit.py`
weights, `family.py` and `unchanged.py` how the candidates relate to each other, `slerp.py` and `sparse.py` the recipes that
are not linear, `config.py` the mergekit form. The analysis is imported where there are several candidates.
"""

from provenance_gate.lineage.merges.interface import Merge, Mixture, Parent

__all__ = ["Merge", "Mixture", "Parent"]
