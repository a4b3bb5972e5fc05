"""What the metadata of a GGUF file says about origin and license (GGUF specification, "General metadata"). Not evidence.

``general.base_model.{i}.*`` names the models that this one is based on, ``general.source.*`` the checkpoint that was converted,
``general.license*`` the license. A line number has no meaning in this format: claims stand at line 1 of their field.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

from provenance_gate.artifact.claims import MAX_CLAIMS, MAX_ID, MAX_LINK
from provenance_gate.artifact.gguf.metadata import Metadata
from provenance_gate.artifact.interface import BaseClaim, Claims, ClaimSource, LicenseClaim
from provenance_gate.errors import MalformedFileError, one_line

_HUB: Final = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?!datasets/|spaces/)([\w.-]{1,96}/[\w.-]{1,96})/?(?:tree/([^/?#]+)/?)?",
    re.ASCII,
)
_SOURCES: Final = ("general.source.huggingface.repository", "general.source.repo_url", "general.source.url")


def read_gguf_claims(metadata: Metadata, path: PurePosixPath, quantized: bool) -> Claims:
    """Bases in the order of their numbers, then the source; licenses.

    A base is called by the hub id in its ``repo_url``, else by organization and name (spaces become hyphens, as the converter
    turns them round), else by its name or url. The source of a quantized file is claimed with relation "quantized".

    Raises
    ------
    MalformedFileError
        More than `MAX_CLAIMS` bases, an id that is too long or does not print, a value of the wrong type.
    """
    bases: list[BaseClaim] = []
    count = metadata.integer("general.base_model.count") or 0
    if count > MAX_CLAIMS:
        raise MalformedFileError(f"{metadata.file}: general.base_model.count: {count}, expected at most {MAX_CLAIMS}")
    for number in range(count):
        at = f"general.base_model.{number}."
        base = _base(metadata, path, at)
        if base is not None:
            bases.append(base)
    source = _source(metadata, path, quantized)
    if source is not None:
        bases.append(source)
    return Claims(_distinct(bases), _licenses(metadata, path))


def _base(metadata: Metadata, path: PurePosixPath, at: str) -> BaseClaim | None:
    for key in ("repo_url", "url"):
        found = _HUB.fullmatch(_text(metadata, f"{at}{key}", MAX_LINK) or "")
        if found:
            return BaseClaim(found[1], None, found[2], ClaimSource(path, 1, f"{at}{key}"))
    name, organization = _text(metadata, at + "name"), _text(metadata, at + "organization")
    if name and organization:
        claimed = f"{organization}/{name}".replace(" ", "-")
        return BaseClaim(_short(claimed, metadata, at + "name"), None, None, ClaimSource(path, 1, at + "name"))
    for key in ("name", "repo_url", "url"):
        text = _text(metadata, at + key, MAX_LINK)
        if text:
            return BaseClaim(_short(text, metadata, at + key), None, None, ClaimSource(path, 1, at + key))
    return None


def _source(metadata: Metadata, path: PurePosixPath, quantized: bool) -> BaseClaim | None:
    relation = "quantized" if quantized else None
    for key in _SOURCES:
        text = _text(metadata, key, MAX_LINK)
        found = _HUB.fullmatch(text or "")
        if found:
            return BaseClaim(found[1], relation, found[2], ClaimSource(path, 1, key))
        if text and key == _SOURCES[0]:
            return BaseClaim(_short(text, metadata, key), relation, None, ClaimSource(path, 1, key))
    return None


def _licenses(metadata: Metadata, path: PurePosixPath) -> tuple[LicenseClaim, ...]:
    said = _text(metadata, "general.license", MAX_LINK)
    name = _text(metadata, "general.license.name", MAX_LINK)
    link = _text(metadata, "general.license.link", MAX_LINK)
    if not said and not name:
        return ()
    field = "general.license" if said else "general.license.name"
    return (LicenseClaim(said or "other", name or None, link or None, ClaimSource(path, 1, field)),)


def _distinct(bases: list[BaseClaim]) -> tuple[BaseClaim, ...]:
    kept: dict[tuple[str, str | None], BaseClaim] = {}
    for base in bases:
        kept.setdefault((base.id.casefold(), base.revision), base)
    return tuple(kept.values())


def _text(metadata: Metadata, key: str, limit: int = MAX_ID) -> str | None:
    text = metadata.text(key)
    if text is None:
        return None
    text = text.strip()
    if len(text) > limit:
        raise MalformedFileError(f"{metadata.file}: {key}: {len(text)} characters, at most {limit} are accepted")
    if not text.isprintable():
        raise MalformedFileError(f"{metadata.file}: {key}: holds characters that do not print: {one_line(text, 80)}")
    return text


def _short(claimed: str, metadata: Metadata, key: str) -> str:
    if len(claimed) > MAX_ID:
        raise MalformedFileError(f"{metadata.file}: {key}: {len(claimed)} characters, at most {MAX_ID} are accepted")
    return claimed
