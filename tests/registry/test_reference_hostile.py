"""Databases that lie, are cut, or lead elsewhere: one clear error that names the file and the field."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from provenance_gate.errors import RegistryError
from provenance_gate.registry import reference_parquet
from provenance_gate.registry.reference_kit import import_reference
from tests.models import llama, write_model
from tests.registry.reference_database import Asset, copied, stored, table, write_database

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
PARQUET = "features/deep-signals/by-family/acme--base/base__hf-safetensors_deep-signals.parquet"
FEATURES = "features/base/by-family/acme--base/base__hf-safetensors_features.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Asset:
    folder = write_model(tmp_path_factory.mktemp("model") / "base", llama(1, 2), layers=2)
    found = stored(folder, llama(1, 2), "acme/base", "model.embed_tokens.weight")[0]
    found.lines = [each for each in found.lines if each[0] != "wvc_layer_sigs" or each[2] < 100]
    return found


@pytest.fixture
def asset(whole: Asset) -> Asset:
    return copied(whole)


def failure(folder: Path) -> str:
    with pytest.raises(RegistryError) as caught:
        list(import_reference(folder))
    message = str(caught.value)
    assert message.isprintable()
    return message


def line(asset: Asset, signal: str, row: int, /, **change: Any) -> None:
    """Changes one line: the one of `signal` whose row is `row`."""
    names = ("signal", "layer", "row", "col", "value")
    for at, found in enumerate(asset.lines):
        if (found[0], found[2]) == (signal, row):
            asset.lines[at] = tuple({**dict(zip(names, found, strict=True)), **change}.values())  # type: ignore[assignment]
            return
    raise AssertionError("no such line")


@pytest.mark.parametrize(
    ("signal", "change", "expected"),
    [
        ("end_histogram", {"value": float("nan")}, "end_histogram: value: NaN"),
        ("nlf_vector", {"value": float("inf")}, "nlf_vector: value: NaN, infinite"),
        ("nlf_vector", {"value": None}, "nlf_vector: value: NaN, infinite or missing"),
        ("nlf_vector", {"row": -1}, "nlf_vector: row: found -1"),
        ("nlf_vector", {"row": 2**31 - 1}, "nlf_vector: row: found 2147483647"),
        ("nlf_vector", {"row": None}, "nlf_vector: row: missing on 1 lines"),
        ("nlf_vector", {"row": 4}, "nlf_vector: row 3 is not there"),
        ("end_histogram", {"row": 2}, "end_histogram: row 2 is twice"),
        ("end_histogram", {"row": 20}, "end_histogram: row 3 is not there"),
        ("end_histogram", {"row": 5000}, "end_histogram: row: found 5000"),
        ("end_histogram", {"value": -0.1}, "end_histogram: expected shares"),
        ("end_histogram", {"value": 0.9}, "end_histogram: expected shares"),
        ("lep_profile", {"value": 7.0}, "lep_profile: expected energies"),
        ("lep_profile", {"value": -0.5}, "lep_profile: expected energies"),
        ("eas_self_sim", {"value": 3.0}, "eas_self_sim: expected cosines"),
        ("eas_self_sim", {"col": 64}, "eas_self_sim: col: found 64"),
        ("eas_self_sim", {"col": None}, "eas_self_sim: col: missing"),
        ("eas_self_sim", {"col": 1}, "eas_self_sim: row"),
        ("wvc_layer_sigs", {"layer": None}, "wvc_layer_sigs: layer: missing"),
        ("wvc_layer_sigs", {"layer": 1_000_000}, "wvc_layer_sigs: layer: found 1000000"),
        ("wvc_layer_sigs", {"layer": 9}, "wvc_layer_sigs: row 3 is not there"),
        ("wvc_layer_sigs", {"signal": None}, "column signal: expected text on every line"),
    ],
)
def test_a_line_that_cannot_be_is_refused(
    tmp_path: Path, asset: Asset, signal: str, change: dict[str, Any], expected: str
) -> None:
    line(asset, signal, 1 if signal == "lep_profile" else 3, **change)
    message = failure(write_database(tmp_path, asset))
    assert message.startswith(PARQUET) and expected in message


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"value": None}, "column value: expected one, found 0"),
        ({"value": pa.string()}, "column value: expected float32, found string"),
        ({"row": pa.float64()}, "column row: expected a signed integer, found double"),
        ({"signal": pa.binary()}, "column signal: expected text"),
    ],
)
def test_columns_have_their_types(tmp_path: Path, asset: Asset, columns: dict[str, Any], expected: str) -> None:
    if columns.get("value") == pa.string():
        asset.lines = [(*found[:4], str(found[4])) for found in asset.lines]  # type: ignore[misc]
    asset.columns = columns
    assert expected in failure(write_database(tmp_path, asset))


def test_a_column_may_not_be_there_twice(tmp_path: Path, asset: Asset) -> None:
    single = table(pa, asset)
    asset.table = single.append_column("row", single.column("row"))
    assert "column row: expected one, found 2" in failure(write_database(tmp_path, asset))


def test_values_beyond_float32_are_not_finite(tmp_path: Path, asset: Asset) -> None:
    line(asset, "nlf_vector", 3, value=1e300)
    asset.columns = {"value": pa.float64()}
    assert "nlf_vector: value: NaN, infinite" in failure(write_database(tmp_path, asset))


def test_more_values_than_a_signal_may_have_are_refused(
    tmp_path: Path, asset: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(reference_parquet.LIMITS, "nlf_vector", 500)  # type: ignore[arg-type]
    asset.lines = [found for found in asset.lines if found[2] < 300]
    asset.lines += [("nlf_vector", None, row, None, 1.0) for row in range(300)]
    assert "nlf_vector: more than 500 values" in failure(write_database(tmp_path, asset))


def test_more_lines_than_are_read_are_refused_before_they_are_read(
    tmp_path: Path, asset: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_parquet, "MAX_LINES", 1000)
    assert "at most 1,000 are read" in failure(write_database(tmp_path, asset))


def test_a_page_that_expands_without_end_is_refused_before_it_is_read(tmp_path: Path, asset: Asset) -> None:
    """80 MB of text on one line, in a file of a thousandth of that."""
    folder = write_database(tmp_path, asset)
    named = table(pa, replace(asset, lines=asset.lines[:1])).set_column(0, "signal", pa.array(["x" * 80_000_000]))
    pq.write_table(named, folder / PARQUET, compression="zstd", use_dictionary=False, write_statistics=False)
    asset.features["artifact_refs"][0]["checksum"] = ""
    folder.joinpath(FEATURES).write_text(json.dumps(asset.features))
    assert (folder / PARQUET).stat().st_size < 1 << 18
    assert "a page states 80,000,0" in failure(folder)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "no footer"),
        (b"PAR1" + b"\xff\xff\xff\x7f" + b"PAR1", "no footer"),
        (b"PAR1" + b"\x1c" * 40 + (40).to_bytes(4, "little") + b"PAR1", "nests deeper"),
        (b"PAR1" + b"\x19\xfc\xff\xff\xff\x7f" + (6).to_bytes(4, "little") + b"PAR1", "longer than its bytes"),
        (b"PAR1" + b"\x15\x02\x05\x02\x02\x00" + (6).to_bytes(4, "little") + b"PAR1", "field 1 is there twice"),
        (b"PAR1" + b"\x16" + b"\xff" * 12 + (13).to_bytes(4, "little") + b"PAR1", "more than 64 bits"),
        (b"PAR1" + b"\x18\x7f\x00" + (3).to_bytes(4, "little") + b"PAR1", "ends within a string"),
        (b"PAR1" + b"\x00" + (1).to_bytes(4, "little") + b"PAR1", "a list of structs is missing"),
    ],
)
def test_a_footer_that_lies_is_refused(tmp_path: Path, asset: Asset, data: bytes, expected: str) -> None:
    asset.features["artifact_refs"][0]["checksum"] = ""
    folder = write_database(tmp_path, asset)
    (folder / PARQUET).write_bytes(data)
    message = failure(folder)
    assert message.startswith(f"{PARQUET}: not a readable parquet file: ") and expected in message


def test_long_names_are_not_copied_to_every_line(tmp_path: Path, asset: Asset) -> None:
    """2 GB of text, as a dictionary of one name."""
    lines = len(asset.lines)
    name = pa.DictionaryArray.from_arrays(pa.array(np.zeros(lines, np.int32)), pa.array(["x" * 500_000]))
    asset.table = table(pa, asset).set_column(0, "signal", name)
    (found,) = import_reference(write_database(tmp_path, asset))
    assert found.fingerprint is not None and lines * 500_000 > 1 << 31


def test_a_digest_that_does_not_fit_is_refused(tmp_path: Path, asset: Asset) -> None:
    asset.checksum = "sha256:" + "0" * 64
    message = failure(write_database(tmp_path, asset))
    assert message.startswith(f"{PARQUET}: SHA-256 is ") and "0" * 64 in message


def test_a_digest_is_a_sha256(tmp_path: Path, asset: Asset) -> None:
    asset.checksum = "md5:0123"
    assert "checksum: expected a SHA-256 in hex" in failure(write_database(tmp_path, asset))


def test_a_file_without_a_digest_is_read_and_reported(tmp_path: Path, asset: Asset) -> None:
    asset.features["artifact_refs"][0]["checksum"] = ""
    (found,) = import_reference(write_database(tmp_path, asset))
    assert found.fingerprint is not None
    assert any("read unchecked" in problem for problem in found.problems)


def test_a_cut_file_is_refused(tmp_path: Path, asset: Asset) -> None:
    asset.features["artifact_refs"][0]["checksum"] = ""
    folder = write_database(tmp_path, asset)
    data = (folder / PARQUET).read_bytes()
    (folder / PARQUET).write_bytes(data[: len(data) // 2])
    assert failure(folder).startswith(f"{PARQUET}: not a readable parquet file")


def test_garbage_in_the_pages_is_refused(tmp_path: Path, asset: Asset) -> None:
    asset.features["artifact_refs"][0]["checksum"] = ""
    folder = write_database(tmp_path, asset)
    data = bytearray((folder / PARQUET).read_bytes())
    data[4:400] = bytes(396)
    (folder / PARQUET).write_bytes(bytes(data))
    assert failure(folder).startswith(PARQUET)


@pytest.mark.parametrize("path", ["../outside.json", "/etc/passwd", "features/../../x", "c:\\x", ".", "features\0x"])
def test_no_path_leads_out_of_the_database(tmp_path: Path, asset: Asset, path: str) -> None:
    (tmp_path / "outside.json").write_text("{}")
    asset.catalog["feature_path"] = path
    message = failure(write_database(tmp_path / "db", asset))
    assert "leads out of the database" in message or "expected a file" in message


def test_no_artifact_path_leads_out_of_the_database(tmp_path: Path, asset: Asset) -> None:
    asset.features["artifact_refs"][0]["path"] = "../../secret.parquet"
    message = failure(write_database(tmp_path / "db", asset))
    assert message.startswith(f"{FEATURES}: artifact_refs: ") and "leads out" in message


def test_no_link_leads_out_of_the_database(tmp_path: Path, asset: Asset) -> None:
    folder = write_database(tmp_path / "db", asset)
    (folder / PARQUET).rename(tmp_path / "elsewhere.parquet")
    (folder / PARQUET).symlink_to(tmp_path / "elsewhere.parquet")
    assert "leads out of the database" in failure(folder)


@pytest.mark.parametrize("name", [PARQUET, FEATURES, "catalog/manifest.json"])
def test_a_named_pipe_is_not_opened(tmp_path: Path, asset: Asset, name: str) -> None:
    folder = write_database(tmp_path, asset)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert f"{name}: expected a file" in failure(folder)


CHANGES: dict[str, tuple[Callable[[Asset], object], str]] = {
    "a size as text": (lambda a: a.features["mfi"].update(hidden_size="64"), "hidden_size: expected an integer"),
    "a negative size": (
        lambda a: a.features["mfi"].update(num_hidden_layers=-1),
        "num_hidden_layers: expected an integer",
    ),
    "a flag as a number": (lambda a: a.features["mfi"].update(attention_bias=1), "mfi: attention_bias: expected true"),
    "facts as a list": (lambda a: a.features.update(mfi=[]), "mfi: expected an object, found a list"),
    "names as numbers": (lambda a: a.features["mfi"].update(architectures=[1]), "mfi: architectures"),
    "an id as text": (lambda a: a.features["tfv"].update(bos_token_id="1"), "tfv: bos_token_id: expected an integer"),
    "a share as text": (
        lambda a: a.features["tfv"]["script_distribution"].update(Latin="all"),
        "script_distribution: Latin: expected a number",
    ),
    "another shape": (
        lambda a: a.features["signals"].update(eas_self_sim_shape=[8, 8]),
        "eas_self_sim: 64 x 64 values, eas_self_sim_shape states another shape",
    ),
    "another length": (
        lambda a: a.features["signals"].update(nlf_vector_length=5),
        "nlf_vector: 320 values, nlf_vector_length states 5",
    ),
    "other norms": (
        lambda a: a.features["signals"].update(nlf_num_layers=7),
        "do not fit nlf_mode direct of 7 tensors",
    ),
    "other layers": (lambda a: a.features["signals"].update(wvc_layer_count=7), "2 layers, wvc_layer_count states 7"),
    "another asset": (lambda a: a.features.update(asset_id="x"), "asset_id: expected base__hf-safetensors"),
    "references as text": (lambda a: a.features.update(artifact_refs="x"), "artifact_refs: expected a list"),
    "no features": (lambda a: a.catalog.update(feature_path=""), "feature_path: expected a string that is not empty"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_features_have_their_types(tmp_path: Path, asset: Asset, kind: str) -> None:
    change, expected = CHANGES[kind]
    change(asset)
    write = {"references as text": lambda: None}.get(kind)
    if write is not None:
        asset.features["artifact_refs"] = []
        folder = write_database(tmp_path, asset)
        text = (folder / FEATURES).read_text()
        (folder / FEATURES).write_text(text.replace('"artifact_refs": []', '"artifact_refs": "x"'))
    else:
        folder = write_database(tmp_path, asset)
    message = failure(folder)
    assert expected in message and message.startswith(("features/", "catalog/"))


def test_a_catalog_names_an_asset_once(tmp_path: Path, asset: Asset) -> None:
    message = failure(write_database(tmp_path, asset, asset))
    assert "asset_id: base__hf-safetensors is there twice" in message


def test_a_folder_that_is_no_database_says_so(tmp_path: Path) -> None:
    assert "catalog/manifest.json" in failure(tmp_path)


def test_an_empty_manifest_is_refused(tmp_path: Path, asset: Asset) -> None:
    folder = write_database(tmp_path, asset, shards=[])
    assert "manifest.json: shards: expected a list of families" in failure(folder)


def test_an_unknown_id_is_refused(tmp_path: Path, asset: Asset) -> None:
    with pytest.raises(RegistryError, match="acme/unknown is not in it, among 1 assets"):
        list(import_reference(write_database(tmp_path, asset), ["acme/unknown"]))


def test_a_broken_asset_is_skipped_only_when_told_so(tmp_path: Path, asset: Asset) -> None:
    path = asset.catalog["feature_path"].replace("/base__", "/other__")
    other = copied(asset)
    other.asset_id = other.features["asset_id"] = "other__hf-safetensors"
    other.catalog |= {"asset_id": other.asset_id, "feature_path": path, "source_uri": "acme/other"}
    other.features["artifact_refs"][0]["path"] = PARQUET.replace("/base__", "/other__")
    line(asset, "nlf_vector", 3, value=float("nan"))
    folder = write_database(tmp_path, asset, other)
    assert "NaN" in failure(folder)
    broken, sound = import_reference(folder, skip_broken=True)
    assert (broken.id, broken.fingerprint, broken.record) == ("acme/base", None, None)
    assert len(broken.problems) == 1 and broken.problems[0].startswith(PARQUET)
    assert (sound.id, sound.problems) == ("acme/other", ()) and sound.fingerprint is not None


def test_names_from_the_database_cannot_move_the_cursor(tmp_path: Path, asset: Asset) -> None:
    asset.catalog["feature_path"] = "features/\x1b[2J\u202e.json"
    assert "\\u001b[2J\\u202e" in failure(write_database(tmp_path, asset))


def test_without_pyarrow_the_error_says_how_to_get_it(
    tmp_path: Path, asset: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_database(tmp_path, asset)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "provenance-gate[parquet]" in failure(folder)
