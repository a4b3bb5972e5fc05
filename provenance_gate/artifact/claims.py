"""What a publisher says about origin and license, with the line where it is said. None of it is evidence.

Sources, in the order in which their claims are listed (CONVENTIONS 9):

1. README.md, front matter: `base_model`, `base_model_relation`, `license`, `license_name`, `license_link`;
2. adapter_config.json: `base_model_name_or_path`, `revision`;
3. mergekit_config.yml or mergekit_moe_config.yml: every model that is merged;
4. config.json: `_name_or_path`, when it can be the name of a published model.

A base named more than once is one claim: the first place stays its source, and a relation or revision that it leaves unsaid
is taken from a later one. Two revisions of one id are two claims. Ids are compared without regard to case, as the hub does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final

from provenance_gate.artifact.configfacts import describe
from provenance_gate.artifact.interface import BaseClaim, Claims, ClaimSource, LicenseClaim
from provenance_gate.artifact.jsonfile import load_json_object
from provenance_gate.artifact.yamlfile import Node, load_yaml
from provenance_gate.errors import MalformedFileError, one_line

CARD: Final = PurePosixPath("README.md")
ADAPTER: Final = PurePosixPath("adapter_config.json")
MERGES: Final = (PurePosixPath("mergekit_config.yml"), PurePosixPath("mergekit_moe_config.yml"))
CONFIG: Final = PurePosixPath("config.json")
CLAIM_FILES: Final = (CARD, ADAPTER, *MERGES, CONFIG)
"""The files that `read_claims` looks at."""

MAX_ID: Final = 200
MAX_LINK: Final = 2_000
MAX_CLAIMS: Final = 100
RELATIONS: Final = ("finetune", "adapter", "merge", "quantized")

# Where mergekit names a model; "*" is every item of a list.
_MERGED: Final = (
    ("models", "*", "model"),
    ("slices", "*", "sources", "*", "model"),
    ("modules", "*", "slices", "*", "sources", "*", "model"),
    ("experts", "*", "source_model"),
    ("base_model",),
)
_OPENING: Final = re.compile(r"\s*?---[ \t]*(?:\r\n|\r|\n)")
_CLOSING: Final = re.compile(r"^---[ \t]*\r?$", re.MULTILINE)
_HUB_ID: Final = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
# Ids without an organization are older than the rule that asks for one; a new one-word name is a local folder.
_LEGACY_ID: Final = re.compile(
    r"(?:albert|bert|camembert|ctrl|distilbert|distilgpt2|distilroberta|gpt2|openai-gpt|roberta|t5|transfo-xl|xlm|xlnet)"
    r"(?:-[a-z0-9-]{1,80})?"
)
_CHECKPOINT: Final = re.compile(r"(?:.*/)?checkpoint-[0-9]+")


def read_claims(files: Mapping[PurePosixPath, bytes]) -> Claims:
    """All claims of an artifact.

    Parameters
    ----------
    files
        Bytes by path relative to the artifact root. Only `CLAIM_FILES` are read; missing ones say nothing.

    Raises
    ------
    MalformedFileError
        A file breaks its format, a field has the wrong type, an id is longer than `MAX_ID` or holds characters that do not
        print, or there are more than `MAX_CLAIMS` bases or licenses. The message names file, line and field.
    """
    licenses: list[LicenseClaim] = []
    bases: list[BaseClaim] = []
    if CARD in files and (front_matter := read_front_matter(files[CARD])) is not None:
        licenses += _card_licenses(front_matter)
        bases += _card_bases(front_matter)
    if ADAPTER in files:
        bases += _adapter_bases(files[ADAPTER])
    for path in MERGES:
        if path in files:
            bases += _merge_bases(files[path], path)
    if CONFIG in files:
        bases += _config_bases(files[CONFIG])
    if len(licenses) > MAX_CLAIMS:
        raise _too_many("licenses", licenses[MAX_CLAIMS].source)
    return Claims(_without_repeats(bases), tuple(licenses))


def read_front_matter(card: bytes, path: PurePosixPath = CARD) -> Node | None:
    """The YAML block between ``---`` lines at the top of a card; None when the card does not start with one."""
    text = _decoded(card, path)
    opening = _OPENING.match(text)
    if opening is None:
        return None
    closing = _CLOSING.search(text, opening.end())
    first_line = text.count("\n", 0, opening.end()) + 1
    if closing is None:
        raise MalformedFileError(f"{path}:{max(1, first_line - 1)}: front matter is opened by --- but never closed")
    root = load_yaml(text[opening.end() : closing.start()], str(path), first_line)
    if root.value is None:
        return None
    if not isinstance(root.value, Mapping):
        raise _wrong(path, root.line, "front matter", "a mapping", root)
    return root


def _decoded(data: bytes, path: PurePosixPath) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MalformedFileError(f"{path}:{line}: not UTF-8") from error


def _card_bases(card: Node) -> list[BaseClaim]:
    stated = _field(card, "base_model_relation")
    relation = None if stated is None else _text(stated, CARD, "base_model_relation")
    if stated is not None and relation is not None and relation not in RELATIONS:
        raise _wrong(CARD, stated.key_line, "base_model_relation", "one of " + ", ".join(RELATIONS), stated)
    bases = []
    for entry in _entries(card, "base_model"):
        base = _text(entry, CARD, "base_model")
        if base:
            bases.append(BaseClaim(base, relation, None, ClaimSource(CARD, entry.key_line, "base_model")))
    return bases


def _card_licenses(card: Node) -> list[LicenseClaim]:
    named, linked = _field(card, "license_name"), _field(card, "license_link")
    name = None if named is None else _text(named, CARD, "license_name") or None
    link = None if linked is None else _text(linked, CARD, "license_link", MAX_LINK) or None
    found = [(text, entry) for entry in _entries(card, "license") if (text := _text(entry, CARD, "license"))]
    if not found and named is not None and name is not None:
        return [LicenseClaim("other", name, link, ClaimSource(CARD, named.key_line, "license_name"))]
    licenses = []
    for text, entry in found:
        # Beside several licenses, name and link belong to the one that has no id of its own.
        described = len(found) == 1 or text.lower() == "other"
        source = ClaimSource(CARD, entry.key_line, "license")
        licenses.append(LicenseClaim(text, name if described else None, link if described else None, source))
    return licenses


def _field(mapping: Node, key: str) -> Node | None:
    child = mapping.value.get(key) if isinstance(mapping.value, Mapping) else None
    return None if child is None or child.value is None else child


def _entries(mapping: Node, key: str) -> tuple[Node, ...]:
    """The values of a field that may be one or a list of them."""
    node = _field(mapping, key)
    if node is None:
        return ()
    return node.value if isinstance(node.value, tuple) else (node,)


def _text(node: Node, path: PurePosixPath, field: str, limit: int = MAX_ID) -> str:
    if not isinstance(node.value, str):
        raise _wrong(path, node.key_line, field, "a string", node)
    return _checked(node.value, path, node.key_line, field, limit)


def _checked(text: str, path: PurePosixPath, line: int, field: str, limit: int = MAX_ID) -> str:
    text = text.strip()
    if len(text) > limit:
        raise MalformedFileError(f"{path}:{line}: {field}: {len(text)} characters, at most {limit} are accepted")
    if not text.isprintable():
        raise MalformedFileError(f"{path}:{line}: {field}: holds characters that do not print: {one_line(text, 80)}")
    return text


def _wrong(path: PurePosixPath, line: int, field: str, expected: str, found: Node) -> MalformedFileError:
    return MalformedFileError(f"{path}:{line}: {field}: expected {expected}, found {describe(found.value)}")


def _adapter_bases(data: bytes) -> list[BaseClaim]:
    settings = load_json_object(data, str(ADAPTER))
    base = _json_text(settings, data, ADAPTER, "base_model_name_or_path")
    revision = _json_text(settings, data, ADAPTER, "revision")
    if not base:
        return []
    line = _line_of_key(data, "base_model_name_or_path")
    source = ClaimSource(ADAPTER, line, "base_model_name_or_path")
    return [BaseClaim(base, "adapter", revision or None, source)]


def _config_bases(data: bytes) -> list[BaseClaim]:
    name = _json_text(load_json_object(data, str(CONFIG)), data, CONFIG, "_name_or_path", limit=MAX_LINK)
    if name is None or _CHECKPOINT.fullmatch(name) or not (_HUB_ID.fullmatch(name) or _LEGACY_ID.fullmatch(name)):
        return []
    return [BaseClaim(name, None, None, ClaimSource(CONFIG, _line_of_key(data, "_name_or_path"), "_name_or_path"))]


def _json_text(
    settings: Mapping[str, object], data: bytes, path: PurePosixPath, field: str, limit: int = MAX_ID
) -> str | None:
    value = settings.get(field)
    if value is None:
        return None
    line = _line_of_key(data, field)
    if not isinstance(value, str):
        raise MalformedFileError(f"{path}:{line}: {field}: expected a string, found {describe(value)}")
    return _checked(value, path, line, field, limit)


def _line_of_key(data: bytes, key: str) -> int:
    """Line of a key of the outermost object of a valid JSON file; 1 when it has no such key."""
    depth, candidate = 0, None
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"|[{}\[\]:]', data.decode(), re.DOTALL):
        text = token.group()
        if text == ":" and depth == 1 and candidate is not None and json.loads(candidate.group()) == key:
            return token.string.count("\n", 0, candidate.start()) + 1
        depth += (text in "{[") - (text in "}]")
        candidate = token if text[0] == '"' else None
    return 1


def _merge_bases(data: bytes, path: PurePosixPath) -> list[BaseClaim]:
    root = load_yaml(_decoded(data, path), str(path))
    if not isinstance(root.value, Mapping):
        raise _wrong(path, root.line, "merge", "a mapping", root)
    bases = []
    for pattern in _MERGED:
        field = ".".join(pattern).replace(".*", "[]")
        for node in _matches(root, pattern, path, field):
            for base, revision in _merged_models(node, path, field):
                bases.append(BaseClaim(base, "merge", revision, ClaimSource(path, node.key_line, field)))
    return bases


def _matches(node: Node, pattern: tuple[str, ...], path: PurePosixPath, field: str) -> Iterator[Node]:
    if not pattern:
        yield node
    elif pattern[0] == "*":
        if not isinstance(node.value, tuple):
            # `modules` is a mapping of names in mergekit's own files.
            if not isinstance(node.value, Mapping):
                raise _wrong(path, node.key_line, field, "a list", node)
            children = tuple(node.value.values())
        else:
            children = node.value
        for child in children:
            yield from _matches(child, pattern[1:], path, field)
    elif not isinstance(node.value, Mapping):
        raise _wrong(path, node.key_line, field, "a mapping", node)
    elif (child_or_none := _field(node, pattern[0])) is not None:
        yield from _matches(child_or_none, pattern[1:], path, field)


def _merged_models(node: Node, path: PurePosixPath, field: str) -> Iterator[tuple[str, str | None]]:
    """Ids and revisions in a model reference: ``model@revision+lora@revision``, or a mapping with model and lora."""
    if isinstance(node.value, Mapping):
        for key in ("model", "lora"):
            inner = _field(node, key)
            if inner is not None:
                yield from _merged_models(inner, path, f"{field}.{key}")
        located = _field(node, "path")
        if located is not None:
            stated = _field(node, "revision")
            revision = None if stated is None else _text(stated, path, f"{field}.revision")
            yield _text(located, path, f"{field}.path"), revision or None
        return
    for reference in _text(node, path, field, 2 * MAX_ID).split("+"):
        base, _, revision = _checked(reference, path, node.key_line, field).partition("@")
        if base:
            yield base, revision or None


def _without_repeats(bases: list[BaseClaim]) -> tuple[BaseClaim, ...]:
    kept: list[BaseClaim] = []
    for base in bases:
        for index, first in enumerate(kept):
            same_id = first.id.casefold() == base.id.casefold()
            if same_id and (None in (first.revision, base.revision) or first.revision == base.revision):
                relation, revision = first.relation or base.relation, first.revision or base.revision
                kept[index] = replace(first, relation=relation, revision=revision)
                break
        else:
            if len(kept) == MAX_CLAIMS:
                raise _too_many("base models", base.source)
            kept.append(base)
    return tuple(kept)


def _too_many(what: str, source: ClaimSource) -> MalformedFileError:
    return MalformedFileError(f"{source.path}:{source.line}: {source.field}: more than {MAX_CLAIMS} {what} are claimed")
