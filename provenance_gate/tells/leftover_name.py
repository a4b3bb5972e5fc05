"""Tell 1: a file still names the public model that was loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import one_line
from provenance_gate.tells.chat_template import chat_template
from provenance_gate.tells.documents import (
    CONFIG,
    GENERATION,
    SPECIAL_TOKENS,
    TOKENIZER_CONFIG,
    document,
    json_document,
)
from provenance_gate.tells.interface import Case, TellGroup, TellResult
from provenance_gate.tells.public import PublicModel, names_disclosed, public_models
from provenance_gate.tells.wording import answer, not_measured

KNOWN: Final = 0.6
"""Libraries write the field when they save, and nobody types it; but a copied config keeps it
around weights of another origin."""
UNKNOWN: Final = 0.3
"""Shaped like a repository, but in no catalog at hand: it may be the maker's own."""
SAID: Final = 0.3
"""A chat template that says whom it speaks for; templates are copied between unrelated models."""

_FILES: Final = (CONFIG, GENERATION, TOKENIZER_CONFIG, SPECIAL_TOKENS, "quantize_config.json")
_KEYS: Final = frozenset(
    {
        *("_name_or_path", "name_or_path", "model_name_or_path", "pretrained_model_name_or_path"),
        *("base_model_name_or_path", "tokenizer_name_or_path", "special_tokens_map_file", "tokenizer_file"),
    }
)
_MAX_NODES: Final = 20_000
_MAX_FOUND: Final = 20
_MAX_PATH: Final = 2_000
_CACHED: Final = re.compile(r"models--([A-Za-z0-9][\w.-]{0,95}?)--([A-Za-z0-9][\w.-]{0,95})(?:[/\\]|$)", re.ASCII)
_HUB_ID: Final = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
_FOLDERS: Final = frozenset(
    {
        *(
            "output",
            "outputs",
            "out",
            "model",
            "models",
            "checkpoint",
            "checkpoints",
            "ckpt",
            "ckpts",
            "results",
            "runs",
        ),
        *("data", "tmp", "home", "mnt", "root", "workspace", "saved_models", "experiments", "work", "train", "weights"),
    }
)
"""First parts of relative paths that are folders of somebody's machine rather than organizations."""
_STEP: Final = re.compile(r"checkpoint-\d+|snapshots|[0-9a-f]{40}|final|merged|latest")
_SPEAKER: Final = re.compile(r"\byou are (?:an? )?([A-Za-z]{4,30})", re.IGNORECASE)
_LEAST_WORD: Final = 4


@dataclass(frozen=True, slots=True)
class Leftover:
    """One place: file, field, the text as written, the repository it names, and whether a catalog knows that one."""

    file: str
    field: str
    text: str
    repository: str
    known: bool


class LeftoverName:
    """`_name_or_path` and its kin in config, tokenizer and quantization files, hub cache paths, `auto_map` that loads code of
    another repository, and a chat template that says "You are Qwen". A name that only repeats the artifact's own is none.
    """

    id: Final = 1
    name: Final = "leftover-name"
    group: Final = TellGroup.CONFIG
    title: Final = "A file still names a public model"

    def measure(self, case: Case) -> TellResult:
        """FIRED when a file names a repository; stronger when it is a known model."""
        expected = "no file names another model, or only bases that the card declares"
        reproduce = "grep -nE 'name_or_path|models--|auto_map' *.json; grep -n 'You are' chat_template.jinja"
        read = [name for name in _FILES if document(case.ours, name) is not None]
        models = public_models(case)
        found = list(_leftovers(case, models))[:_MAX_FOUND]
        if not read and not found:
            return not_measured(self, "there is no config or tokenizer file that could name one", expected, reproduce)
        if not found:
            return answer(self, seen=f"no model is named in {', '.join(read)}", expected=expected, reproduce=reproduce)
        # A model that a catalog knows says more than one that merely looks like a repository.
        first = min(found, key=lambda f: (not f.known, f.field == "chat template"))
        spoken = first.field == "chat template"
        hidden = not names_disclosed(case, [f.repository for f in found])
        open_note = "" if hidden else "; the artifact declares it"
        also = list(dict.fromkeys(f.file for f in found if f.file != first.file))
        more = f" (also in {', '.join(also)})" if also else ""
        if spoken:
            seen = f"{first.file} says {first.text}, a name of the family of {first.repository}{more}{open_note}"
        else:
            kind = "a known public model" if first.known else "a repository that no catalog at hand knows"
            seen = f"{first.file} has {first.field} {first.text}: {first.repository}, {kind}{more}{open_note}"
        return answer(
            self,
            seen=seen,
            expected=expected,
            reproduce=reproduce,
            strength=SAID if spoken else KNOWN if first.known else UNKNOWN,
            base=first.repository,
            numbers={
                "leftovers": [
                    {"file": f.file, "field": f.field, "text": f.text, "repository": f.repository, "known": f.known}
                    for f in found
                ],
                "disclosed": not hidden,
            },
        )


def _leftovers(case: Case, models: Sequence[PublicModel]) -> Iterator[Leftover]:
    by_name = {name.casefold(): m.id for m in reversed(models) for name in m.names}
    by_last = {name.rpartition("/")[2].casefold(): m.id for m in reversed(models) for name in m.names}
    own = case.ours.name.rpartition("/")[2].casefold()
    seen: set[tuple[str, str]] = set()
    for file in _FILES:
        settings = json_document(case.ours, file)
        if isinstance(settings, NotMeasured):
            continue
        for field, text in _texts(settings):
            repository, known = _repository(text, by_name, by_last)
            if repository is None or repository.rpartition("/")[2].casefold() == own or (file, repository) in seen:
                continue
            seen.add((file, repository))
            yield Leftover(file, one_line(field, 80), one_line(text, 120), one_line(repository, 200), known)
    yield from _speaker(case, models)


def _texts(settings: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Every string under one of the keys, at any depth, and whatever `auto_map` loads from elsewhere."""
    stack: list[tuple[str, object]] = [("", settings)]
    for _ in range(_MAX_NODES):
        if not stack:
            return
        field, value = stack.pop()
        key = field.rpartition(".")[2]
        if isinstance(value, Mapping):
            stack += [(f"{field}.{k}" if field else k, v) for k, v in reversed(list(value.items()))]
        elif isinstance(value, list):
            stack += [(field, v) for v in reversed(value)]
        elif isinstance(value, str) and len(value) <= _MAX_PATH:
            if key in _KEYS:
                yield field, value
            elif field.startswith("auto_map.") and "--" in value:
                yield field, value.partition("--")[0]


def _repository(text: str, by_name: Mapping[str, str], by_last: Mapping[str, str]) -> tuple[str | None, bool]:
    """The repository that a name or path names, and whether it is a known one; None when it is only a path."""
    text = text.strip()
    cached = _CACHED.search(text)
    if cached is not None:
        text = f"{cached.group(1)}/{cached.group(2)}"
    known = by_name.get(text.casefold())
    if known is not None:
        # As written where it is an id: an alias is a name, too.
        return (text if "/" in text else known), True
    parts = [p for p in re.split(r"[/\\]", text) if p and not _STEP.fullmatch(p)]
    if _HUB_ID.fullmatch(text) and parts and parts[0].casefold() not in _FOLDERS and len(parts) == 2:
        return text, False
    known = by_last.get(parts[-1].casefold()) if parts else None
    return known, known is not None


def _speaker(case: Case, models: Sequence[PublicModel]) -> Iterator[Leftover]:
    """A chat template that says which model speaks."""
    template = chat_template(case.ours)
    if isinstance(template, NotMeasured):
        return
    families: dict[str, str] = {}
    for model in models:
        word = model.family.rpartition("--")[2].casefold()
        if word.isalpha() and len(word) >= _LEAST_WORD:
            families.setdefault(word, model.id)
    for match in _SPEAKER.finditer(template.text):
        word = match.group(1).casefold()
        if word in families:
            yield Leftover(template.file, "chat template", one_line(match.group(), 80), families[word], True)
            return
