from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance_gate.artifact.interface import Role
from provenance_gate.fingerprint.plan import MAX_ROWS, SamplingPlan

SHAPES = st.tuples(st.integers(1, 300_000), st.integers(1, 60_000))


@given(st.sampled_from(Role), SHAPES, st.text(max_size=8))
def test_rows_lie_within_the_tensor(role: Role, shape: tuple[int, int], seed: str) -> None:
    rows = SamplingPlan(seed).rows(role, shape)
    assert 0 <= rows.start < rows.stop <= shape[0]
    assert len(rows) <= MAX_ROWS


@given(SHAPES)
def test_blocks_of_one_shape_start_together(shape: tuple[int, int]) -> None:
    assert len({SamplingPlan().rows(role, shape).start for role in Role}) == 1


def test_another_seed_reads_other_rows() -> None:
    starts = {SamplingPlan(str(seed)).rows(Role.FFN_DOWN, (4096, 11008)).start for seed in range(20)}
    assert len(starts) > 15


@given(st.integers(2 * MAX_ROWS + MAX_ROWS, 100_000), st.integers(1, 60_000), st.text(min_size=1, max_size=8))
def test_a_spot_check_reads_no_standard_row_where_there_is_room(total: int, columns: int, seed: str) -> None:
    standard = SamplingPlan().rows(Role.FFN_DOWN, (total, columns))
    spot = SamplingPlan(seed).rows(Role.FFN_DOWN, (total, columns))
    assert not set(standard) & set(spot)


def test_a_7b_model_is_read_to_less_than_half_a_percent() -> None:
    plan, hidden, wide, layers, vocabulary = SamplingPlan(), 4096, 11008, 32, 32000
    shapes = [(Role.FFN_DOWN, (hidden, wide)), (Role.FFN_GATE, (wide, hidden)), (Role.FFN_UP, (wide, hidden))]
    shapes += [(r, (hidden, hidden)) for r in (Role.ATTENTION_Q, Role.ATTENTION_K, Role.ATTENTION_V, Role.ATTENTION_O)]
    read = layers * sum(len(plan.rows(role, shape)) * shape[1] for role, shape in shapes)
    read += 2 * len(plan.rows(Role.EMBEDDING, (vocabulary, hidden))) * hidden
    total = layers * sum(r * c for _, (r, c) in shapes) + 2 * vocabulary * hidden
    assert read / total < 0.005


@pytest.mark.parametrize("shape", [(3,), (0, 5), (5, 0), (2, 2, 2)])
def test_what_is_no_matrix_has_no_rows(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no rows"):
        SamplingPlan().rows(Role.OTHER, shape)
