"""Calls into fsspec's file systems: bounded in seconds, their errors told apart, and objects of S3 pinned to one state.

The libraries behind fsspec have no common base of errors, so those that are not OSErrors are told by the names of their classes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from provenance_gate.artifact.interface import Sha256
from provenance_gate.artifact.sources.http import SLOWEST, within
from provenance_gate.artifact.sources.retry import TransientError
from provenance_gate.errors import ArtifactError, ChangedFileError, RefusedError, UnreachableError, one_line

T = TypeVar("T")
Info = Mapping[str, Any]
"""What a file system says of a file."""

SECONDS = 60.0
"""Until a call answers. File systems try again by themselves; their own limits are minutes."""
STRONG = ("ETag", "etag", "VersionId", "generation", "md5Hash", "content_md5")
"""Names of what changes with the content of a file; the first four also when it is written again."""
WEAK = ("LastModified", "last_modified", "mtime", "updated", "created")
_UNREACHABLE = frozenset(
    {
        "ConnectionError",
        "HTTPClientError",
        "ClientConnectionError",
        "ServerTimeoutError",
        "TransportError",
        "ServiceRequestError",
    }
)
_REFUSED = frozenset({"NoCredentialsError", "ClientAuthenticationError", "DefaultCredentialsError", "RefreshError"})


def called(shown: str, call: Callable[[], T], seconds: float = SECONDS, size: int = 0) -> T:
    """What `call` returns, within `seconds` and the time that `size` bytes take.

    Raises
    ------
    UnreachableError
        Nobody there, too slow, too busy.
    RefusedError
        Nothing there, or no access.
    ChangedFileError
        The file is no longer in the state that the call asked for.
    ArtifactError
        Anything else that the file system raises.
    """
    try:
        return within(seconds + size / SLOWEST, call)
    except ArtifactError:
        raise
    except FileNotFoundError as error:
        raise RefusedError(f"{shown}: no such file or folder") from error
    except TransientError as error:
        raise UnreachableError(f"{shown}: {error}") from error
    except Exception as error:
        raise _told(shown, error) from error


def _told(shown: str, error: Exception) -> ArtifactError:
    said = f"{type(error).__name__}: {one_line(str(error), 160)}"
    names = {c.__name__ for c in type(error).__mro__}
    status, code = _status(error)
    if status == 412 or code == "PreconditionFailed":
        return ChangedFileError(f"{shown}: changed while it was read")
    if isinstance(error, PermissionError) or status in (401, 403) or names & _REFUSED:
        return RefusedError(f"{shown}: no access: {said}")
    if isinstance(error, (ConnectionError, TimeoutError)) or names & _UNREACHABLE or status == 429 or status >= 500:
        return UnreachableError(f"{shown}: {said}")
    return ArtifactError(f"{shown}: {said}")


def _status(error: BaseException) -> tuple[int, str]:
    """HTTP status and error code behind an error, 0 and "" when there are none."""
    for cause in _causes(error):
        response = getattr(cause, "response", None)
        if isinstance(response, dict):
            found = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return found if isinstance(found, int) else 0, str(response.get("Error", {}).get("Code", ""))
        for name in ("status_code", "status", "code"):
            found = getattr(cause, name, None)
            if isinstance(found, int):
                return found, ""
    return 0, ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    for _ in range(5):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__


def is_same(before: Info, after: Info) -> bool:
    """Whether two answers speak of one state of a file. Lists and single answers of one file system name different facts."""
    if before.get("size") != after.get("size"):
        return False
    strong = [k for k in STRONG if before.get(k) is not None and after.get(k) is not None]
    # One moment is written in many ways, so times are compared only where nothing better is said.
    names = strong or [k for k in WEAK if before.get(k) is not None and after.get(k) is not None]
    return all(before[k] == after[k] for k in names)


def is_s3(fs: Any) -> bool:
    """Whether single requests to S3 can be made through `fs`."""
    protocol = getattr(fs, "protocol", ())
    return "s3" in ((protocol,) if isinstance(protocol, str) else protocol) and hasattr(fs, "_call_s3")


def read_s3(fs: Any, path: str, start: int, size: int, etag: str) -> bytes:
    """Bytes [start, start + size) of the object with this entity tag; S3 answers 412 when it has another one by now.

    Never takes more than one byte beyond, whatever the server sends.
    """
    from fsspec.asyn import sync  # type: ignore[import-untyped]

    bucket, key, _ = fs.split_path(path)
    stop = start + size - 1

    async def get() -> bytes:
        answer = await fs._call_s3("get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{stop}", IfMatch=etag)
        async with answer["Body"] as body:
            if not str(answer.get("ContentRange", "")).startswith(f"bytes {start}-{stop}/"):
                raise ArtifactError(
                    f"{one_line(path, 120)}: the server sends other bytes than {start} to {start + size}"
                )
            parts, left = [], size + 1
            while left and (part := await body.read(min(left, 1 << 20))):
                parts.append(part)
                left -= len(part)
            return b"".join(parts)

    found: bytes = sync(fs.loop, get)
    return found


def sha256_s3(fs: Any, path: str, etag: str) -> Sha256 | None:
    """The SHA-256 of the whole object, if S3 checked one when it was uploaded in one piece."""
    if "-" in etag:
        return None  # uploaded in parts: what S3 states is a digest of their digests
    bucket, key, _ = fs.split_path(path)
    answer = fs.call_s3("head_object", Bucket=bucket, Key=key, ChecksumMode="ENABLED", IfMatch=etag)
    stated, kind = answer.get("ChecksumSHA256"), answer.get("ChecksumType", "FULL_OBJECT")
    if not isinstance(stated, str) or kind != "FULL_OBJECT" or len(stated) > 64:
        return None
    try:
        digest = base64.b64decode(stated, validate=True)
    except (binascii.Error, ValueError):
        return None
    return Sha256(digest.hex()) if len(digest) == 32 else None
