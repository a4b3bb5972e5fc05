"""Tell 11 on real files: untouched, trained and foreign embedding tables, moved tokens, and what cannot be compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

import fsspec
import numpy as np
import pytest

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.load import open_artifact
from provenance_gate.artifact.sources import Options, open_store
from provenance_gate.tells import tokencosines
from provenance_gate.tells.embedding_cosine import EmbeddingCosine
from provenance_gate.tells.interface import Case, TellResult, TellStatus
from provenance_gate.tells.tokencosines import TokenCosines, measure_cosines
from tests import models as tiny
from tests.tells import weights

BASE = tiny.llama(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return weights.folder(tmp_path_factory.mktemp("base") / "base", BASE)


def measured(ours: Path, base: Path, *, stored: bool = False) -> TellResult:
    return EmbeddingCosine().measure(weights.case(ours, base, stored=stored))


def moved_by(share: float, rows: slice = slice(None)) -> tiny.Tensors:
    table = BASE[weights.EMBEDDING].copy()
    noise = np.random.default_rng(5).standard_normal(table.shape).astype(np.float32)
    table[rows] += np.float32(share * table.std()) * noise[rows]
    return {**BASE, weights.EMBEDDING: table}


def test_a_copied_table_fires_also_under_a_foreign_body(tmp_path: Path, base: Path) -> None:
    grafted = {**tiny.llama(2), weights.EMBEDDING: BASE[weights.EMBEDDING]}

    found = measured(weights.folder(tmp_path / "copy", grafted), base)

    assert found.status is TellStatus.FIRED and found.base == "base"
    assert found.numbers["share_unmoved"] == 1.0 and found.numbers["table"] == "untouched"
    assert found.numbers["moved"] == []


def test_a_table_rounded_to_half_precision_is_still_untouched(tmp_path: Path, base: Path) -> None:
    rounded = {k: v.astype(np.float16) for k, v in BASE.items()}

    found = measured(weights.folder(tmp_path / "f16", rounded), base)

    assert found.status is TellStatus.FIRED and found.numbers["share_above_0.9999"] == 1.0


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_a_trained_table_is_related_and_does_not_fire(tmp_path: Path, base: Path, share: float) -> None:
    found = measured(weights.folder(tmp_path / "trained", moved_by(share)), base)

    assert found.status is TellStatus.QUIET and found.strength == 0.0
    assert found.numbers["table"] == "related" and found.base == "base"


def test_a_lightly_trained_table_passes_the_published_cut_and_not_ours(tmp_path: Path, base: Path) -> None:
    found = measured(weights.folder(tmp_path / "light", moved_by(0.02)), base)

    assert found.numbers["share_above_0.999"] == 1.0
    assert found.numbers["share_unmoved"] == 0.0 and found.status is TellStatus.QUIET


def test_a_thousandth_of_each_value_is_more_than_rounding_of_full_precision(tmp_path: Path, base: Path) -> None:
    scaled = {**BASE, weights.EMBEDDING: BASE[weights.EMBEDDING] * np.float32(1.001)}

    found = measured(weights.folder(tmp_path / "scaled", scaled), base)

    assert found.status is TellStatus.QUIET and found.numbers["share_above_0.9999"] == 1.0


def test_a_stranger_has_a_table_of_its_own(tmp_path: Path, base: Path) -> None:
    found = measured(weights.folder(tmp_path / "stranger", tiny.llama(2)), base)

    assert found.status is TellStatus.QUIET and found.base is None
    assert found.numbers["table"] == "own" and abs(float(str(found.numbers["mean"]))) < 0.1


def test_tokens_are_matched_by_string_and_not_by_id(tmp_path: Path, base: Path) -> None:
    order = np.random.default_rng(3).permutation(tiny.VOCABULARY)

    found = measured(weights.renumbered(tmp_path / "renumbered", BASE, order), base)

    assert found.status is TellStatus.FIRED and found.numbers["share_unmoved"] == 1.0


def test_a_reordered_residual_stream_does_not_hide_the_table(tmp_path: Path, base: Path) -> None:
    order = np.random.default_rng(4).permutation(tiny.HIDDEN)

    found = measured(weights.folder(tmp_path / "turned", weights.turned(BASE, order)), base)

    assert found.status is TellStatus.FIRED and "permuted" in str(found.numbers["method"])


def test_the_tokens_that_moved_are_named_the_farthest_first(tmp_path: Path, base: Path) -> None:
    found = measured(weights.folder(tmp_path / "some", moved_by(0.8, slice(100, 103))), base)

    moved = found.numbers["moved"]
    assert found.status is TellStatus.FIRED and isinstance(moved, list)
    words = tiny.tokenizer()["model"]
    assert isinstance(words, dict)
    names = {i: w for w, i in words["vocab"].items()}
    assert {m["token"] for m in moved if isinstance(m, dict)} == {names[i] for i in (100, 101, 102)}
    cosines = [m["cosine"] for m in moved if isinstance(m, dict)]
    assert cosines == sorted(cosines, key=lambda c: float(str(c)))


def test_names_of_moved_tokens_are_printable_and_short(tmp_path: Path, base: Path) -> None:
    ours = weights.side(weights.folder(tmp_path / "ours", moved_by(0.8)))
    hostile = {"model": {"vocab": {f"\x1b[2J{i}" + "x" * 500: i for i in range(160)}}}
    ours = replace(ours, documents={PurePosixPath("tokenizer.json"): json.dumps(hostile).encode()})
    result = EmbeddingCosine().measure(replace(weights.case(tmp_path / "ours", base), ours=ours))

    moved = result.numbers["moved"]
    assert isinstance(moved, list) and len(moved) == 20
    assert all(isinstance(m, dict) and str(m["token"]).isprintable() and len(str(m["token"])) <= 70 for m in moved)


@pytest.mark.parametrize("broken", [b"{", b"[]", b'{"model": {"vocab": 3}}', b'{"added_tokens": [{"id": "x"}]}'])
def test_a_broken_tokenizer_document_leaves_tokens_unnamed(tmp_path: Path, base: Path, broken: bytes) -> None:
    ours = weights.side(weights.folder(tmp_path / "ours", moved_by(0.8)))
    ours = replace(ours, documents={PurePosixPath("tokenizer.json"): broken})

    result = EmbeddingCosine().measure(replace(weights.case(tmp_path / "ours", base), ours=ours))

    moved = result.numbers["moved"]
    assert isinstance(moved, list) and moved and all(isinstance(m, dict) and m["token"] == "" for m in moved)


def test_the_histogram_counts_every_token_once(tmp_path: Path, base: Path) -> None:
    found = measured(weights.folder(tmp_path / "stranger", tiny.llama(2)), base)

    counts = found.numbers["histogram"]
    assert isinstance(counts, list) and len(counts) == 20
    assert sum(int(str(c)) for c in counts) == found.numbers["compared_tokens"] == tiny.VOCABULARY


def test_reading_in_small_blocks_changes_nothing(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = weights.side(weights.folder(tmp_path / "ours", moved_by(0.5))), weights.side(base)
    whole = measure_cosines(ours, theirs)
    monkeypatch.setattr(tokencosines, "_BLOCK", 3 * tiny.HIDDEN)
    parts = measure_cosines(ours, theirs)

    assert isinstance(whole, TokenCosines) and isinstance(parts, TokenCosines)
    assert np.array_equal(whole.values, parts.values) and np.array_equal(whole.ids, parts.ids)


def test_larger_tables_are_sampled_and_say_so(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokencosines, "MOST_TOKENS", 40)

    found = measured(weights.folder(tmp_path / "copy", BASE), base)

    assert found.numbers["compared_tokens"] == 40 and "sampled" in str(found.numbers["method"])


def test_rows_that_are_zero_or_not_finite_are_left_out(tmp_path: Path, base: Path) -> None:
    table = BASE[weights.EMBEDDING].copy()
    table[3], table[5, 0] = 0.0, np.nan

    found = measure_cosines(
        weights.side(weights.folder(tmp_path / "holes", {**BASE, weights.EMBEDDING: table})), weights.side(base)
    )

    assert isinstance(found, TokenCosines) and len(found.values) == tiny.VOCABULARY - 2
    assert not {3, 5} & set(found.ids.tolist())


def test_stored_fingerprints_are_enough_where_tokenizers_agree(tmp_path: Path, base: Path) -> None:
    copy = measured(weights.folder(tmp_path / "copy", BASE), base, stored=True)
    stranger = measured(weights.folder(tmp_path / "stranger", tiny.llama(2)), base, stored=True)

    assert copy.status is TellStatus.FIRED and "fingerprints" in str(copy.numbers["method"])
    assert stranger.status is TellStatus.QUIET


def test_fingerprints_of_other_tokenizers_or_shapes_are_not_compared(tmp_path: Path, base: Path) -> None:
    order = np.arange(tiny.VOCABULARY)
    other = weights.renumbered(tmp_path / "words", BASE, order)
    text = (other / "tokenizer.json").read_text().replace("word", "otherword")
    (other / "tokenizer.json").write_text(text)
    small = {**BASE, weights.EMBEDDING: BASE[weights.EMBEDDING][:100]}
    shorter = weights.folder(tmp_path / "short", small)

    for path, word in ((other, "tokenizers differ"), (shorter, "shape")):
        found = measured(path, base, stored=True)
        assert found.status is TellStatus.NOT_MEASURED and word in found.seen


def test_without_a_base_or_a_table_nothing_is_measured(tmp_path: Path, base: Path) -> None:
    ours = weights.side(base)
    bare = {k: v for k, v in BASE.items() if k != weights.EMBEDDING}
    path = weights.folder(tmp_path / "bare", bare)

    assert EmbeddingCosine().measure(Case(ours)).status is TellStatus.NOT_MEASURED
    found = measure_cosines(weights.side(path), ours)
    assert isinstance(found, NotMeasured) and "no input embedding" in found.reason


def test_a_quantized_table_cannot_tell_untouched_from_lightly_trained_and_says_so(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    light = weights.folder(tmp_path / "light", moved_by(0.02))
    exact = measured(light, base)
    # No format of values known to be exact: as of a quantized table.
    monkeypatch.setattr(tokencosines, "ROUNDING", {})
    found = measured(light, base)
    heavy = measured(weights.folder(tmp_path / "heavy", moved_by(0.5)), base)

    assert exact.status is TellStatus.QUIET and heavy.status is TellStatus.QUIET
    assert found.status is TellStatus.FIRED and found.strength == 0.5 and "quantized" in found.seen


def test_of_a_remote_table_only_a_sample_is_read(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokencosines, "REMOTE_TOKENS", 16)
    far_away = fsspec.filesystem("memory")
    for file in base.iterdir():
        far_away.pipe(f"/cosines/{file.name}", file.read_bytes())
    opened = open_artifact(open_store("memory://cosines", Options()))
    far = replace(weights.side(base), artifact=opened.artifact)

    found = measure_cosines(weights.side(base), far)

    assert isinstance(found, TokenCosines) and len(found.values) == 16 and found.share == 1.0
