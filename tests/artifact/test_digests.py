"""Digests of files and of the whole."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from threading import Lock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_gate.artifact.digests import digest_files, manifest_sha256
from provenance_gate.artifact.interface import FileRecord, NotMeasured
from provenance_gate.artifact.inventory import list_files
from provenance_gate.errors import ArtifactError, ChangedFileError, MalformedFileError

CONTENT = {"a.txt": b"", "b/c.bin": b"x" * 3_000_001, "b.txt": b"hello", "z": bytes(range(256))}


def folder_of(root: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.mark.parametrize("jobs", [0, 1, 2, 7])
def test_digests_are_those_of_hashlib_for_any_number_of_jobs(tmp_path: Path, jobs: int) -> None:
    files = list_files(folder_of(tmp_path, CONTENT))
    digested = digest_files(tmp_path, files, jobs)
    assert [replace(d, sha256=f.sha256) for d, f in zip(digested, files, strict=True)] == list(files)
    assert {str(d.path): d.sha256 for d in digested} == {n: hashlib.sha256(c).hexdigest() for n, c in CONTENT.items()}


def test_a_single_file_is_digested(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(b"abc")
    (record,) = digest_files(path, list_files(path))
    # FIPS 180-2, appendix B.1.
    assert record.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_progress_sums_to_the_bytes_of_all_files(tmp_path: Path) -> None:
    files = list_files(folder_of(tmp_path, CONTENT))
    seen, lock = [0], Lock()

    def add(size: int) -> None:
        with lock:
            seen[0] += size

    digest_files(tmp_path, files, 4, add)
    assert seen[0] == sum(map(len, CONTENT.values()))


def test_a_pointer_gets_the_digest_of_what_it_stands_for(tmp_path: Path) -> None:
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0a' * 32}\nsize 4096\n"
    (tmp_path / "model.safetensors").write_text(text)
    (record,) = digest_files(tmp_path, list_files(tmp_path))
    assert record.sha256 == "0a" * 32


def test_a_broken_pointer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(MalformedFileError, match=r"^model\.safetensors: "):
        digest_files(tmp_path, list_files(tmp_path))


@pytest.mark.parametrize("now", [b"", b"shorter", b"longer than it was before"])
def test_a_file_whose_size_changed_since_it_was_listed_is_refused(tmp_path: Path, now: bytes) -> None:
    (tmp_path / "config.json").write_bytes(b"as it was first")
    files = list_files(tmp_path)
    (tmp_path / "config.json").write_bytes(now)
    with pytest.raises(ChangedFileError, match=r"^config\.json: changed while it was read$"):
        digest_files(tmp_path, files)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"x" * 3_000_000)
    files = list_files(tmp_path)

    def meddle(size: int) -> None:
        with path.open("r+b") as file:
            file.write(b"y" * 10)
            file.truncate(2_999_999)

    with pytest.raises(ChangedFileError):
        digest_files(tmp_path, files, 1, meddle)


def test_a_file_that_is_gone_is_an_artifact_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    files = list_files(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ArtifactError, match=r"^config\.json: "):
        digest_files(tmp_path, files)


def test_the_manifest_is_a_digest_of_sorted_lines(tmp_path: Path) -> None:
    files = digest_files(tmp_path, list_files(folder_of(tmp_path, {"b": b"2", "a/x": b"1", "a.txt": b""})))
    lines = [
        f"{hashlib.sha256(b'').hexdigest()}  a.txt\n",
        f"{hashlib.sha256(b'1').hexdigest()}  a/x\n",
        f"{hashlib.sha256(b'2').hexdigest()}  b\n",
    ]
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert manifest_sha256(files) == manifest_sha256(files[::-1]) == expected


def test_a_manifest_of_files_without_digests_says_why(tmp_path: Path) -> None:
    files = list_files(folder_of(tmp_path, {"a": b"1"}))
    assert manifest_sha256(files) == NotMeasured("digests were not asked for")


names = st.text(st.sampled_from("ab字-_ ."), min_size=1, max_size=6).filter(lambda n: n not in (".", ".."))
contents = st.dictionaries(names, st.binary(max_size=20), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(contents, contents)
def test_manifests_are_equal_exactly_when_the_folders_are(first: dict[str, bytes], second: dict[str, bytes]) -> None:
    def manifest(content: dict[str, bytes]) -> object:
        with TemporaryDirectory() as folder:
            root = folder_of(Path(folder), content)
            return manifest_sha256(digest_files(root, list_files(root)))

    assert (manifest(first) == manifest(second)) == (first == second)


def test_no_files_have_the_digest_of_nothing() -> None:
    files: tuple[FileRecord, ...] = ()
    assert digest_files(Path(PurePosixPath("/")), files) == ()
    assert manifest_sha256(files) == hashlib.sha256(b"").hexdigest()
