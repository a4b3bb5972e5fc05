"""The one place that calls OpenSSF model signing (PyPI `model-signing`, 1.1), by its documented interface."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from provenance_gate.errors import ArtifactError, MalformedFileError, PolicyError, UnreachableError, one_line
from provenance_gate.signing.bundle import Coverage
from provenance_gate.signing.interface import (
    CertificateSigner,
    KeySigner,
    SignatureDemand,
    Signer,
    SigstoreSigner,
)
from provenance_gate.signing.library import library

_GIT_NAMES = frozenset({".git", ".gitattributes", ".github", ".gitignore"})


@dataclass(frozen=True, slots=True)
class Problem:
    """What the library refuses: the `content`, or else the signature itself. `detail`: in its words, safe to print."""

    content: bool
    detail: str


def ask_library(
    demand: SignatureDemand,
    coverage: Coverage,
    root: Path,
    data: bytes,
    left_out: Sequence[PurePosixPath],
    *,
    offline: bool,
) -> Problem | None:
    """Check the signature `data` of the folder or file `root`, without the files `left_out`. None: it holds.

    Raises
    ------
    MalformedFileError
        The library cannot read the signature.
    PolicyError, UnreachableError, ArtifactError, MissingLibraryError
        See `model_signature.verify_signature`.
    """
    _check_certificates(coverage, demand)
    verifying, hashing = library("model_signing.verifying"), library("model_signing.hashing")
    reached: list[bool] = []

    class Hashing(hashing.Config):  # type: ignore[misc, name-defined]
        """Tells a wrong signature from files that differ: for both the library raises ValueError."""

        def hash(self, *arguments: Any, **named: Any) -> Any:
            reached.append(True)
            return super().hash(*arguments, **named)

    config = Hashing()
    if coverage.shard_size is None:
        config.use_file_serialization(hashing_algorithm=coverage.algorithm)
    else:
        config.use_shard_serialization(hashing_algorithm=coverage.algorithm, shard_size=coverage.shard_size)
    signed_git = any(path.parts[:1] and path.parts[0] in _GIT_NAMES for path in coverage.files)
    config.set_ignored_paths(paths=[str(p) for p in left_out], ignore_git_paths=not signed_git)
    verifier = _configured(verifying.Config(), demand, offline=offline).set_hashing_config(config)
    with tempfile.TemporaryDirectory(prefix="signature-") as folder:
        # The bytes that were read, whatever happens to the file meanwhile.
        copy = Path(folder) / "model.sig"
        copy.write_bytes(data)
        try:
            # It prints a warning about old signatures; standard output is for reports.
            with contextlib.redirect_stdout(io.StringIO()):
                verifier.verify(root, copy)
        except _refusals(demand.signer) as error:
            return Problem(False, one_line(str(error), 200) or "another key or another text")
        except _unreadable(demand.signer) as error:
            raise MalformedFileError(f"{demand.signature}: not a model signature: {error}") from error
        except ValueError as error:
            return Problem(bool(reached), one_line(str(error), 300))
        except OSError as error:
            raise ArtifactError(f"{one_line(str(root))}: {error.strerror or error}") from error
    return None


def _check_certificates(coverage: Coverage, demand: SignatureDemand) -> None:
    """The library says no more than ValueError to one that cannot be parsed. Raises MalformedFileError."""
    x509 = library("cryptography.x509")
    for data in coverage.certificates:
        try:
            x509.load_der_x509_certificate(data)
        except (ValueError, TypeError) as error:
            raise MalformedFileError(f"{demand.signature}: not an X.509 certificate: {error}") from error


def _configured(config: Any, demand: SignatureDemand, *, offline: bool) -> Any:
    match demand.signer:
        case KeySigner(key):
            return config.use_elliptic_key_verifier(public_key=key)
        case CertificateSigner(chain):
            with _fault_of_policy(demand, chain, "expected certificates in PEM"):
                return config.use_certificate_verifier(certificate_chain=[chain])
        case SigstoreSigner(identity, issuer, trust):
            if trust is not None:
                with _fault_of_policy(demand, trust, "expected a client trust configuration of Sigstore"):
                    return config.use_sigstore_verifier(identity=identity, oidc_issuer=issuer, trust_config=trust)
            if offline:
                raise UnreachableError("sigstore: offline mode is enabled, and the policy gives no trust_config")
            try:
                return config.use_sigstore_verifier(identity=identity, oidc_issuer=issuer)
            except (library("sigstore.errors").Error, OSError) as error:
                raise UnreachableError(f"sigstore: the trust root cannot be had: {error}") from error


@contextlib.contextmanager
def _fault_of_policy(demand: SignatureDemand, path: Path, expected: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, library("sigstore.errors").Error) as error:
        message = f"{one_line(str(path), 200)}: {expected}"
        raise PolicyError(message, file=demand.place.file, line=demand.place.line) from error


def _refusals(signer: Signer) -> tuple[type[Exception], ...]:
    """How the libraries beneath say that a well-formed signature is somebody else's."""
    found = [library("cryptography.exceptions").InvalidSignature, library("OpenSSL.crypto").X509StoreContextError]
    if isinstance(signer, SigstoreSigner):
        found.append(library("sigstore.errors").VerificationError)
    return tuple(found)


def _unreadable(signer: Signer) -> tuple[type[Exception], ...]:
    """How they stumble over fields of wrong types; pydantic's error is a ValueError too."""
    found = [KeyError, TypeError, AttributeError, IndexError, library("pydantic").ValidationError]
    if isinstance(signer, SigstoreSigner):
        found.append(library("sigstore.errors").Error)
    return tuple(found)
