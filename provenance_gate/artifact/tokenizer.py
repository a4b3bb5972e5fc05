"""tokenizer.json and tokenizer_config.json to `TokenizerFacts`, in bounded memory.

The long lists are read as data, a portion at a time (`tokenlists`), the facts are taken of their bytes (`tokenfacts`). The Rust
library is used for one thing only, to encode the anchor strings of the reference definition (`anchorids`). Of
tokenizer_config.json the members that are needed are parsed, and no others.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from itertools import islice
from typing import Final

from provenance_gate.artifact.anchorids import AnchorTokenizer
from provenance_gate.artifact.configfacts import describe, has_lone_surrogate
from provenance_gate.artifact.interface import ModelConfig, TokenizerFacts
from provenance_gate.artifact.jsonparts import JsonParts
from provenance_gate.artifact.tokenfacts import facts_of
from provenance_gate.artifact.tokenlists import Vocabulary, add_tokens, read_merges, read_vocabulary
from provenance_gate.errors import MalformedFileError

SPECIAL: Final = ("bos", "eos", "pad", "unk", "mask")

_FILE: Final = "tokenizer.json"
_CONFIG_FILE: Final = "tokenizer_config.json"
_MAX_CACHED: Final = 4
_MAX_SETTING: Final = 1 << 16
"""Bytes of one member of ``model`` but the lists, and of one of tokenizer_config.json."""

_cache: OrderedDict[tuple[bytes, int | None, int | None], TokenizerFacts] = OrderedDict()
_cache_lock = threading.Lock()


def parse_tokenizer(
    tokenizer_json: bytes, tokenizer_config: bytes | None, config: ModelConfig | None = None
) -> TokenizerFacts:
    """Facts of a tokenizer. The last four distinct inputs are remembered.

    Parameters
    ----------
    tokenizer_json
        Bytes of tokenizer.json.
    tokenizer_config
        Bytes of tokenizer_config.json, which names the class and the special tokens; None when the file is missing.
    config
        Asked for bos and eos ids only when `tokenizer_config` is None.

    Raises
    ------
    MalformedFileError
        A file is not what the format asks for, exceeds the bounds of this module, or is refused by the tokenizers library.
    UnsafeFormatError
        The normalizers of the file could multiply a text without reasonable end.
    """
    digest = hashlib.sha256(hashlib.sha256(tokenizer_json).digest())
    digest.update(b"" if tokenizer_config is None else hashlib.sha256(tokenizer_config).digest())
    fallback = _ids_from_config(config)
    key = digest.digest(), fallback["bos"], fallback["eos"]
    with _cache_lock:
        if key in _cache:
            _cache.move_to_end(key)
            return _cache[key]
    facts = _parse(tokenizer_json, tokenizer_config, fallback)
    with _cache_lock:
        _cache[key] = facts
        while len(_cache) > _MAX_CACHED:
            _cache.popitem(last=False)
    return facts


def _parse(tokenizer_json: bytes, tokenizer_config: bytes | None, fallback: Mapping[str, int | None]) -> TokenizerFacts:
    parts = JsonParts(tokenizer_json, _FILE)
    root = parts.fields(parts.top)
    if "model" not in root:
        raise MalformedFileError(f"{_FILE}: model: expected an object, found null")
    model = parts.fields(root["model"], "model")
    settings = {
        name: parts.value(span, f"model.{name}", _MAX_SETTING)
        for name, span in model.items()
        if name not in ("vocab", "merges")
    }
    kind = _text(settings.get("type"), "model.type", _FILE)
    normalizer, pre_tokenizer = (parts.value(root.get(name), name) for name in ("normalizer", "pre_tokenizer"))
    anchors = AnchorTokenizer(normalizer, pre_tokenizer, settings)
    vocabulary = read_vocabulary(parts, model.get("vocab"), anchors.wanted)
    kept = _kept(vocabulary, anchors.wanted, settings)
    merges, rules = read_merges(
        parts, model.get("merges"), vocabulary.ids, kept, settings.get("continuing_subword_prefix")
    )
    added = add_tokens(parts, root.get("added_tokens"), vocabulary.ids, anchors)
    if not vocabulary.ids:
        raise MalformedFileError(f"{_FILE}: the vocabulary is empty")
    first_ids = anchors.first_ids(kept, vocabulary.scores, rules, added, vocabulary.ids)
    class_name, special_ids = None, fallback
    if tokenizer_config is not None:
        class_name, special_ids = _from_config(JsonParts(tokenizer_config, _CONFIG_FILE), vocabulary.ids)
    return facts_of(class_name, kind, vocabulary.ids, merges, special_ids, first_ids)


def _kept(vocabulary: Vocabulary, wanted: frozenset[bytes], settings: Mapping[str, object]) -> dict[bytes, int]:
    """The tokens that the anchor strings can meet, and what stands for the unknown; one at least, if there is any."""
    ids, scores = vocabulary.ids, vocabulary.scores
    name = settings.get("unk_token")
    others = [*islice(ids, 1), *([name.encode()] if isinstance(name, str) else [])]
    kept = {token: ids[token] for token in (*wanted, *others) if token in ids}
    if scores is not None:
        unknown = settings.get("unk_id")
        kept |= {token: ids[token] for token in scores}
        if type(unknown) is int and unknown not in kept.values():
            kept |= {token: token_id for token, token_id in ids.items() if token_id == unknown}
        # Those that no anchor holds may have any score that is not below the worst.
        worst = min(scores.values(), default=0.0)
        scores.update((token, worst) for token in kept.keys() - scores.keys())
    return kept


def _from_config(parts: JsonParts, ids: Mapping[bytes, int]) -> tuple[str | None, dict[str, int | None]]:
    """Class name and special ids that tokenizer_config.json names."""
    fields = parts.fields(parts.top)

    def value(name: str) -> object:
        return parts.value(fields.get(name), name, _MAX_SETTING)

    special: dict[str, int | None] = {}
    for name in SPECIAL:
        field = f"{name}_token"
        token = value(field)
        if isinstance(token, dict):
            field, token = f"{field}.content", token.get("content")
        text = _text(token, field, _CONFIG_FILE)
        special[name] = None if text is None else ids.get(text.encode())
    return _text(value("tokenizer_class"), "tokenizer_class", _CONFIG_FILE), special


def _text(value: object, field: str, file: str) -> str | None:
    if value is not None and (not isinstance(value, str) or len(value) > 500 or has_lone_surrogate(value)):
        raise MalformedFileError(f"{file}: {field}: expected a short string, found {describe(value)}")
    return value


def _ids_from_config(config: ModelConfig | None) -> dict[str, int | None]:
    ids: dict[str, int | None] = dict.fromkeys(SPECIAL)
    if config is not None:
        ids["bos"], ids["eos"] = config.bos_token_id, config.eos_token_id
    return ids
