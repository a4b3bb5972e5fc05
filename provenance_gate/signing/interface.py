"""What a policy demands of signatures, and what checking them found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from provenance_gate.artifact.interface import FileRecord, NotMeasured

if TYPE_CHECKING:
    # Rules read these values and need no way to models; half of what a policy takes to load would be that.
    from provenance_gate.artifact.sources.interface import Store

SIGNED: Final = "signed"
ATTESTED: Final = "attested"
SIGNATURE_FILE: Final = "model.sig"
VERIFICATION_SUMMARY: Final = "https://slsa.dev/verification_summary/v1"
STATEMENT_SUFFIXES: Final = (".intoto.jsonl", ".intoto.json", ".dsse.json")


class RuleEntry(Protocol):
    """One entry of a policy, as far as this room reads it. `options` have passed the rule's schema."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def options(self) -> Mapping[str, Any]: ...
    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a demand stands in a policy; paths in it are relative to the folder of that file."""

    file: str
    line: int

    def path(self, text: str) -> Path:
        """`text` as a path; of a builtin policy relative to the working folder."""
        return Path(text) if self.file.startswith("builtin:") else Path(self.file).parent / text


@dataclass(frozen=True, slots=True)
class KeySigner:
    """Whoever holds the private key to this public one (PEM)."""

    key: Path


@dataclass(frozen=True, slots=True)
class CertificateSigner:
    """Whoever holds a signing certificate that leads to one of these certificates (PEM)."""

    chain: Path


@dataclass(frozen=True, slots=True)
class SigstoreSigner:
    """Who proved an identity to an OpenID Connect issuer. `trust_config`: None for the public good instance."""

    identity: str
    issuer: str
    trust_config: Path | None


Signer: TypeAlias = KeySigner | CertificateSigner | SigstoreSigner


@dataclass(frozen=True, slots=True)
class SignatureDemand:
    """The artifact must carry an OpenSSF model signature.

    `signature` is its file in the artifact's folder (beside a single file). `unsigned`: files and folders of the artifact that
    need not be covered; weights always must.
    """

    place: Place
    signer: Signer
    signature: PurePosixPath
    unsigned: tuple[PurePosixPath, ...]


@dataclass(frozen=True, slots=True)
class StatementDemand:
    """A signed in-toto statement must speak about the artifact, or about each of its bases.

    `statement` None: files beside the model that end in one of `STATEMENT_SUFFIXES`. `all_files`: not the weights only.
    `verifier`, `policy_sha256`, `levels` are asked of a verification summary.
    """

    place: Place
    key: Path
    of_bases: bool
    predicate_type: str
    statement: Path | None
    all_files: bool
    verifier: str | None
    policy_sha256: str | None
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Material:
    """A model to which a demand applies. `store` None: its files are not at hand. `files`: with digests, or not yet."""

    name: str
    store: Store | None
    files: Sequence[FileRecord]


@dataclass(frozen=True, slots=True)
class Verified:
    """The demand is met. `file`: what carries the signature; `evidence`: short (name, value) pairs, safe to print."""

    signer: str
    file: str
    evidence: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The demand is not met. `matter` names what is wrong in a few constant words; all texts are safe to print."""

    matter: str
    reason: str
    remedy: str
    evidence: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Verification:
    """The answer to one demand about one model (its name)."""

    model: str
    answer: Verified | Refused | NotMeasured
