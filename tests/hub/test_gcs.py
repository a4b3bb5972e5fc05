"""Models in a bucket of Google's kind, through gcsfs, against an emulator on the loopback interface. Needs both packages."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.artifact.load import open_artifact
from provenance_gate.artifact.sources import Options, open_store
from provenance_gate.errors import ChangedFileError, RefusedError
from provenance_gate.fingerprint.measure import measure
from tests.models import llama, write_model

emulator = pytest.importorskip("gcp_storage_emulator.server")
ONLINE = Options(offline=False)
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        # Else it asks Google's servers what kind of bucket this is.
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        gcsfs = pytest.importorskip("gcsfs")
        server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="models")
        server.start()
        gcsfs.GCSFileSystem.clear_instance_cache()
        yield gcsfs.GCSFileSystem()
        gcsfs.GCSFileSystem.clear_instance_cache()
        server.stop()


def test_a_model_in_a_bucket_is_the_model_on_disk(bucket: Any, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", llama(1))
    for path in folder.iterdir():
        bucket.pipe_file(f"models/team/m/{path.name}", path.read_bytes())
    opened = open_artifact(open_store("gs://models/team/m", ONLINE))
    ours, theirs = measure(opened.artifact).signals["nlf"], measure(open_artifact(folder).artifact).signals["nlf"]
    assert not isinstance(ours, NotMeasured)
    assert not isinstance(theirs, NotMeasured)
    assert np.array_equal(ours.arrays["vector"], theirs.arrays["vector"])
    found = {str(f.path): f for f in opened.store.digests(opened.artifact.files)}
    assert found[WEIGHTS].sha256 == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert not found[WEIGHTS].declared, "an MD5 is no SHA-256"


def test_an_object_that_is_replaced_is_a_changed_file(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.pipe_file("models/one/a.safetensors", bytes(100_000))
    opened = open_store("gs://models/one/a.safetensors", ONLINE)
    (record,) = opened.files()
    source = opened.open(record)
    monkeypatch.setattr("provenance_gate.artifact.sources.fsspec_store.RECHECK", 0.0)
    assert source.read(90_000, 10) == bytes(10)
    bucket.pipe_file("models/one/a.safetensors", bytes(99_999) + b"x")
    with pytest.raises(ChangedFileError, match="changed while it was read"):
        source.read(90_000, 10)


def test_nothing_there_is_a_refusal(bucket: Any) -> None:
    for source in ("gs://models/none", "gs://no-such-bucket/m"):
        with pytest.raises(RefusedError, match="no such file or folder"):
            open_store(source, ONLINE)
