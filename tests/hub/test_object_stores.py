"""Models in buckets, through the real client libraries, against servers on the loopback interface. Needs s3fs and moto."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from provenance_gate import cli
from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.load import open_artifact
from provenance_gate.artifact.sources import Options, open_store
from provenance_gate.errors import ArtifactError, ChangedFileError, RefusedError, UnreachableError
from provenance_gate.fingerprint.measure import measure
from tests.models import llama, noisy, write_model

from .contents import Shape, generated_model
from .server import LoopbackHub

s3fs = pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")
boto3 = pytest.importorskip("boto3")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
ONLINE = Options(offline=False)
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, address: str) -> Iterator[None]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def s3(address: str) -> Any:
    client = boto3.client("s3", endpoint_url=address)
    client.create_bucket(Bucket="models")
    for entry in client.list_objects_v2(Bucket="models").get("Contents", ()):
        client.delete_object(Bucket="models", Key=entry["Key"])
    return client


def upload(s3: Any, folder: Path, prefix: str, **more: str) -> None:
    for path in folder.iterdir():
        s3.put_object(Bucket="models", Key=f"{prefix}/{path.name}", Body=path.read_bytes(), **more)


def test_a_model_in_a_bucket_is_read_by_ranges(s3: Any, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    for path, content in generated_model(Shape(4, 256, 1024, 4, 2, 2000)).items():
        (folder / path).write_bytes(content.read(0, content.size))
    upload(s3, folder, "team/m")
    far, near = open_artifact(open_store("s3://models/team/m", ONLINE)), open_artifact(folder)
    ours, theirs = measure(far.artifact, exact=False), measure(near.artifact, exact=False)
    for name, signal in theirs.signals.items():
        other = ours.signals[name]
        if isinstance(signal, NotMeasured) or isinstance(other, NotMeasured):
            assert signal == other
            continue
        assert all(np.array_equal(array, other.arrays[key]) for key, array in signal.arrays.items())
    assert far.counter.bytes_read < 0.5 * (folder / WEIGHTS).stat().st_size
    assert far.store.location == "s3://models/team/m"


def test_the_gate_checks_a_model_in_a_bucket(
    s3: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    base = llama(1)
    upload(s3, write_model(tmp_path / "base", base), "base")
    upload(s3, write_model(tmp_path / "child", noisy(base, 0.1), base="org/base"), "child")
    arguments = ["check", "s3://models/child", "--base", "org/base=s3://models/base", "--format", "json"]
    assert exit_code(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"] == "pass"


def test_an_object_that_is_replaced_between_two_reads_is_a_changed_file(s3: Any, tmp_path: Path) -> None:
    data = (write_model(tmp_path / "m", llama(1)) / WEIGHTS).read_bytes()
    s3.put_object(Bucket="models", Key=f"m/{WEIGHTS}", Body=data)
    opened = open_store("s3://models/m", ONLINE)
    (record,) = opened.files()
    source = opened.open(record)
    assert source.read(70_000, 100) == data[70_000:70_100]
    s3.put_object(Bucket="models", Key=f"m/{WEIGHTS}", Body=data[:-1] + b"x")
    for _ in range(2):
        with pytest.raises(ChangedFileError, match=r"^model\.safetensors: changed while it was read$"):
            source.read(80_000, 100)
    with pytest.raises(ChangedFileError):
        opened.digests([record])
    s3.delete_object(Bucket="models", Key=f"m/{WEIGHTS}")
    with pytest.raises(RefusedError, match="no such file"):
        source.read(80_000, 100)
    s3.put_object(Bucket="models", Key=f"m/{WEIGHTS}", Body=data)
    assert source.read(80_000, 100) == data[80_000:80_100], "the same content has the same entity tag"


def test_a_digest_that_the_store_checked_is_believed_and_marked(s3: Any, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", llama(1))
    upload(s3, folder, "with", ChecksumAlgorithm="SHA256")
    upload(s3, folder, "without")
    true = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    for prefix, declared in (("with", True), ("without", False)):
        opened = open_store(f"s3://models/{prefix}", ONLINE)
        files = opened.files()
        before = opened.counter.bytes_read
        digests = opened.digests(files)
        assert {str(f.path): f.sha256 for f in digests} == true
        assert {f.declared for f in digests} == {declared}
        assert (opened.counter.bytes_read == before) is declared


def test_the_digest_of_parts_is_no_digest_of_the_whole(s3: Any) -> None:
    part = bytes(5 << 20)
    started = s3.create_multipart_upload(Bucket="models", Key="m/a.safetensors", ChecksumAlgorithm="SHA256")
    ids = {"Bucket": "models", "Key": "m/a.safetensors", "UploadId": started["UploadId"]}
    parts = []
    for number in (1, 2):
        answer = s3.upload_part(**ids, PartNumber=number, Body=part, ChecksumAlgorithm="SHA256")
        parts.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": answer["ChecksumSHA256"]})
    s3.complete_multipart_upload(**ids, MultipartUpload={"Parts": parts})
    opened = open_store("s3://models/m/a.safetensors", ONLINE)
    (record,) = opened.digests(opened.files())
    assert (record.sha256, record.declared) == (hashlib.sha256(part * 2).hexdigest(), False)


def test_a_large_object_without_a_digest_is_not_fetched_for_one(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provenance_gate.artifact.sources.fsspec_store.LARGEST_UNDECLARED", 50_000)
    folder = write_model(tmp_path / "m", llama(1))
    upload(s3, folder, "m")
    opened = open_store("s3://models/m", ONLINE)
    found = {str(f.path): f.sha256 for f in opened.digests(opened.files())}
    absent = found[WEIGHTS]
    assert isinstance(absent, NotMeasured)
    assert absent.reason.endswith("of which s3:// states no SHA-256; --exact fetches and hashes them")
    assert all(isinstance(digest, str) for name, digest in found.items() if name == "config.json")
    whole = {str(f.path): f.sha256 for f in opened.digests(opened.files(), whole=True)}
    assert whole[WEIGHTS] == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def exit_code(arguments: list[str]) -> object:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    return ended.value.code


def said(capsys: pytest.CaptureFixture[str], source: str) -> str:
    """What `compare` says of a model that it cannot read."""
    assert exit_code(["compare", source, source]) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


def test_a_missing_bucket_or_model_is_one_line_and_exit_3(s3: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for source in ("s3://no-such-bucket/m", "s3://models/none", "s3://no-such-bucket"):
        with pytest.raises(RefusedError):
            open_store(source, ONLINE)
        text = said(capsys, source)
        assert "no such file or folder" in text
        assert source in text
        assert text.count("\n") == 1


def test_denied_access_is_one_line_and_exit_3(
    hub: LoopbackHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", hub.url)
    body = b"<Error><Code>AccessDenied</Code><Message>Access\nDenied</Message></Error>"
    hub.fail(origin="hub", status=403, headers={"Content-Type": "application/xml"}, body=body, times=1000)
    with pytest.raises(RefusedError, match="no access"):
        open_store("s3://models/m", ONLINE)
    text = said(capsys, "s3://models/m")
    assert "no access" in text
    assert text.count("\n") == 1


def test_no_credentials_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(RefusedError):
        open_store("s3://private-models/m", ONLINE)


def test_nobody_there_is_given_up_in_time_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    quick = replace(ONLINE, timeout=0.5)
    with pytest.raises(UnreachableError, match="no answer within"):
        open_store("s3://models/m", quick)
    with pytest.raises(UnreachableError, match="s3://models gave no answer a moment ago"):
        open_store("s3://models/other", quick)


@pytest.mark.parametrize("kind", ["whole", "shifted", "short"])
def test_a_server_that_sends_other_bytes_than_asked_for_is_refused(
    hub: LoopbackHub, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    s3.put_object(Bucket="models", Key=f"m/{WEIGHTS}", Body=bytes(range(256)) * 1000)
    opened = open_store("s3://models/m", ONLINE)
    source = opened._source(next(iter(opened._infos)))  # type: ignore[attr-defined]
    file = source.source
    etag = {"ETag": file._etag}
    answers: dict[str, tuple[int, dict[str, str], bytes]] = {
        "whole": (200, etag, bytes(256_000)),
        "shifted": (206, {**etag, "Content-Range": "bytes 101-150/256000"}, bytes(50)),
        "short": (206, {**etag, "Content-Range": "bytes 100-149/256000"}, bytes(20)),
    }
    monkeypatch.setenv("AWS_ENDPOINT_URL", hub.url)
    s3fs.S3FileSystem.clear_instance_cache()
    file._fs = s3fs.S3FileSystem(endpoint_url=hub.url, skip_instance_cache=True)
    status, headers, body = answers[kind]
    hub.fail(origin="hub", status=status, headers=headers, body=body, times=1000)
    with pytest.raises(ArtifactError):
        source.read(100, 50)
