"""One ``*_features.json`` of the reference system's database: strict in types, tolerant of keys that are not there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256

from provenance_gate.artifact.config import parse_config
from provenance_gate.artifact.configfacts import MAX_INTEGER, MAX_TEXT, describe
from provenance_gate.artifact.interface import NotMeasured
from provenance_gate.errors import MalformedFileError, RegistryError, one_line
from provenance_gate.fingerprint.interface import Json, SignalResult, SignalValue
from provenance_gate.fingerprint.signals.mfi import ARCHITECTURE, architecture_sha256, mfi_facts

_MAX_ENTRIES = 256
_SCRIPTS = ("Latin", "CJK", "Cyrillic", "Arabic", "Devanagari", "Other")
_CONFIG = (
    "hidden_act",
    "head_dim",
    "rope_theta",
    "rope_scaling",
    "tie_word_embeddings",
    "bos_token_id",
    "eos_token_id",
)
_ATTENTION_BIAS = ("attention_bias", "bias", "use_bias")
_EPSILON = {"RMSNorm": "rms_norm_eps", "LayerNorm": "layer_norm_eps"}
_ZERO_IS_A_VALUE = frozenset(
    {"bos_token_id", "eos_token_id", *_EPSILON.values(), *_ATTENTION_BIAS, "tie_word_embeddings"}
)
_ENCODER_DECODERS = ("t5", "bart", "pegasus", "marian", "m2m")
_MIXTURES = ("moe", "mixtral", "deepseek_v", "deepseekv", "gpt_oss", "gptoss", "dbrx")
_GATED = frozenset({"silu", "swiglu", "gegelu"})


class Reading(str, Enum):
    """How much of a model the reference system read, as far as its size tells."""

    WHOLE = "whole"
    """One file, every value."""
    SHARDED = "sharded"
    """Every value, tensors in the order of the shards."""
    ROWS = "rows"
    """More than 20 GB: 32 rows a matrix, and the norms by name."""
    UNKNOWN = "unknown"
    """Any of the three."""


WHOLE_PARAMETERS, SHARDED_PARAMETERS = 2_500_000_000, 10_000_000_000
"""At 16 bits a parameter: 5 GB is what fits one file by default, 20 GB what the reference system reads whole."""


class Features:
    """Typed look-ups in one object of the file; every error names file and key."""

    def __init__(self, facts: Mapping[str, object], where: str) -> None:
        self._facts, self.where = facts, where

    def part(self, key: str) -> Features:
        """An object inside; an empty one when it is not there."""
        value = self._facts.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.error(key, "an object")
        return Features(value or {}, f"{self.where}: {key}")

    def is_empty(self) -> bool:
        return not self._facts

    def raw(self, key: str) -> object:
        """A value of any type, for a reader that checks it."""
        return self._facts.get(key)

    def text(self, key: str) -> str | None:
        value = self._facts.get(key)
        if value is not None and (not isinstance(value, str) or len(value) > MAX_TEXT):
            raise self.error(key, f"a string of at most {MAX_TEXT} characters")
        return value

    def long_text(self, key: str) -> str | None:
        value = self._facts.get(key)
        if value is not None and not isinstance(value, str):
            raise self.error(key, "a string")
        return value

    def integer(self, key: str) -> int | None:
        value = self._facts.get(key)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MAX_INTEGER
        ):
            raise self.error(key, "an integer in [0, 2**31)")
        return value

    def number(self, key: str) -> float | None:
        value = self._facts.get(key)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2.0**63
        ):
            raise self.error(key, "a number in [0, 2**63)")
        return None if value is None else float(value)

    def flag(self, key: str) -> bool | None:
        value = self._facts.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.error(key, "true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.items(key)
        if not all(isinstance(v, str) and len(v) <= MAX_TEXT for v in values):
            raise self.error(key, f"strings of at most {MAX_TEXT} characters")
        return tuple(str(v) for v in values)

    def items(self, key: str, most: int = _MAX_ENTRIES) -> list[object]:
        value = self._facts.get(key)
        if value is not None and (not isinstance(value, list) or len(value) > most):
            raise self.error(key, f"a list of at most {most:,}")
        return value or []

    def objects(self, key: str, most: int = _MAX_ENTRIES) -> list[Features]:
        found = []
        for number, value in enumerate(self.items(key, most)):
            if not isinstance(value, dict):
                raise RegistryError(f"{self.where}: {key} {number}: expected an object, found {describe(value)}")
            found.append(Features(value, f"{self.where}: {key} {number}"))
        return found

    def error(self, key: str, expected: str) -> RegistryError:
        return RegistryError(f"{self.where}: {key}: expected {expected}, found {describe(self._facts.get(key))}")


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """Where the deep signals lie below the database, and the SHA-256 that is stated for them."""

    path: str
    sha256: str | None


def deep_signals_ref(features: Features) -> ArtifactRef | None:
    """The first reference to a parquet file; None when there is none."""
    for ref in features.objects("artifact_refs"):
        path = ref.text("path")
        if path is None or (ref.text("type") or "deep_signals") != "deep_signals":
            continue
        stated = ref.text("sha256") or ref.text("checksum")
        if not stated:
            return ArtifactRef(path, None)
        digest = stated.removeprefix("sha256:").lower()
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise RegistryError(f"{ref.where}: checksum: expected a SHA-256 in hex, found {one_line(stated, 80)!r}")
        return ArtifactRef(path, digest)
    return None


def mfi_value(mfi: Features) -> tuple[SignalResult, tuple[str, ...]]:
    """The metadata signal, and what is doubtful about it.

    The stored facts are read as the config that they came from, so that both sides know the same of an architecture: what a
    model type implies, and the base of rotary positions that is stored as null and stands below ``rope_scaling``.
    """
    if mfi.is_empty():
        return NotMeasured("the database holds no mfi facts"), ()
    stored = {key: mfi.raw(key) for key in ARCHITECTURE}
    stated = mfi.text("arch_hash")
    fits = stated is None or stated == _stored_hash(stored)
    problems = () if fits else (f"{mfi.where}: arch_hash does not fit the facts beside it; the facts were used",)
    try:
        facts = mfi_facts(parse_config(json.dumps(_as_config(mfi)).encode(), mfi.where), NotMeasured("not stored"))
    except MalformedFileError as error:
        raise RegistryError(str(error)) from error
    heads, tokenizer = mfi.integer("num_key_value_heads"), mfi.text("tokenizer_hash")
    facts |= {
        "imported": True,
        "attention": mfi.text("attention_style") or facts["attention"],
        "num_key_value_heads": heads or None,
        # Over the whole tokenizer file, where ours is over the vocabulary: equal only between two imported ones.
        "tokenizer": None if tokenizer is None else f"reference:{tokenizer}",
    }
    facts["architecture_sha256"] = architecture_sha256(facts)
    return SignalValue("facts", facts=facts), problems


def _as_config(mfi: Features) -> dict[str, object]:
    """Keys of a config.json. The reference system writes 0 for a size that it did not find, and "absolute" for positions."""
    config = {key: mfi.raw(key) for key in (*ARCHITECTURE, *_CONFIG)}
    config |= dict.fromkeys(_ATTENTION_BIAS, mfi.flag("attention_bias"))
    config |= {"dim": config["hidden_size"], "hidden_dim": config["intermediate_size"]}
    config |= {_EPSILON[norm]: 0.0} if (norm := mfi.text("norm_type")) in _EPSILON else {}
    config |= {"qk_norm": True} if mfi.flag("qk_norm") else {}
    said = mfi.raw("rope_theta") is not None or not mfi.part("rope_scaling").is_empty()
    position = mfi.text("pos_encoding")
    # "absolute" is also what is written where the base of rotary positions was overlooked, as by now in most RMSNorm models.
    if not said and not (position == "absolute" and norm == "RMSNorm"):
        config["position_embedding_type"] = position
    return {
        key: value for key, value in config.items() if value is not None and (value != 0 or key in _ZERO_IS_A_VALUE)
    }


def _stored_hash(facts: Mapping[str, object]) -> str:
    """As the reference system forms it: over the same facts, in another spelling of JSON."""
    return sha256(json.dumps([facts[k] for k in ARCHITECTURE], sort_keys=True).encode()).hexdigest()


def tfv_value(tfv: Features) -> SignalResult:
    """The tokenizer signal. The published files leave the merges out: their digest is empty then."""
    size, length = tfv.integer("vocab_size"), tfv.number("avg_token_length")
    if size is None or length is None:
        return NotMeasured("the database holds no tfv facts")
    ids, scripts = tfv.part("special_token_ids"), tfv.part("script_distribution")
    special: dict[str, Json] = {n: ids.integer(n) for n in ("pad", "unk", "mask")}
    special |= {"bos": tfv.integer("bos_token_id"), "eos": tfv.integer("eos_token_id")}
    shares: dict[str, Json] = {script: scripts.number(script) or 0.0 for script in _SCRIPTS}
    merges = tfv.long_text("all_merges_str")
    return SignalValue(
        "facts",
        facts={
            "class_name": tfv.text("tokenizer_class"),
            "vocab_size": size,
            "special_ids": special,
            "mean_token_length": length,
            "space_mark_share": tfv.number("pct_whitespace_prefix") or 0.0,
            "script_shares": shares,
            "has_byte_tokens": (tfv.number("pct_byte_tokens") or 0.0) > 0.0,
            "num_merges": tfv.integer("num_merges") or 0,
            "first_merges_sha256": tfv.text("merge_rule_hash") or "",
            "merges_sha256": sha256(merges.encode()).hexdigest() if merges else "",
        },
    )


def reading_of(bucket: str | None, mfi: Features) -> Reading:
    """From the size bucket of the catalog and the architecture. Experts are in neither, so a mixture may be of any size."""
    parameters = _parameters(mfi)
    if bucket in ("10-40B", "40B+") or (parameters or 0) > SHARDED_PARAMETERS:
        return Reading.ROWS
    names = " ".join((mfi.text("model_type") or "", *mfi.texts("architectures"))).lower()
    if parameters is None or any(mark in names for mark in _MIXTURES):
        return Reading.UNKNOWN
    return Reading.WHOLE if parameters <= WHOLE_PARAMETERS else Reading.SHARDED


def _parameters(mfi: Features) -> int | None:
    """Of a dense transformer of these sizes; None when the facts do not say."""
    hidden, layers, heads = (
        mfi.integer("hidden_size"),
        mfi.integer("num_hidden_layers"),
        mfi.integer("num_attention_heads"),
    )
    if not hidden or not layers:
        return None
    width = mfi.integer("head_dim") or (hidden // heads if heads else hidden)
    queries = (heads or 1) * width
    keys = (mfi.integer("num_key_value_heads") or heads or 1) * width
    inner = mfi.integer("intermediate_size") or 4 * hidden
    stacks = 2 if any(mark in (mfi.text("model_type") or "") for mark in _ENCODER_DECODERS) else 1
    gated = (mfi.text("hidden_act") or "").lower() in _GATED or mfi.text("norm_type") == "RMSNorm" or stacks == 2
    attention, feed_forward = 2 * queries + 2 * keys, (3 if gated else 2) * inner
    # A config counts the layers of one stack; those of the other attend twice.
    body = layers * hidden * (stacks * (attention + feed_forward) + (stacks - 1) * attention)
    tables = 2 if mfi.flag("tie_word_embeddings") is False else 1
    return body + tables * hidden * (mfi.integer("vocab_size") or 0)
