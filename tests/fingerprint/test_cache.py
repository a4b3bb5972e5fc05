"""The cache of fingerprints: whatever lies in its folder, a result is the one that measuring gives."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from provenance_gate.artifact.interface import Sha256
from provenance_gate.artifact.load import OpenedArtifact, open_artifact
from provenance_gate.artifact.sources import LocalStore, Options, open_hub
from provenance_gate.fingerprint import cache as cache_module
from provenance_gate.fingerprint.cache import (
    FingerprintCache,
    default_folder,
    identity_of_files,
    identity_of_hub,
    is_whole,
    measure_cached,
    reader_version,
)
from provenance_gate.fingerprint.container import fingerprint_bytes, load_fingerprint, save_fingerprint
from provenance_gate.fingerprint.interface import Fingerprint, SignalValue
from provenance_gate.fingerprint.measure import measure
from provenance_gate.fingerprint.plan import SamplingPlan
from provenance_gate.fingerprint.spot import measure_spot
from provenance_gate.reading import Reading, with_digests
from tests.hub.contents import Bytes, Repository
from tests.hub.server import loopback_hub
from tests.models import llama, write_model

KEY, OTHER = FingerprintCache.key("id", exact=True), FingerprintCache.key("other", exact=True)
POSIX = hasattr(os, "geteuid")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> OpenedArtifact:
    return open_artifact(write_model(tmp_path_factory.mktemp("models") / "m", llama(1), base="org/base"))


@pytest.fixture(scope="module")
def measured(opened: OpenedArtifact) -> Fingerprint:
    return measure(opened.artifact)


@pytest.fixture
def cache(tmp_path: Path) -> FingerprintCache:
    return FingerprintCache(tmp_path / "below" / "cache")


@pytest.fixture
def entry(cache: FingerprintCache, measured: Fingerprint) -> Path:
    cache.store(KEY, measured)
    return cache.folder / f"{KEY}.safetensors"


def content(fingerprint: Fingerprint) -> bytes:
    return fingerprint_bytes(replace(fingerprint, subject=cache_module._NOBODY))


def give_away(path: Path) -> None:
    try:
        os.chown(path, 12345, -1)
    except PermissionError:
        pytest.skip("only root gives files away")


def names(cache: FingerprintCache) -> list[str]:
    return sorted(p.name for p in cache.folder.iterdir())


def test_what_was_stored_is_loaded_without_its_subject(cache: FingerprintCache, measured: Fingerprint) -> None:
    assert cache.load(KEY) is None
    cache.store(KEY, measured)
    # A forged entry may hold one.
    forged = cache_module._with_key(fingerprint_bytes(measured), KEY)
    (cache.folder / f"{KEY}.safetensors").write_bytes(forged)
    found = cache.load(KEY)
    assert found is not None
    assert content(found) == content(measured)
    assert (found.subject.name, found.subject.files, found.subject.claims.bases) == ("", (), ())
    for name, value in found.signals.items():
        # What decides whether two values are comparable: a tuple would come back as a list.
        other = measured.signals[name]
        assert getattr(value, "parameters", None) == getattr(other, "parameters", None)
    assert cache.load(OTHER) is None


def test_an_entry_is_private_and_names_no_model(cache: FingerprintCache, entry: Path) -> None:
    assert b"org/base" not in entry.read_bytes()
    assert names(cache) == [entry.name]
    if POSIX:
        assert [stat.S_IMODE(p.stat().st_mode) for p in (cache.folder, entry)] == [0o700, 0o600]


def test_the_key_is_of_everything_that_decides_the_values() -> None:
    plans = [SamplingPlan("seed"), SamplingPlan(version=2)]
    options: list[dict[str, Any]] = [
        {},
        {"exact": False},
        {"method": "x/2"},
        {"reader": "1"},
        *({"plan": p} for p in plans),
    ]
    variants = [FingerprintCache.key("a", **{"exact": True, **o}) for o in options] + [KEY]
    assert len(set(variants)) == len(variants)
    assert FingerprintCache.key("a", exact=True, plan=SamplingPlan(), reader=reader_version()) == variants[0]
    with pytest.raises(ValueError, match="empty identity"):
        FingerprintCache.key("", exact=True)


@pytest.mark.parametrize(
    "identity",
    [
        "../../etc/passwd",
        "a\0b",
        'a", true, "x',
        "\ud800",
        "\u202e" * 9,
        "x" * 1_000_000,
        "a" * 64 + "\n",
        "A" * 64,
        "/",
    ],
)
def test_a_hostile_identity_is_no_name_of_a_file(cache: FingerprintCache, measured: Fingerprint, identity: str) -> None:
    key = cache.key(identity, exact=True)
    assert key != KEY
    cache.store(key, measured)
    assert cache.load(key) is not None
    assert names(cache) == [f"{key}.safetensors"]
    for use in (cache.load, lambda k: cache.store(k, measured)):
        with pytest.raises(ValueError, match="64 hex digits"):
            use(identity)


def test_a_broken_entry_changes_no_value(cache: FingerprintCache, entry: Path, measured: Fingerprint) -> None:
    data, rng = entry.read_bytes(), np.random.default_rng(0)
    header = 8 + int.from_bytes(data[:8], "little")
    for size in (0, 1, 7, 8, 9, 300, header - 1, header, header + 1, len(data) // 2, len(data) - 1):
        entry.write_bytes(data[:size])
        assert cache.load(KEY) is None
        assert not entry.exists()
    for at in (*range(8), *rng.integers(0, header, 60), *rng.integers(header, len(data), 20)):
        bad = bytearray(data)
        bad[at] ^= 1 << int(rng.integers(8))
        entry.write_bytes(bad)
        found = cache.load(KEY)
        assert found is None or content(found) == content(measured)


def poisoned(entry: Path, how: str) -> None:
    """Make of a sound entry one that must not be believed."""
    data, found = entry.read_bytes(), load_fingerprint(entry)
    arrays, metadata = load_file(entry), json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    match how:
        case "other key":
            entry.write_bytes(data.replace(KEY.encode(), OTHER.encode()))
        case "no key":
            save_fingerprint(found, entry)
        case "other values":
            save_file({k: v + 1 for k, v in arrays.items()}, entry, metadata)
        case "other facts":
            inner = metadata["provenance_gate"].replace('"measured":{', '"measured":{"method":"x",')
            save_file(arrays, entry, metadata | {"provenance_gate": inner})
        case "deep":
            save_file(arrays, entry, metadata | {"provenance_gate": "[" * 100_000})
        case "other types":
            # numpy has no BF16; the container's reader breaks on it.
            array = {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}
            text = json.dumps({"__metadata__": metadata, "x/y": array}).encode()
            entry.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
        case "a signal less":
            fewer = replace(found, signals={k: v for k, v in found.signals.items() if k != "weight_correlation"})
            entry.write_bytes(cache_module._with_key(fingerprint_bytes(fewer), KEY))
        case "link":
            entry.rename(entry.with_name("target"))
            entry.symlink_to("target")
        case "pipe":
            entry.unlink()
            os.mkfifo(entry)
        case "writable":
            entry.chmod(0o602)
        case "writable for the group":
            entry.chmod(0o620)
        case _:
            give_away(entry)


POISONS = ["other key", "no key", "other values", "other facts", "deep", "other types", "a signal less", "link"]
POISONS += ["pipe", "writable", "writable for the group", "another user's"] * POSIX


@pytest.mark.parametrize("how", POISONS)
def test_a_poisoned_entry_is_removed_and_measured_anew(
    cache: FingerprintCache, entry: Path, opened: OpenedArtifact, measured: Fingerprint, how: str
) -> None:
    poisoned(entry, how)
    assert cache.load(KEY) is None
    assert not os.path.lexists(entry)
    cache.store(KEY, measured)
    poisoned(entry, how)
    assert content(measure_cached(opened.artifact, "id", cache)) == content(measured)
    assert cache.load(KEY) is not None


def test_links_and_folders_in_the_place_of_an_entry_do_no_harm(
    cache: FingerprintCache, entry: Path, measured: Fingerprint, tmp_path: Path
) -> None:
    target = tmp_path / "precious"
    entry.rename(target)
    before = target.read_bytes()
    entry.symlink_to(target)
    assert cache.load(KEY) is None
    entry.symlink_to(target)
    cache.store(KEY, replace(measured, parameters=1))
    assert target.read_bytes() == before
    entry.unlink()
    entry.mkdir()
    cache.store(KEY, measured)
    assert cache.load(KEY) is None
    assert names(cache) == [entry.name]


@pytest.mark.skipif(not POSIX, reason="modes and owners of POSIX")
@pytest.mark.parametrize("mode", [0o500, 0o777, 0o1777, 0o770, None])
def test_a_folder_not_ours_is_not_used(
    cache: FingerprintCache, entry: Path, measured: Fingerprint, mode: int | None
) -> None:
    cache.folder.chmod(0o700 if mode is None else mode)
    if mode is None:
        give_away(cache.folder)
    if mode == 0o500 and os.access(cache.folder, os.W_OK):
        pytest.skip("root may write everywhere")
    cache.store(OTHER, measured)
    assert (cache.load(KEY) is not None) is (mode == 0o500)
    assert names(cache) == [entry.name]


def test_too_large_an_entry_is_not_kept(
    cache: FingerprintCache, entry: Path, measured: Fingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "LARGEST_ENTRY", entry.stat().st_size - 1)
    assert cache.load(KEY) is None
    assert not entry.exists()
    cache.store(KEY, measured)
    FingerprintCache(cache.folder, limit=1000).store(OTHER, measured)
    assert names(cache) == []


@pytest.mark.parametrize("place", ["file", "below-file", "nul"])
def test_no_folder_is_a_miss(tmp_path: Path, opened: OpenedArtifact, measured: Fingerprint, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    folder = {"file": tmp_path / "file", "below-file": tmp_path / "file" / "x", "nul": Path("a\0b")}[place]
    cache = FingerprintCache(folder)
    assert content(measure_cached(opened.artifact, "id", cache)) == content(measured)
    assert cache.load(KEY) is None
    cache.clear()
    assert (tmp_path / "file").read_text() == "mine"


def test_the_least_recently_used_entries_go_first(cache: FingerprintCache, entry: Path, measured: Fingerprint) -> None:
    cache.limit = 3 * entry.stat().st_size + 100
    keys = [cache.key(f"model {i}", exact=True) for i in range(4)]
    entry.unlink()
    for age, key in enumerate(keys[:3]):
        cache.store(key, measured)
        then = time.time() - 1000 + age
        os.utime(cache.folder / f"{key}.safetensors", (then, then))
    assert cache.load(keys[0]) is not None
    cache.store(keys[3], measured)
    assert [cache.load(k) is not None for k in keys] == [True, False, True, True]


def test_only_our_files_are_removed(cache: FingerprintCache, entry: Path, measured: Fingerprint) -> None:
    others = ["model.safetensors", f"{KEY}.json", f"x{KEY}.safetensors"]
    old, new = f".{KEY}.abc123.part", f".{KEY}.abc124.part"
    for name in (*others, old, new):
        (cache.folder / name).write_text("some")
    os.utime(cache.folder / old, (1, 1))
    cache.store(OTHER, measured)
    assert names(cache) == sorted([*others, new, entry.name, f"{OTHER}.safetensors"])
    cache.clear()
    assert names(cache) == sorted(others)


def hammer(folder: str, source: str, number: int) -> bool:
    """One of several jobs that store, load, cut and clear the same few entries."""
    cache, measured = FingerprintCache(Path(folder)), load_fingerprint(Path(source))
    cache.limit = 3 * Path(source).stat().st_size
    keys = [cache.key(f"model {i}", exact=True) for i in range(4)]
    for turn in range(15):
        key = keys[(number + turn) % 4]
        cache.store(key, measured)
        found = cache.load(key)
        if found is not None and content(found) != content(measured):
            return False
        if turn % 7 == 6 and number == 0:
            cache.clear()
    return True


def test_parallel_jobs_read_whole_entries(cache: FingerprintCache, measured: Fingerprint, tmp_path: Path) -> None:
    source = tmp_path / "source.safetensors"
    save_fingerprint(measured, source)
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        jobs = [pool.apply_async(hammer, (str(cache.folder), str(source), n)) for n in range(4)]
        assert all(job.get(timeout=120) for job in jobs)
    assert not [n for n in names(cache) if n.endswith(".part")]


def test_nothing_partial_is_kept(cache: FingerprintCache, opened: OpenedArtifact, measured: Fingerprint) -> None:
    partial = [
        measure(opened.artifact, max_tier=1),
        measure_spot(opened.artifact, "seed"),
        replace(measured, signals={}),
        replace(measured, signals={k: v for k, v in measured.signals.items() if k != "lep"}),
        replace(measured, signals={**measured.signals, "mine": SignalValue("facts")}),
        replace(measured, method="provenance-gate-fingerprint/0"),
    ]
    for fingerprint in partial:
        assert not is_whole(fingerprint)
        cache.store(KEY, fingerprint)
    cache.store(KEY, replace(measured, parameters=float("nan")))  # type: ignore[arg-type]
    assert not cache.folder.exists()
    measure_cached(opened.artifact, "id", cache, max_tier=1)
    measure_cached(opened.artifact, None, cache)
    assert not cache.folder.exists()


def test_the_subject_is_of_the_artifact_at_hand(
    cache: FingerprintCache, opened: OpenedArtifact, measured: Fingerprint
) -> None:
    cache.store(KEY, replace(measured, parameters=1))
    assert measure_cached(opened.artifact, "id", cache).parameters == measured.parameters
    other = replace(opened.artifact, name="other", claims=cache_module._NOBODY.claims)
    found = measure_cached(other, "id", cache)
    assert (found.subject.name, found.subject.claims.bases) == ("other", ())
    assert content(found) == content(measured)
    assert fingerprint_bytes(measure_cached(opened.artifact, "id", cache)) == fingerprint_bytes(measured)


@pytest.mark.parametrize(("exact", "max_tier"), [(None, 4), (True, 4), (False, 4), (True, 3), (None, 2)])
def test_exact_and_sampled_values_are_never_mixed_up(
    cache: FingerprintCache, opened: OpenedArtifact, exact: bool | None, max_tier: int
) -> None:
    expected = measure(opened.artifact, exact=exact, max_tier=max_tier)
    measure_cached(opened.artifact, "id", cache, exact=True)
    measure_cached(opened.artifact, "id", cache, exact=False)
    assert len(names(cache)) == 2
    assert content(measure_cached(opened.artifact, "id", cache, exact=exact, max_tier=max_tier)) == content(expected)


def test_a_second_look_reads_no_weights(cache: FingerprintCache, opened: OpenedArtifact, tmp_path: Path) -> None:
    assert isinstance(opened.store, LocalStore)
    files = {p.name: Bytes(p.read_bytes()) for p in opened.store.root.iterdir()}
    with loopback_hub(page=100) as hub:
        hub.add("org/model", Repository(files))
        options = Options(token=False, endpoint=hub.url, cache_dir=str(tmp_path / "hub"), offline=False)
        results, read = [], []
        for _ in range(2):
            far = open_artifact(open_hub("org/model", options))
            identity = identity_of_hub(far.store, options)
            assert identity == f"hub {hub.url} hf://org/model@{'c' * 40}"
            before = far.counter.bytes_read
            results.append(measure_cached(far.artifact, identity, cache, exact=False))
            read.append(far.counter.bytes_read - before)
    assert read[0] > 0
    assert read[1] == 0
    # The hub's cache on disk may have been edited.
    assert identity_of_hub(LocalStore(tmp_path, location=far.store.location), options) is None
    assert fingerprint_bytes(results[0]) == fingerprint_bytes(results[1])


def test_only_computed_digests_identify_files(opened: OpenedArtifact) -> None:
    assert identity_of_files(opened.artifact.files) is None
    assert identity_of_files(()) is None
    files = with_digests(opened, Reading()).files
    known = identity_of_files(files)
    assert known is not None
    assert known == identity_of_files(files[::-1])
    assert identity_of_files([replace(files[0], sha256=Sha256("0" * 64)), *files[1:]]) != known
    assert identity_of_files([replace(files[0], declared=True), *files[1:]]) is None


def test_the_folder_is_where_the_xdg_specification_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    below = Path("provenance-gate", "fingerprints")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for value, expected in ((str(tmp_path), tmp_path), ("", tmp_path / "home/.cache"), ("x", tmp_path / "home/.cache")):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert default_folder() == expected / below
