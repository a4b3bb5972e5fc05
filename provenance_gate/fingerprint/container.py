"""A fingerprint as one file: a safetensors container whose ``__metadata__`` holds the JSON part.

The arrays lie in it as tensors named ``signal/array``. The JSON part carries a digest over all that was measured, so that a
file that was cut, or edited by hand without care, is refused; it is no signature.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenance_gate.artifact.interface import (
    BaseClaim,
    Claims,
    ClaimSource,
    FileKind,
    FileRecord,
    LicenseClaim,
    NotMeasured,
    Sha256,
    WeightFormat,
)
from provenance_gate.errors import FingerprintError, MalformedFileError, one_line
from provenance_gate.fingerprint.interface import Fingerprint, Json, SignalResult, SignalValue, Subject

KEY = "provenance_gate"
"""The one key of ``__metadata__``."""
_LARGEST = 1 << 30


def fingerprint_schema() -> dict[str, Any]:
    """JSON Schema of the JSON part."""
    text = resources.files(__package__).joinpath("schemas/fingerprint.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def fingerprint_bytes(fingerprint: Fingerprint) -> bytes:
    """The file: equal values give equal bytes."""
    from safetensors.numpy import save

    arrays = _arrays(fingerprint.signals)
    measured = _measured_json(fingerprint)
    header = {
        "measured": measured,
        "content_sha256": _content_digest(measured, arrays),
        "subject": _subject_json(fingerprint.subject),
    }
    return save(arrays, metadata={KEY: _dumps(header)})


def save_fingerprint(fingerprint: Fingerprint, path: Path) -> None:
    """Write the file. Raises FingerprintError when the place cannot be written."""
    try:
        path.write_bytes(fingerprint_bytes(fingerprint))
    except OSError as error:
        raise FingerprintError(f"{path}: {error.strerror}") from error


def is_fingerprint(path: Path) -> bool:
    """Whether a file looks like a fingerprint: a safetensors header with our key. Reads a few hundred bytes."""
    try:
        with path.open("rb") as file:
            return f'"{KEY}":' in file.read(256).decode("utf-8", "replace")
    except OSError:
        return False


def load_fingerprint(path: Path) -> Fingerprint:
    """Read and check a file.

    Raises
    ------
    FingerprintError
        It is no fingerprint, breaks the schema, or its digest does not fit what it holds.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if path.stat().st_size > _LARGEST:
            raise FingerprintError(f"{path}: larger than {_LARGEST:,} bytes")
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: np.asarray(file.get_tensor(name)) for name in sorted(file.keys())}
    except OSError as error:
        raise FingerprintError(f"{path}: {error.strerror or one_line(str(error))}") from error
    except (SafetensorError, TypeError) as error:
        # TypeError: an array of a type that numpy lacks.
        raise FingerprintError(f"{path}: not a fingerprint: {one_line(str(error))}") from error
    header = _header(metadata, path)
    measured, content = header["measured"], header["content_sha256"]
    if _content_digest(measured, arrays) != content:
        raise FingerprintError(f"{path}: content_sha256 does not fit the content; the file was cut or edited")
    subject = _subject(header["subject"])
    return Fingerprint(subject, _signals(measured["signals"], arrays, path), measured["parameters"], measured["method"])


def _header(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    from provenance_gate.artifact.jsonfile import load_json_object

    if KEY not in metadata:
        raise FingerprintError(f"{path}: not a fingerprint: no {KEY!r} in its metadata")
    try:
        header: dict[str, Any] = load_json_object(metadata[KEY].encode(), f"{path}: {KEY}")
    except (MalformedFileError, UnicodeEncodeError) as error:
        raise FingerprintError(str(error)) from error
    _validate(header, path)
    return header


def _validate(header: dict[str, Any], path: Path) -> None:
    import jsonschema

    errors = jsonschema.Draft202012Validator(fingerprint_schema()).iter_errors(header)
    first = min(errors, key=lambda e: [str(p) for p in e.absolute_path], default=None)
    if first is not None:
        field = "/".join(str(p) for p in first.absolute_path) or "header"
        raise FingerprintError(f"{path}: {field}: {one_line(first.message, 160)}")


def _arrays(signals: Mapping[str, SignalResult]) -> dict[str, NDArray[Any]]:
    return {
        f"{name}/{part}": np.ascontiguousarray(array)
        for name, value in sorted(signals.items())
        if isinstance(value, SignalValue)
        for part, array in sorted(value.arrays.items())
    }


def _measured_json(fingerprint: Fingerprint) -> dict[str, Json]:
    signals: dict[str, Json] = {}
    for name, value in fingerprint.signals.items():
        if isinstance(value, NotMeasured):
            signals[name] = {"reason": value.reason}
        else:
            held: list[Json] = [*sorted(value.arrays)]
            signals[name] = {
                "method": value.method,
                "parameters": dict(value.parameters),
                "facts": dict(value.facts),
                "arrays": held,
            }
    return {"method": fingerprint.method, "parameters": fingerprint.parameters, "signals": signals}


def _content_digest(measured: Mapping[str, Json], arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = sha256(_dumps(measured).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _dumps(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _signals(entries: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], path: Path) -> dict[str, SignalResult]:
    signals: dict[str, SignalResult] = {}
    for name, entry in entries.items():
        if "reason" in entry:
            signals[name] = NotMeasured(entry["reason"])
            continue
        wanted = [f"{name}/{part}" for part in entry["arrays"]]
        missing = [w for w in wanted if w not in arrays]
        if missing:
            raise FingerprintError(f"{path}: array {one_line(missing[0])} is missing")
        held = {part: arrays[f"{name}/{part}"] for part in entry["arrays"]}
        signals[name] = SignalValue(entry["method"], entry["parameters"], entry["facts"], held)
    return signals


def _subject_json(subject: Subject) -> dict[str, Any]:
    return {
        "name": subject.name,
        "files": [
            {
                "path": str(f.path),
                "size": f.size,
                "kind": f.kind.value,
                "format": None if f.format is None else f.format.value,
                "sha256": None if isinstance(f.sha256, NotMeasured) else f.sha256,
            }
            for f in subject.files
        ],
        "bases": [
            {"id": c.id, "relation": c.relation, "revision": c.revision, "source": _source_json(c.source)}
            for c in subject.claims.bases
        ],
        "licenses": [
            {"id": c.id, "name": c.name, "link": c.link, "source": _source_json(c.source)}
            for c in subject.claims.licenses
        ],
    }


def _source_json(source: ClaimSource) -> list[Any]:
    return [str(source.path), source.line, source.field]


def _subject(entry: Mapping[str, Any]) -> Subject:
    files = tuple(
        FileRecord(
            PurePosixPath(f["path"]),
            f["size"],
            FileKind(f["kind"]),
            None if f["format"] is None else WeightFormat(f["format"]),
            NotMeasured("not in the fingerprint") if f["sha256"] is None else Sha256(f["sha256"]),
        )
        for f in entry["files"]
    )
    bases = tuple(BaseClaim(c["id"], c["relation"], c["revision"], _source(c["source"])) for c in entry["bases"])
    licenses = tuple(LicenseClaim(c["id"], c["name"], c["link"], _source(c["source"])) for c in entry["licenses"])
    return Subject(entry["name"], files, Claims(bases, licenses))


def _source(entry: list[Any]) -> ClaimSource:
    return ClaimSource(PurePosixPath(entry[0]), entry[1], entry[2])
