"""Every error that this package raises on purpose.

::

    ProvenanceGateError               exit code
    +-- UsageError                    2   an argument that cannot be used
    +-- PolicyError                   2   a policy that cannot be read; carries file, line, column
    +-- ArtifactError                 3   a model that cannot be read
    |   +-- MalformedFileError            a file breaks the rules of its own format
    |   +-- UnsafeFormatError             reading it would mean to run it, or to expand it without end
    |   +-- PathEscapeError               a file name or link leads out of the artifact
    |   +-- ChangedFileError              a file changed while it was read
    |   +-- UnreachableError              a remote place gives no answer now, or may not be asked (offline)
    |   +-- RefusedError                  a remote place has no such model, or does not give it to us
    +-- FingerprintError              3   a fingerprint file that cannot be believed
    +-- RegistryError                 3   reference data that cannot be read
    +-- ReportError                   3   a report that may not be written
    +-- UndefinedSignalError              the maths has no value here; never leaves `fingerprint`/`lineage`

A failed rule is a finding, not an error. Messages are one line, name the file and the field, and are safe to print:
`one_line` has taken out whatever a hostile file could smuggle into a terminal.
"""

from __future__ import annotations


def one_line(text: str, limit: int = 300) -> str:
    """`text` as one printable line of at most `limit` characters.

    Control, format (bidirectional override, zero width), surrogate and separator characters become ``\\uXXXX``, so that a
    name from an artifact can neither move a cursor, break a line nor reverse what a person reads.
    """
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return shown if shown.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in shown)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class ProvenanceGateError(Exception):
    """Base of the tree. `exit_code` is what the command line returns for it."""

    exit_code = 3

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message, 600))


class UsageError(ProvenanceGateError):
    """An argument that cannot be used."""

    exit_code = 2


class PolicyError(ProvenanceGateError):
    """A policy that cannot be read.

    Parameters
    ----------
    message
        What was found and which choices are accepted.
    file, line, column
        Where; line and column count from 1, None when the fault has no single place.
    """

    exit_code = 2

    def __init__(self, message: str, *, file: str, line: int | None = None, column: int | None = None) -> None:
        place = file if line is None else f"{file}:{line}" if column is None else f"{file}:{line}:{column}"
        super().__init__(f"{place}: {message}")
        self.file, self.line, self.column = file, line, column


class ArtifactError(ProvenanceGateError):
    """A model that cannot be read."""


class MalformedFileError(ArtifactError):
    """A file breaks the rules of its own format."""


class UnsafeFormatError(ArtifactError):
    """Reading it would mean to run it, or to expand it without end."""


class PathEscapeError(ArtifactError):
    """A file name or link leads out of the artifact."""


class ChangedFileError(ArtifactError):
    """A file changed while it was read."""


class UnreachableError(ArtifactError):
    """A remote place gives no answer: nobody there, too slow, too busy (429, 5xx), or offline mode. It may succeed later."""


class RefusedError(ArtifactError):
    """A remote place answers that it has no such model or file, or that we may not have it (401, 403, 404, 410, 451)."""


class FingerprintError(ProvenanceGateError):
    """A fingerprint file that cannot be believed."""


class RegistryError(ProvenanceGateError):
    """Reference data that cannot be read."""


class ReportError(ProvenanceGateError):
    """A report that may not be written."""


class UndefinedSignalError(ProvenanceGateError):
    """The maths has no value for these inputs."""
