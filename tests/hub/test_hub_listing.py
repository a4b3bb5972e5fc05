"""Listings of a hub that lies: each is refused with one clear error, before anything is read by it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provenance_gate.artifact.sources import Options
from provenance_gate.artifact.sources.http import HttpClient
from provenance_gate.artifact.sources.hub import HubStore
from provenance_gate.artifact.sources.retry import Retry
from provenance_gate.errors import (
    ArtifactError,
    ChangedFileError,
    MalformedFileError,
    PathEscapeError,
    UnreachableError,
)

from .contents import Bytes, Content, Repository
from .server import TOKEN, LoopbackHub
from .test_hub_store import COMMIT, FILES, Opener, refused


@pytest.fixture
def served(hub: LoopbackHub) -> LoopbackHub:
    hub.add("org/model", Repository(FILES))
    return hub


def entry(**more: object) -> dict[str, object]:
    lfs = {"oid": "a" * 64, "size": 10, "pointerSize": 1}
    return {"type": "file", "path": "model.safetensors", "size": 10, "oid": "b" * 40, "lfs": lfs, **more}


BROKEN: dict[str, tuple[object, type[ArtifactError]]] = {
    "no list": ({"error": "x"}, MalformedFileError),
    "a number": (7, MalformedFileError),
    "no entries": ([], ArtifactError),
    "entry is a string": (["x"], MalformedFileError),
    "no path": ([{"type": "file", "size": 1, "oid": "b" * 40}], MalformedFileError),
    "empty path": ([entry(path="")], MalformedFileError),
    "path is a number": ([entry(path=7)], MalformedFileError),
    "absolute": ([entry(path="/etc/passwd")], PathEscapeError),
    "climbing": ([entry(path="../../x")], PathEscapeError),
    "climbing inside": ([entry(path="a/../../x")], PathEscapeError),
    "dot": ([entry(path="a/./x")], PathEscapeError),
    "double slash": ([entry(path="a//x")], PathEscapeError),
    "backslash": ([entry(path="a\\..\\x")], PathEscapeError),
    "control character": ([entry(path="a\x1b[2J")], ArtifactError),
    "line break in a folder": ([entry(path="a\nb/c")], ArtifactError),
    "surrogate": ([entry(path="a\ud800")], MalformedFileError),
    "too deep": ([entry(path="a/" * 20 + "x")], ArtifactError),
    "twice": ([entry(), entry()], MalformedFileError),
    "no size": ([entry(size=None)], MalformedFileError),
    "negative size": ([entry(size=-1)], MalformedFileError),
    "size is a string": ([entry(size="10")], MalformedFileError),
    "size is a float": ([entry(size=10.0)], MalformedFileError),
    "size is true": ([entry(size=True)], MalformedFileError),
    "size beyond all disks": ([entry(size=2**63)], MalformedFileError),
    "lfs of another size": ([entry(size=11)], MalformedFileError),
    "lfs without oid": ([entry(lfs={"size": 10, "pointerSize": 1})], MalformedFileError),
    "lfs is a string": ([entry(lfs="x")], MalformedFileError),
    "lfs is a list": ([entry(lfs=[1])], MalformedFileError),
    "short digest": ([entry(lfs={"oid": "a", "size": 10, "pointerSize": 1})], MalformedFileError),
    "digest in capitals": ([entry(lfs={"oid": "A" * 64, "size": 10, "pointerSize": 1})], MalformedFileError),
    "blob id is a number": ([entry(oid=7, lfs=None)], MalformedFileError),
    "blob id is no digest": ([entry(oid="x" * 40, lfs=None)], MalformedFileError),
}


def answer(value: object) -> Callable[[int, dict[str, str], bytes], tuple[int, dict[str, str], bytes]]:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return lambda s, h, b: (200, {"Content-Type": "application/json"}, body)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_listing_that_breaks_the_rules_is_refused(served: LoopbackHub, store: Opener, kind: str) -> None:
    value, error = BROKEN[kind]
    served.fail(origin="hub", path="/tree/", times=100, change=answer(value))
    refused(
        store,
        error,
        "name" if "character" in kind or kind == "line break in a folder" else "hf://org/model",
    )


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"[1, 2", b"\xff\xfe", b"null", b"[]", b'{"id": 1}', b'"x"'])
@pytest.mark.parametrize("path", ["/api/models/org/model?", "/tree/"])
def test_an_answer_that_is_no_json_of_the_hub_is_refused(
    served: LoopbackHub, store: Opener, body: bytes, path: str
) -> None:
    served.fail(origin="hub", path=path, times=100, change=answer(body))
    with pytest.raises(ArtifactError) as caught:
        store()
    assert "hf://org/model" in str(caught.value)


@pytest.mark.parametrize("sha", [None, 7, "main", "c" * 39, "C" * 40, "../../x", "c" * 40 + "/"])
def test_a_commit_that_is_none_is_refused(served: LoopbackHub, store: Opener, sha: object) -> None:
    served.fail(origin="hub", path="/api/models/org/model?", times=9, change=answer({"id": "org/model", "sha": sha}))
    refused(store, MalformedFileError, "no commit")


def test_another_commit_than_the_one_asked_for_is_refused(served: LoopbackHub, store: Opener) -> None:
    served.fail(origin="hub", path="/revision/", times=9, change=answer({"id": "org/model", "sha": "d" * 40}))
    refused(lambda: store("org/model", COMMIT), ChangedFileError, "answers for commit " + "d" * 40)


def test_files_whose_shown_names_are_the_same_are_not_mixed(hub: LoopbackHub, store: Opener) -> None:
    long = "x" * 400
    files: dict[str, Content] = {f"{long}{n}.json": Bytes(f"[{n}]".encode()) for n in range(3)}
    hub.add("org/model", Repository(files, lfs=frozenset({"none"})))
    opened = store()
    for record in opened.files():
        assert opened.read_small(record, 10) == files[str(record.path)].read(0, 10)


def test_too_many_files_are_refused(served: LoopbackHub, store: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provenance_gate.artifact.sources.hub_api.MAX_FILES", 4)
    refused(store, ArtifactError, "more than 4 files")
    monkeypatch.undo()


def test_too_many_weight_files_are_refused_before_they_are_looked_into(
    served: LoopbackHub, store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provenance_gate.artifact.sources.listing.MAX_HEADS", 4)
    opened = store()
    before = len(served.seen)
    refused(opened.files, ArtifactError, "expected at most 4")
    assert len(served.seen) == before


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["path", "size", "oid", "lfs", "type", "sha", "id", "x"]), inner, max_size=5)
    ),
    max_leaves=8,
)


@given(value=json_values, path=st.sampled_from(["/api/models/org/model?", "/tree/"]))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_gives_a_listing_or_an_artifact_error(
    served: LoopbackHub, options: Options, value: object, path: str
) -> None:
    served.faults.clear()
    served.fail(origin="hub", path=path, times=5, change=answer(value))
    client = HttpClient(Retry(tries=1), timeout=2.0)
    try:
        opened = HubStore("org/model", options=options, client=client)
    except ArtifactError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(p, PurePosixPath) and e.size >= 0 for p, e in opened._listing.items())


# Pages, lengths and hosts


def test_pages_without_end_are_refused_whatever_is_on_them(
    served: LoopbackHub, store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provenance_gate.artifact.sources.hub_api.MAX_FILES", 20)
    link = f'<{served.url}/api/models/org/model/tree/{COMMIT}?recursive=true&cursor=0>; rel="next"'
    folder = {"type": "directory", "path": "a", "oid": "d" * 40, "size": 0}
    for body, words in (([folder], "more than 40 files and folders"), ([], "an empty page and promises more")):
        served.faults.clear()
        value = json.dumps(body).encode()
        served.fail(origin="hub", path="/tree/", times=1000, change=lambda s, h, b, v=value: (200, {"Link": link}, v))
        before = len(served.seen)
        refused(store, ArtifactError if body else MalformedFileError, words)
        assert len(served.seen) - before <= 42


def test_a_list_that_takes_too_long_is_given_up(
    served: LoopbackHub, store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provenance_gate.artifact.sources.hub_api.LISTING", -1.0)
    refused(store, UnreachableError, "the list of its files takes more than")


def test_a_list_of_too_many_files_is_refused_after_the_first_pages(
    hub: LoopbackHub, store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provenance_gate.artifact.sources.hub_api.MAX_FILES", 2_000)
    hub.page = 500
    hub.add("org/model", Repository({f"f{n:06}.txt": Bytes(b"") for n in range(8_000)}))
    refused(store, ArtifactError, "more than 2,000 files")
    assert len(hub.seen) <= 1 + 5


@pytest.mark.parametrize("path", ["/api/models/org/model?", "/tree/"])
@pytest.mark.parametrize("stated", [True, False])
def test_an_answer_longer_than_the_limit_is_not_read(
    served: LoopbackHub, store: Opener, monkeypatch: pytest.MonkeyPatch, path: str, stated: bool
) -> None:
    monkeypatch.setattr("provenance_gate.artifact.sources.hub_api.LONGEST", 100_000)
    body = b'"' + b"x" * 20_000_000 + b'"'
    headers = {} if stated else {"Content-Length": "", "Connection": "close"}
    served.fail(origin="hub", path=path, times=9, cut=len(body), change=lambda s, h, b: (200, headers, body))
    refused(store, ArtifactError, "answers more than 100,000 bytes")
    assert served.bytes_sent < 15_000_000


def test_json_that_nests_without_end_is_refused(served: LoopbackHub, store: Opener) -> None:
    served.fail(origin="hub", path="/tree/", times=9, change=answer(b"[" * 100_000))
    refused(store, MalformedFileError, "hf://org/model")


def test_compressed_answers_are_refused_and_not_asked_for(served: LoopbackHub, store: Opener) -> None:
    zipped = __import__("gzip").compress(b'"' + b"x" * 1_000_000 + b'"')
    served.fail(origin="hub", times=9, change=lambda s, h, b: (200, {"Content-Encoding": "gzip"}, zipped))
    refused(store, ArtifactError, "compressed")
    assert served.seen[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("path", ["/api/models/org/model?", "/tree/"])
def test_the_api_may_lead_elsewhere_and_the_token_does_not_follow(
    served: LoopbackHub, options: Options, client: HttpClient, path: str
) -> None:
    elsewhere = f"{served.storage_url}/api"
    served.fail(origin="hub", path=path, change=lambda s, h, b: (307, {"Location": elsewhere}, b""))
    body = json.dumps({"sha": COMMIT} if "?" in path else [entry()]).encode()
    served.fail(origin="storage", path="/api", status=200, body=body)
    HubStore("org/model", options=replace(options, token=TOKEN), client=client)
    led = [s for s in served.seen if s.origin == "storage"]
    assert [s.path for s in led] == ["/api"]
    assert "authorization" not in led[0].headers
    assert all(s.headers["authorization"] == f"Bearer {TOKEN}" for s in served.seen if s.origin == "hub")


def test_the_next_page_may_lie_elsewhere_and_the_token_does_not_follow(
    served: LoopbackHub, options: Options, client: HttpClient
) -> None:
    link = f'<{served.storage_url}/page2>; rel="next"'
    first = json.dumps([entry()]).encode()
    served.fail(origin="hub", path="/tree/", change=lambda s, h, b: (200, {"Link": link}, first))
    served.fail(origin="storage", status=200, body=json.dumps([entry(path="b.safetensors")]).encode())
    opened = HubStore("org/model", options=replace(options, token=TOKEN), client=client)
    assert len(opened._listing) == 2
    assert "authorization" not in served.seen[-1].headers


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("", "without a usable Location"),
        ("file:///etc/passwd", "not an HTTP address"),
        ("http://u:p@127.0.0.1/", "no plain address"),
        ("/api/models/org/model?expand=sha", "more than 5 redirects"),
    ],
)
def test_the_api_leads_only_to_plain_addresses_and_not_in_circles(
    served: LoopbackHub, store: Opener, location: str, words: str
) -> None:
    served.fail(origin="hub", times=99, change=lambda s, h, b: (302, {"Location": location}, b""))
    refused(store, ArtifactError, words)
    assert len(served.seen) <= 6


def test_a_renamed_repository_is_found_under_its_new_name(served: LoopbackHub, store: Opener) -> None:
    new = {"Location": "/api/models/org/model?expand=sha"}
    served.fail(origin="hub", path="/api/models/old/name?", change=lambda s, h, b: (307, new, b""))
    served.repositories["old/name"] = served.repositories["org/model"]
    assert len(store("old/name").files()) == len(FILES)


@pytest.mark.parametrize("path", ["/api/models/org/model?", "/tree/"])
def test_an_api_that_drips_ends_in_bounded_time(served: LoopbackHub, options: Options, path: str) -> None:
    body = b'"' + b"x" * 1_000_000 + b'"'
    served.fail(origin="hub", path=path, times=99, drip=0.1, change=lambda s, h, b: (200, {}, body))
    client = HttpClient(Retry(tries=1, total=0.5), timeout=5.0)
    began = time.monotonic()
    refused(lambda: HubStore("org/model", options=options, client=client), UnreachableError, "given up after 1 try")
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("path", ["\0", "a\0b", "con\x7ftrol", "C:\\x", "//etc/passwd", "~/../x", "x" * 4097])
def test_a_name_that_could_mislead_is_refused_and_shown_on_one_line(
    served: LoopbackHub, store: Opener, path: str
) -> None:
    served.fail(origin="hub", path="/tree/", times=9, change=answer([entry(path=path)]))
    with pytest.raises(ArtifactError) as caught:
        store()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 600
