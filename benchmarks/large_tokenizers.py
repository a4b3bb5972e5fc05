"""tokenizer.json files: as long as real ones, and made to cost memory or time."""

from __future__ import annotations

import itertools
import json
import string
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

LIMIT: Final = 64 << 20
"""Bytes of a tokenizer.json that are read."""

_LLAMA_3: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _grown(count: int, mark: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Characters, all pairs of them, pairs of pairs; and the rules that put them together."""
    signs = [*string.ascii_lowercase, *string.digits, mark]
    pairs = [(a, b) for a in signs for b in signs]
    twos = list(map("".join, pairs))
    rules = [*pairs, *itertools.islice(itertools.product(twos, twos), count - len(pairs) - len(signs))]
    return list(dict.fromkeys([*signs, *map("".join, rules)])), rules


def _added(token_id: int, content: str) -> dict[str, object]:
    return {
        "id": token_id,
        "content": content,
        **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False),
    }


def _llama() -> bytes:
    tokens, rules = _grown(128_000, "\u0120")
    split = {"type": "Split", "pattern": {"Regex": _LLAMA_3}, "behavior": "Isolated", "invert": False}
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    model = {"type": "BPE", "ignore_merges": True, "vocab": {t: i for i, t in enumerate(tokens)}}
    root = {
        "added_tokens": [_added(len(tokens) + i, f"<|reserved_{i}|>") for i in range(256)],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, bytes_]},
        "model": model | {"merges": list(map(" ".join, rules))},
    }
    return json.dumps(root, ensure_ascii=False, indent=2).encode()


def _gemma() -> bytes:
    tokens, rules = _grown(255_600, "\u2581")
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *tokens]
    model = {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
    space = {"String": " "}
    root = {
        "added_tokens": [_added(len(tokens) + i, f"<unused{i}>") for i in range(6200)],
        "normalizer": {"type": "Replace", "pattern": space, "content": "\u2581"},
        "pre_tokenizer": {"type": "Split", "pattern": space, "behavior": "MergedWithPrevious", "invert": False},
        "model": model | {"vocab": {t: i for i, t in enumerate(tokens)}, "merges": list(map(list, rules * 2))},
    }
    return json.dumps(root, ensure_ascii=False, indent=2).encode()


def _model(vocab: bytes, merges: bytes = b"[]", kind: bytes = b"BPE", added: bytes = b"[]") -> bytes:
    return b'{"added_tokens":%b,"model":{"type":"%b","vocab":%b,"merges":%b}}' % (added, kind, vocab, merges)


def _tokens(texts: Iterable[str]) -> bytes:
    return b"{" + ",".join(f'"{text}":{n}' for n, text in enumerate(texts)).encode() + b"}"


def _scored(count: int, line: str) -> bytes:
    return b"[" + ",".join(line % n for n in range(count)).encode() + b"]"


_FLAGS: Final = "".join(f',"{flag}":false' for flag in ("single_word", "lstrip", "rstrip", "special"))


def _listed(count: int, line: str) -> bytes:
    return b"[" + ",".join(line % (n, n, _FLAGS) for n in range(count)).encode() + b"]"


def _filled(before: bytes, repeated: bytes, after: bytes) -> bytes:
    """A file of almost `LIMIT` bytes."""
    return before + repeated * ((LIMIT - len(before) - len(after)) // len(repeated)) + after


def _padded(data: bytes) -> bytes:
    return data + b" " * (LIMIT - len(data))


def _wide(number: int) -> bytes:
    """Ten characters of four bytes, others for each number."""
    return ("".join(chr(0x1F600 + (number >> 6 * place) % 64) for place in range(4)) + _WIDE * 6).encode()


_ABC: Final = b'{"a":0,"b":1,"ab":2}'
_WIDE: Final = "\U0001f600"

FILES: Final[Mapping[str, Callable[[], bytes]]] = {
    "128k tokens and rules (like Llama 3's)": _llama,
    "262k tokens, 511k rules (like Gemma 3's)": _gemma,
    "900k pieces with scores (like XLM-V's)": lambda: _model(
        _scored(900_000, '["abc%06x",-1.5]'), b'null,"unk_id":0', b"Unigram"
    ),
    "1M short tokens": lambda: _model(_tokens(f"{n:x}" for n in range(1_000_000))),
    "1M tokens, ids backwards": lambda: _model(
        b"{" + b",".join(b'"%x":%d' % (n, 10**6 - n) for n in range(10**6)) + b"}"
    ),
    "1M tokens with a character of four bytes": lambda: _model(_tokens(f"{_WIDE}{n:06x}" for n in range(1_000_000))),
    "1M tokens of 45 bytes": lambda: _model(_tokens(f"{n:06x}" + "\u4e00" * 13 for n in range(1_000_000))),
    "3.4M short tokens": lambda: _model(_tokens(f"{n:x}" for n in range(3_400_000))),
    "1M tokens of 40 bytes, ids backwards, file filled up": lambda: _padded(
        _model(b"{" + b",".join(b'"%b":%d' % (_wide(n), 10**6 - n) for n in range(10**6)) + b"}")
    ),
    "1M tokens of 40 bytes, one id": lambda: _model(
        b"{" + b",".join(b'"%b":7' % _wide(n) for n in range(10**6)) + b"}"
    ),
    "250 tokens of 250 kB": lambda: _model(_tokens(_WIDE * 15_900 + "x" * 186_000 + str(n) for n in range(250))),
    "one token of 64 MB": lambda: _filled(
        b'{"model":{"type":"BPE","merges":[],"vocab":{"', b"\xf0\x9f\x98\x80", b'":0}}}'
    ),
    "tokens spelled with escapes": lambda: _model(
        _tokens(f"\\\\u4e00{n:06x}".replace("\\\\", "\\") * 2 for n in range(10**6))
    ),
    "500k added tokens": lambda: _model(_ABC, added=_listed(500_000, '{"id":%d,"content":"%x"%s,"normalized":false}')),
    "added tokens within anchors": lambda: _model(_ABC, added=_listed(500_000, '{"id":%d,"content":"the","x":%d%s}')),
    "normalized added tokens": lambda: (
        b'{"normalizer":{"type":"Sequence","normalizers":[{"type":"NFKC"},{"type":"Lowercase"}]},'
        + _model(_ABC, added=_listed(500_000, '{"id":%d,"content":"%X","normalized":true%s}'))[1:]
    ),
    "2M rules": lambda: _model(_ABC, b"[" + b",".join([b'"a b"'] * 2_000_000) + b"]"),
    "2M rules in lists": lambda: _model(_ABC, b"[" + b",".join([b'["a","b"]'] * 2_000_000) + b"]"),
    "9M rules": lambda: _model(_ABC, b"[" + b",".join([b'"a b"'] * 9_000_000) + b"]"),
    "64 MB of brackets": lambda: _filled(b'{"model":', b"[", b""),
    "64 MB of empty lists": lambda: _filled(b'{"model":{"vocab":[', b"[],", b"[]]}}"),
    "64 MB of commas": lambda: _filled(b'{"model":{"vocab":[', b",", b"]}}"),
    "64 MB of backslashes": lambda: _filled(b'{"model":{"vocab":{"', b"\\\\", b'":1}}}'),
    "64 MB of quotes": lambda: _filled(b'{"model":{"vocab":[', b'""', b"]}}"),
    "64 MB of blanks": lambda: _filled(b'{"model":{"vocab":', b" ", b"{}}}"),
    "64 MB of lists elsewhere": lambda: _filled(b'{"model":{"vocab":{"a":0}},"decoder":[', b"[],", b"[]]}"),
    "4 MB of lists as normalizer": lambda: (
        b'{"normalizer":{"type":"NFC","x":[' + b"[]," * 1_390_000 + b'[]]},"model":{"vocab":{"a":0}}}'
    ),
}


def write_tokenizer(folder: Path, name: str) -> None:
    """A folder that holds the file and a config."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    data = FILES[name]()
    assert len(data) <= LIMIT, (name, len(data))
    (folder / "tokenizer.json").write_bytes(data)
