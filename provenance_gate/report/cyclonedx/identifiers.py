"""Names in a BOM: cleaned text, package URLs, web addresses, and bom-refs that never repeat.

Ids, revisions and links come from an artifact and may hold anything. Here they become printable text, valid package URLs, or
nothing at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from provenance_gate.errors import one_line

Body: TypeAlias = dict[str, Any]
"""A JSON object of the BOM."""

TOOL_REF = "tool:provenance-gate"
RELEASE_REF = "subject:release"

_TEXT_LIMIT = 2000
_PURL = re.compile(
    r"pkg:(?P<type>[a-z][a-z0-9.-]*)/"
    r"(?:(?P<namespace>(?:[\w.%~+:-]+/)+))?(?P<name>[\w.%~+:-]+)"
    r"(?:@(?P<version>[\w.%~+:-]+))?"
    r"(?:\?(?P<qualifiers>[a-z][a-z0-9._-]*=[\w.%~+:/,-]+(?:&[a-z][a-z0-9._-]*=[\w.%~+:/,-]+)*))?"
    r"(?:#[\w.%~+:/-]+)?",
    re.ASCII,
)
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9._-]+")
_COMMIT = re.compile(r"[0-9a-fA-F]{40}")
_IRI_REFERENCE = re.compile(r"(?:[^\x00-\x20\x7f-\x9f<>\"{}|\\^`%\u2028\u2029\ud800-\udfff]|%[0-9A-Fa-f]{2})+")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class PurlParts:
    """The parts of a package URL, decoded and cleaned; empty where it has none."""

    type: str
    group: str
    name: str
    version: str
    repository_url: str


class Refs:
    """Hands out bom-refs, each only once. Equal wishes get "#2", "#3" ... in the order of asking."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, wanted: str) -> str:
        """`wanted`, cleaned, or the nearest free name."""
        first = clean(wanted) or "unnamed"
        ref, number = first, 1
        while ref in self._taken:
            number += 1
            ref = f"{first}#{number}"
        self._taken.add(ref)
        return ref


def clean(text: str, limit: int = _TEXT_LIMIT) -> str:
    """`text` as one printable line."""
    return one_line(text, limit)


def properties(pairs: list[tuple[str, str]]) -> list[Body]:
    """CycloneDX properties from (name, value) pairs, sorted and cleaned."""
    return [{"name": name, "value": value} for name, value in sorted((clean(n), clean(v)) for n, v in pairs)]


def model_purl(model_id: str, revision: str | None) -> str:
    """The package URL of a model named by a hub id, or by anything else that a claim may hold.

    A hub id has exactly one slash. The version is kept only where it is a commit: a branch name moves.
    """
    commit = f"@{revision.lower()}" if revision is not None and _COMMIT.fullmatch(revision) else ""
    if _HUB_ID.fullmatch(model_id):
        return f"pkg:huggingface/{model_id}{commit}"
    name = quote(model_id.encode("utf-8", "backslashreplace"), safe="") or "unnamed"
    return f"pkg:generic/{name}{commit}"


def repair_purl(purl: str) -> str:
    """`purl` with whatever may not stand in one percent-encoded; a valid one is returned unchanged."""
    escaped = quote(purl.encode("utf-8", "backslashreplace"), safe=":/@?=&%#+,~")
    return _BROKEN_ESCAPE.sub("%25", escaped)


def parse_purl(purl: str) -> PurlParts | None:
    """The parts of `purl`, or None when it is not one."""
    found = _PURL.fullmatch(purl)
    if found is None or _BROKEN_ESCAPE.search(purl):
        return None
    qualifiers = dict(pair.split("=", 1) for pair in (found["qualifiers"] or "").split("&") if pair)
    group = "/".join(unquote(part) for part in (found["namespace"] or "").split("/") if part)
    return PurlParts(
        type=found["type"],
        group=clean(group),
        name=clean(unquote(found["name"])),
        version=clean(unquote(found["version"] or ""), 1024),
        repository_url=unquote(qualifiers.get("repository_url", "")),
    )


def is_safe_url(url: str) -> bool:
    """Whether `url` is a well-formed http(s) or urn IRI, or a relative reference.

    Other schemes are refused: a BOM viewer turns addresses into links, and `javascript:` is a well-formed one.
    """
    if _IRI_REFERENCE.fullmatch(url) is None or not url.isprintable():
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme in ("http", "https"):
        return bool(parts.hostname) and (port is None or port > 0)
    if parts.scheme == "urn":
        return bool(parts.path)
    return not parts.scheme and not url.startswith("//")


def file_url(path: str) -> str:
    """A relative reference to a file of the artifact."""
    return "./" + quote(path.encode("utf-8", "backslashreplace"), safe="/")
