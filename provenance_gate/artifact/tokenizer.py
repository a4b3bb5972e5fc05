"""tokenizer.json and tokenizer_config.json to `TokenizerFacts`.

The vocabulary is read as data. The Rust library is used for one thing only, to encode the anchor strings of the reference
definition, and it is given nothing that came from outside except the file itself, checked first:

- a regular expression of the file runs on strings of at most five characters, and Oniguruma gives up a match after ten
  million steps, so a catastrophic one costs seconds and ends in an error;
- normalizers that multiply text (``Replace`` one character by a thousand, thirty times) are bounded by `_growth`, because
  the library would take the memory before anyone could look;
- padding, truncation and post-processor of the file are taken out, for each could add ids without end.
"""

from __future__ import annotations

import hashlib
import threading
import unicodedata
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import numpy as np
import tokenizers
from numpy.typing import NDArray

from provenance_gate.artifact.anchors import ANCHOR_STRINGS
from provenance_gate.artifact.configfacts import describe, has_lone_surrogate
from provenance_gate.artifact.interface import ModelConfig, Sha256, TokenizerFacts
from provenance_gate.artifact.jsonfile import load_json_object
from provenance_gate.errors import MalformedFileError, UnsafeFormatError, one_line

MAX_TOKENS: Final = 4_000_000
MAX_TOKEN_ID: Final = 2**31
MAX_CHARACTERS: Final = 16_000_000
FIRST_MERGES: Final = 50
SPECIAL: Final = ("bos", "eos", "pad", "unk", "mask")
SPACE_MARKS: Final = ("▁", "Ġ", " ")
SCRIPTS: Final[Mapping[str, tuple[str, ...]]] = {
    "Latin": ("LATIN",),
    "CJK": ("CJK", "HANGUL", "HIRAGANA", "KATAKANA", "BOPOMOFO"),
    "Cyrillic": ("CYRILLIC",),
    "Arabic": ("ARABIC",),
    "Devanagari": ("DEVANAGARI",),
}
"""Scripts by words in the Unicode names of their characters, first hit wins; what matches none is Other."""

_FILE: Final = "tokenizer.json"
_CONFIG_FILE: Final = "tokenizer_config.json"
_MAX_CACHED: Final = 4
_MAX_GROWTH: Final = 1 << 16
_GROWTH_BY_TYPE: Final = {
    "NFKC": 18,
    "NFKD": 18,
    "NFC": 3,
    "NFD": 4,
    "ByteLevel": 2,
    "BertNormalizer": 6,
    "Lowercase": 3,
}

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
    root = load_json_object(tokenizer_json, _FILE)
    model = root.get("model")
    if not isinstance(model, dict):
        raise MalformedFileError(f"{_FILE}: model: expected an object, found {describe(model)}")
    vocabulary = _vocabulary(model.get("vocab"))
    _add_tokens(vocabulary, root.get("added_tokens"))
    joined = "".join(vocabulary)
    if len(joined) > MAX_CHARACTERS:
        raise MalformedFileError(f"{_FILE}: vocabulary of {len(joined)} characters, at most {MAX_CHARACTERS} are read")
    merges = _merges(model.get("merges"))
    if has_lone_surrogate(joined) or has_lone_surrogate("\n".join(merges)):
        raise MalformedFileError(f"{_FILE}: model: a token holds half of a surrogate pair")
    settings = None if tokenizer_config is None else load_json_object(tokenizer_config, _CONFIG_FILE)
    tokens, token_ids = _token_digests(vocabulary)
    return TokenizerFacts(
        class_name=None
        if settings is None
        else _text(settings.get("tokenizer_class"), "tokenizer_class", _CONFIG_FILE),
        model=_text(model.get("type"), "model.type", _FILE),
        vocab_size=len(vocabulary),
        tokens=tokens,
        token_ids=token_ids,
        vocabulary_sha256=_vocabulary_sha256(vocabulary),
        special_ids=fallback if settings is None else _special_ids(settings, vocabulary),
        num_merges=len(merges),
        first_merges_sha256=_lines_sha256(merges[:FIRST_MERGES]),
        merges_sha256=_lines_sha256(merges),
        mean_token_length=len(joined) / len(vocabulary),
        space_mark_share=sum(token.startswith(SPACE_MARKS) for token in vocabulary) / len(vocabulary),
        script_shares=_script_shares(joined),
        has_byte_tokens=any(f"<0x{byte:02X}>" in vocabulary for byte in range(256)),
        first_ids=_first_ids(tokenizer_json, root),
    )


def _vocabulary(vocab: object) -> dict[str, int]:
    """Token to id. Unigram models have a list of [token, score] pairs, whose index is the id."""
    if isinstance(vocab, dict) and len(vocab) <= MAX_TOKENS:
        for token, token_id in vocab.items():
            if type(token_id) is not int or not 0 <= token_id < MAX_TOKEN_ID:
                raise _bad_id(f"model.vocab of {one_line(token, 60)!r}", token_id)
        vocabulary = dict(vocab)
    elif isinstance(vocab, list) and len(vocab) <= MAX_TOKENS:
        vocabulary = {}
        for index, pair in enumerate(vocab):
            if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
                raise MalformedFileError(
                    f"{_FILE}: model.vocab[{index}]: expected [token, score], found {describe(pair)}"
                )
            vocabulary[pair[0]] = index
    else:
        found = describe(vocab)
        raise MalformedFileError(f"{_FILE}: model.vocab: expected at most {MAX_TOKENS} tokens, found {found}")
    return vocabulary


def _add_tokens(vocabulary: dict[str, int], added: object) -> None:
    if added is None:
        added = []
    if not isinstance(added, list) or len(added) > MAX_TOKENS:
        raise MalformedFileError(f"{_FILE}: added_tokens: expected a list of tokens, found {describe(added)}")
    for index, token in enumerate(added):
        if not isinstance(token, dict) or not isinstance(token.get("content"), str):
            raise MalformedFileError(f"{_FILE}: added_tokens[{index}]: expected an object with content")
        token_id = token.get("id")
        if type(token_id) is not int or not 0 <= token_id < MAX_TOKEN_ID:
            raise _bad_id(f"added_tokens[{index}].id", token_id)
        vocabulary.setdefault(token["content"], token_id)
    if not vocabulary:
        raise MalformedFileError(f"{_FILE}: the vocabulary is empty")


def _bad_id(where: str, found: object) -> MalformedFileError:
    return MalformedFileError(f"{_FILE}: {where}: expected an id in [0, 2**31), found {describe(found)}")


def _merges(merges: object) -> list[str]:
    """Merge rules as "left right", from either spelling; none for models without."""
    if merges is None:
        return []
    if not isinstance(merges, list) or len(merges) > 2 * MAX_TOKENS:
        raise MalformedFileError(f"{_FILE}: model.merges: expected a list of rules, found {describe(merges)}")
    rules: list[str] = []
    for index, rule in enumerate(merges):
        if isinstance(rule, str):
            rules.append(rule)
        elif isinstance(rule, list) and len(rule) == 2 and isinstance(rule[0], str) and isinstance(rule[1], str):
            rules.append(f"{rule[0]} {rule[1]}")
        else:
            raise MalformedFileError(f"{_FILE}: model.merges[{index}]: expected two strings, found {describe(rule)}")
    return rules


def _text(value: object, field: str, file: str) -> str | None:
    if value is not None and (not isinstance(value, str) or len(value) > 500 or has_lone_surrogate(value)):
        raise MalformedFileError(f"{file}: {field}: expected a short string, found {describe(value)}")
    return value


def _special_ids(settings: Mapping[str, object], vocabulary: Mapping[str, int]) -> dict[str, int | None]:
    ids: dict[str, int | None] = {}
    for name in SPECIAL:
        field, token = f"{name}_token", settings.get(f"{name}_token")
        if isinstance(token, dict):
            field, token = f"{field}.content", token.get("content")
        text = _text(token, field, _CONFIG_FILE)
        ids[name] = None if text is None else vocabulary.get(text)
    return ids


def _ids_from_config(config: ModelConfig | None) -> dict[str, int | None]:
    ids: dict[str, int | None] = dict.fromkeys(SPECIAL)
    if config is not None:
        ids["bos"], ids["eos"] = config.bos_token_id, config.eos_token_id
    return ids


def _token_digests(vocabulary: Mapping[str, int]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Digests of the tokens, sorted and unique, and their ids in the same order."""
    blake2b = hashlib.blake2b
    digests = b"".join([blake2b(token.encode(), digest_size=8).digest() for token in vocabulary])
    tokens, first = np.unique(np.frombuffer(digests, dtype="<u8").astype(np.uint64), return_index=True)
    ids = np.fromiter(vocabulary.values(), dtype=np.int64, count=len(vocabulary))[first]
    # Facts are shared by every artifact with this tokenizer.
    tokens.setflags(write=False)
    ids.setflags(write=False)
    return tokens, ids


def _vocabulary_sha256(vocabulary: Mapping[str, int]) -> Sha256:
    """SHA-256 over lengths, ids and text of the tokens, ordered by id, then by token."""
    ids = np.fromiter(vocabulary.values(), dtype="<i8", count=len(vocabulary))
    tokens = list(vocabulary)
    if not (np.diff(ids) > 0).all():
        pairs = sorted(zip(ids.tolist(), tokens, strict=True))
        ids, tokens = np.array([pair[0] for pair in pairs], dtype="<i8"), [pair[1] for pair in pairs]
    # The lengths make it one-to-one: a token that holds a separator cannot pass for two.
    lengths = np.fromiter(map(len, tokens), dtype="<i8", count=len(tokens))
    digest = hashlib.sha256(lengths.tobytes())
    digest.update(ids.tobytes())
    digest.update("".join(tokens).encode())
    return Sha256(digest.hexdigest())


def _lines_sha256(lines: list[str]) -> Sha256:
    return Sha256(hashlib.sha256("\n".join(lines).encode()).hexdigest())


def _script_shares(joined: str) -> dict[str, float]:
    """Share of the alphabetic characters per script, rounded to 4 digits; all zero when there are none."""
    counts = dict.fromkeys((*SCRIPTS, "Other"), 0)
    # Counting code points in numpy takes a tenth of collections.Counter's time.
    frequencies = np.bincount(np.frombuffer(joined.encode("utf-32-le"), dtype="<u4"))
    for code in np.flatnonzero(frequencies):
        if chr(code).isalpha():
            counts[_script(chr(code))] += int(frequencies[code])
    total = sum(counts.values())
    return {script: round(count / total, 4) if total else 0.0 for script, count in counts.items()}


def _script(character: str) -> str:
    name = unicodedata.name(character, "")
    return next((script for script, words in SCRIPTS.items() if any(word in name for word in words)), "Other")


def _first_ids(tokenizer_json: bytes, root: Mapping[str, object]) -> dict[str, int]:
    growth = _growth(root.get("normalizer")) * _growth(root.get("pre_tokenizer"))
    if growth > _MAX_GROWTH:
        raise UnsafeFormatError(f"{_FILE}: normalizer: could make a text more than {_MAX_GROWTH} times as long")
    try:
        return _encode_anchors(tokenizer_json.decode())
    except Exception as error:
        # The library raises Exception itself, no subclass.
        raise MalformedFileError(f"{_FILE}: refused by the tokenizers library: {one_line(str(error))}") from error
    except BaseException as error:
        # A Rust panic (Oniguruma out of steps) arrives as a class that cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise MalformedFileError(f"{_FILE}: the tokenizers library failed: {one_line(str(error))}") from error


def _encode_anchors(text: str) -> dict[str, int]:
    tokenizer = tokenizers.Tokenizer.from_str(text)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.post_processor = None
    first_ids: dict[str, int] = {}
    for string in ANCHOR_STRINGS:
        ids = tokenizer.encode(string, add_special_tokens=False).ids
        if ids:
            first_ids[string] = int(ids[0])
    return first_ids


def _growth(step: object) -> int:
    """Upper bound of the factor by which a normalizer or pre-tokenizer lengthens a text, in characters.

    ``Replace`` may match the empty string at every place, hence the 1 added; a ``Precompiled`` map replaces a character by
    one of the NUL-separated strings behind its trie.
    """
    if not isinstance(step, dict):
        return 1
    growth = _GROWTH_BY_TYPE.get(str(step.get("type")), 1)
    match step:
        case {"type": "Replace", "content": str(content)} | {"type": "Prepend", "prepend": str(content)}:
            growth = 1 + len(content)
        case {"type": "Precompiled", "precompiled_charsmap": str(charsmap)}:
            growth = _longest_replacement(charsmap)
    for nested in ("normalizers", "pretokenizers"):
        steps = step.get(nested)
        for inner in steps if isinstance(steps, list) else ():
            growth = min(growth * _growth(inner), _MAX_GROWTH + 1)
    return growth


def _longest_replacement(charsmap: str) -> int:
    try:
        blob = b64decode(charsmap, validate=True)
    except ValueError as error:
        raise MalformedFileError(f"{_FILE}: normalizer.precompiled_charsmap: not base64") from error
    trie_bytes = int.from_bytes(blob[:4], "little")
    return max(1, *map(len, blob[4 + trie_bytes :].split(b"\0")), 1)
