"""Tokenizers trained for the benchmark, written as Hugging Face writes them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from benchmarks.lineage.corpus import corpus
from benchmarks.lineage.store import Json


@dataclass(frozen=True)
class Vocabulary:
    """How one tokenizer is trained: `kind` "bytes" (GPT-2), "pieces" (Llama) or "words" (BERT), and on which half."""

    name: str
    kind: str
    size: int
    half: int
    tokenizer_class: str


VOCABULARIES = (
    Vocabulary("va", "bytes", 2048, 0, "GPT2TokenizerFast"),
    Vocabulary("vb", "bytes", 2560, 1, "Qwen2TokenizerFast"),
    Vocabulary("vc", "bytes", 1800, 1, "GPTNeoXTokenizerFast"),
    Vocabulary("vd", "pieces", 2048, 1, "LlamaTokenizerFast"),
    Vocabulary("vw", "words", 2048, 0, "BertTokenizerFast"),
    Vocabulary("vx", "words", 2300, 1, "BertTokenizerFast"),
    Vocabulary("vn", "bytes", 2304, 0, "GPT2TokenizerFast"),
    Vocabulary("vm", "bytes", 2200, 1, "GPT2TokenizerFast"),
    Vocabulary("ve", "bytes", 2400, 0, "PreTrainedTokenizerFast"),
)
"""va, vw: lineages of the fit split; vb, vc, vd, vx: of the report split; vn, vm: for rebuilt vocabularies; ve: of the blind
split."""

_TRAINING_BYTES = 4_000_000


def vocabulary(name: str) -> Vocabulary:
    """By name."""
    return next(v for v in VOCABULARIES if v.name == name)


def tokenizer_files(cache: Path, name: str) -> tuple[Json, Json]:
    """tokenizer.json and tokenizer_config.json, trained once."""
    path = cache / "tokenizers" / f"{name}.json"
    spec = vocabulary(name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        _train(spec, corpus(cache)[spec.half].read_text(encoding="utf-8")[:_TRAINING_BYTES]).save(str(partial))
        partial.rename(path)
    settings: Json = {"tokenizer_class": spec.tokenizer_class, "model_max_length": 128}
    return json.loads(path.read_text(encoding="utf-8")), settings | _special(spec)


def token_ids(cache: Path, name: str, half: int) -> NDArray[np.uint16]:
    """One half of the corpus in the ids of a tokenizer, encoded once."""
    path = cache / "ids" / f"{name}-{half}.npy"
    if not path.exists():
        tokenizer_files(cache, name)
        tokenizer = Tokenizer.from_file(str(cache / "tokenizers" / f"{name}.json"))
        text = corpus(cache)[half].read_text(encoding="utf-8")
        pieces = [text[i : i + 20_000] for i in range(0, len(text), 20_000)]
        ids = [e.ids for e in tokenizer.encode_batch(pieces, add_special_tokens=False)]
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        np.save(partial, np.concatenate([np.array(i, np.uint16) for i in ids]))
        partial.rename(path)
    found: NDArray[np.uint16] = np.load(path)
    return found


def _special(spec: Vocabulary) -> Json:
    match spec.kind:
        case "words":
            return {"unk_token": "[UNK]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
        case "pieces":
            return {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        case _:
            return {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}


def _train(spec: Vocabulary, text: str) -> Tokenizer:
    lines = text.splitlines(keepends=True)
    special = list(dict.fromkeys(str(v) for v in _special(spec).values()))
    if spec.kind == "words":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        words = trainers.WordPieceTrainer(
            vocab_size=spec.size, special_tokens=special, show_progress=False, limit_alphabet=200
        )
        tokenizer.train_from_iterator(lines, words)
    elif spec.kind == "pieces":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        pairs = trainers.BpeTrainer(
            vocab_size=spec.size, special_tokens=special, show_progress=False, limit_alphabet=200
        )
        tokenizer.train_from_iterator(lines, pairs)
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        pairs = trainers.BpeTrainer(
            vocab_size=spec.size, special_tokens=special, show_progress=False, initial_alphabet=alphabet
        )
        tokenizer.train_from_iterator(lines, pairs)
    return tokenizer
