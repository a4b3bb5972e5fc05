"""OpenSSF model signatures: what must hold beyond what the signing project's library checks.

Weights that the signer told it to leave out are not signed, and neither are other files that it leaves out unless the policy says
so. Where a signature states SHA-256 of whole files, they must be those of the bytes that the gate read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from provenance_gate.artifact.interface import FileRecord, NotMeasured
from provenance_gate.artifact.sources import LocalStore
from provenance_gate.errors import ChangedFileError, MalformedFileError, PolicyError, one_line
from provenance_gate.signing.bundle import MOST_RESOURCES, Checkable, Coverage, read_coverage
from provenance_gate.signing.dsse import LARGEST
from provenance_gate.signing.files import is_single, named, read_beside
from provenance_gate.signing.interface import (
    CertificateSigner,
    KeySigner,
    Material,
    Refused,
    SignatureDemand,
    SigstoreSigner,
    Verified,
)
from provenance_gate.signing.keys import load_key, read_named
from provenance_gate.signing.library import library
from provenance_gate.signing.openssf import ask_library

_GIT: Final = tuple(PurePosixPath(p) for p in (".git", ".gitattributes", ".gitignore"))
"""The signing project leaves these out unless told otherwise, and no loader reads them. It leaves out .github too; we do not."""
_CHECKED_BY: Final[Mapping[type[Any], tuple[Checkable, ...]]] = {
    KeySigner: (Checkable.KEY,),
    CertificateSigner: (Checkable.CHAIN,),
    # Old Sigstore bundles carry a chain of one.
    SigstoreSigner: (Checkable.CERTIFICATE, Checkable.CHAIN),
}
_SIGN: Final = "sign the model as the policy asks, with the model_signing command"
_AGAIN: Final = "get the files as they were signed, or sign them as they are now"
_SINGLE: Final = PurePosixPath()
_MOST_LEFT_OUT = 1_000
"""The library compares every file with each of these: a million comparisons take seconds, a billion hours."""


def verify_signature(
    demand: SignatureDemand, material: Material, *, offline: bool = False
) -> Verified | Refused | NotMeasured:
    """Check the signature of a model on disk.

    Raises
    ------
    MalformedFileError
        The signature cannot be read as one.
    PolicyError
        Key, certificates or trust configuration of the policy cannot be used.
    MissingLibraryError
        The extra `model-signing` is not installed.
    UnreachableError
        Sigstore's trust root cannot be had.
    ArtifactError, ChangedFileError
        A file of the model cannot be read, or is not the one any more that the gate read.
    """
    signer = check_signer(demand)
    store = material.store
    if not isinstance(store, LocalStore):
        return NotMeasured("a model signature covers files on disk, and this model is remote: download it first")
    if store.location.startswith("hf://"):
        return NotMeasured("model signatures do not cover the links of the hub's cache: use hf download --local-dir")
    name = one_line(str(demand.signature), 200)
    data = read_beside(material, demand.signature, LARGEST)
    if data is None:
        return Refused("no signature", f"there is no signature {name} with the model", _SIGN)
    coverage = read_coverage(data, name)
    if coverage.by not in _CHECKED_BY[type(demand.signer)]:
        reason = f"{name} is to be checked by a {coverage.by.value}, not by {signer}"
        return Refused("wrong signer", reason, _SIGN)
    _check_shards(coverage, material, name)
    files = {_SINGLE: material.files[0]} if is_single(store) else {f.path: f for f in material.files}
    left_out = _left_out(demand, coverage, files)
    if len(left_out) > _MOST_LEFT_OUT:
        reason = f"{len(left_out):,} files lie in folders that are signed in part, and {name} does not cover them"
        return Refused("files not covered", reason, "sign these folders, or nothing in them")
    problem = ask_library(demand, coverage, store.root, data, left_out, offline=offline)
    if problem is not None and not problem.content:
        return Refused("wrong signer", f"{name} was not made by {signer}: {problem.detail}", _SIGN)
    uncovered = _uncovered(demand, coverage, files, store.root)
    changed = [p for p, f in files.items() if _is_other(f, coverage.files.get(p))]
    if problem is not None:
        missing = [p for p in coverage.files if p not in files]
        parts = {"changed": changed, "not signed": uncovered, "missing": missing}
        said = "; ".join(f"{word}: {named(paths)}" for word, paths in parts.items() if paths) or problem.detail
        return Refused("other content", f"the files are not those that {name} covers ({said})", _AGAIN)
    if changed:
        raise ChangedFileError(f"{named(changed)}: changed while it was read")
    beyond = [p for p in files if p not in coverage.files]
    evidence = (
        ("signer", signer),
        ("signature", name),
        ("files", f"{len(coverage.files):,} covered"),
        ("signed digest", coverage.root or "none over all files"),
        *((("not covered", named(beyond)),) if beyond else ()),
    )
    if uncovered:
        reason = f"{name} does not cover {named(uncovered)}"
        remedy = "remove these files or sign them; `unsigned` in the policy excuses files that hold no weights"
        return Refused("files not covered", reason, remedy, evidence)
    return Verified(signer, name, evidence)


def check_signer(demand: SignatureDemand) -> str:
    """Who is to have signed, for messages. Raises PolicyError where a file of the policy cannot be used, MissingLibraryError."""
    library("model_signing.verifying")
    match demand.signer:
        case KeySigner(path):
            key = load_key(path, demand.place)
            if key.curve is None:
                message = f"{one_line(str(path), 200)}: model signatures are made with ECDSA keys, found Ed25519"
                raise PolicyError(message, file=demand.place.file, line=demand.place.line)
            return str(key)
        case CertificateSigner(chain):
            read_named(chain, demand.place)
            return f"a certificate under {one_line(str(chain), 120)}"
        case SigstoreSigner(identity, issuer, trust_config):
            if trust_config is not None:
                read_named(trust_config, demand.place)
            return f"{one_line(identity, 120)} of {one_line(issuer, 120)}"


def _check_shards(coverage: Coverage, material: Material, name: str) -> None:
    """Shards are listed before they are hashed; one takes a hundred bytes, however small it is."""
    if coverage.shard_size is not None:
        total = sum(f.size for f in material.files)
        if total // coverage.shard_size > MOST_RESOURCES:
            raise MalformedFileError(f"{name}: shard_size: {coverage.shard_size:,} is too small for {total:,} bytes")


def _left_out(
    demand: SignatureDemand, coverage: Coverage, files: Mapping[PurePosixPath, FileRecord]
) -> tuple[PurePosixPath, ...]:
    """The signature itself, and what the policy excuses as far as it was not signed; folders that the gate does not list too."""
    signed = _holding(demand.unsigned, coverage.files)
    folders = [p for p in demand.unsigned if p not in signed]
    is_unsigned = _below(signed)
    excused = [p for p in files if p not in coverage.files and is_unsigned(p)]
    return tuple(dict.fromkeys((demand.signature, *excused, *folders)))


def _uncovered(
    demand: SignatureDemand, coverage: Coverage, files: Mapping[PurePosixPath, FileRecord], root: Path
) -> list[PurePosixPath]:
    """Files that are there and that nobody signed; also what the signer left out of folders that the gate does not list."""
    is_excused = _below((demand.signature, *demand.unsigned, *_GIT))
    found = [
        p
        for p, f in files.items()
        if p not in coverage.files
        and (f.format is not None or not is_excused(p))
        # An empty file has no shards.
        and not (coverage.shard_size is not None and f.size == 0)
    ]
    listed = _holding(coverage.ignored, files)
    unlisted = [
        p
        for p in coverage.ignored
        if p != _SINGLE
        and not p.is_absolute()
        and ".." not in p.parts
        and not is_excused(p)
        and p not in listed
        and _exists(root / p)
    ]
    return [*found, *unlisted]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        # A name that is too long for the file system is not there.
        return False


def _holding(folders: Iterable[PurePosixPath], files: Iterable[PurePosixPath]) -> set[PurePosixPath]:
    """Those `folders` that are, or hold, one of the files. In time linear in both: a signature may list very many."""
    by_depth: dict[int, dict[tuple[str, ...], PurePosixPath]] = {}
    for folder in folders:
        by_depth.setdefault(len(folder.parts), {})[folder.parts] = folder
    return {
        at[file.parts[:depth]]
        for file in files
        for depth, at in by_depth.items()
        if depth <= len(file.parts) and file.parts[:depth] in at
    }


def _below(folders: Iterable[PurePosixPath]) -> Callable[[PurePosixPath], bool]:
    """Whether a path is, or lies in, one of them. 20,000 files against 100 folders must not take a minute."""
    starts = {folder.parts for folder in folders}
    depths = {len(start) for start in starts}
    return lambda path: any(path.parts[:depth] in starts for depth in depths)


def _is_other(record: FileRecord, signed: str | None) -> bool:
    """A Git LFS pointer was signed as the text that it is, and is recorded by the digest that it states."""
    return signed is not None and not record.declared and record.sha256 != signed
