"""Greedy decoding of a local model with torch and transformers (extra ``generation``): the only file that imports them.

Nothing of the model's folder is seen by transformers but its safetensors files: they are linked into a temporary folder beside a
config.json that was rebuilt here. So there is no remote code, no adapter, no pickle, no quantizer and no hub name to follow, and
what the config would build is counted on the meta device before memory is taken. The tokenizer is the `tokenizers` library's,
without the parts of its file that could multiply text.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from provenance_gate.artifact.interface import Artifact, NotMeasured
from provenance_gate.artifact.jsonfile import load_json_object
from provenance_gate.errors import MalformedFileError, one_line
from provenance_gate.fingerprint.interface import Json
from provenance_gate.tells.decoding import Continuation, Decoded, Settings
from provenance_gate.tells.plaintokenizer import plain_tokenizer

EXTRA: Final = "needs torch and transformers: pip install 'provenance-gate[generation]'"
LARGEST_CONFIG: Final = 4 << 20
MOST_PARAMETERS: Final = 16_000_000_000
SLACK: Final = 1 << 20
"""Elements that a config may build beyond those of the files (buffers, a tied head counted twice aside)."""
LONGEST_PROMPT: Final = 512
"""Tokens of a prompt that are read, from its start."""
_DROPPED: Final = frozenset(
    {"architectures", "auto_map", "torch_dtype", "dtype", "transformers_version", "name_or_path", "attn_implementation"}
    | {"id2label", "label2id", "task_specific_params", "custom_generate", "tokenizer_class", "pruned_heads"}
)
_SECTIONS: Final = frozenset({"rope_scaling", "rope_parameters"})
_COUNTS: Final = ("layer", "block", "expert", "depth", "stage")
_NO_COUNTS: Final = ("_size", "_dim", "_eps", "_factor")


def decode_local(folder: Path, artifact: Artifact, prompts: Sequence[str], settings: Settings) -> Decoded | NotMeasured:
    """Continuations of at most `settings.new_tokens` tokens, without sampling, on the CPU, one prompt at a time.

    `artifact` is what was opened from `folder`: only its safetensors files are linked. NotMeasured without the extra, and for
    a model that is not a plain causal language model of transformers whose files hold every weight.
    """
    if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
        return NotMeasured(EXTRA)
    facts = _facts(folder, artifact)
    if isinstance(facts, NotMeasured):
        return facts
    tokenizer = plain_tokenizer(folder / "tokenizer.json")
    if isinstance(tokenizer, NotMeasured):
        return tokenizer
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="provenance-gate-") as place:
        warnings.simplefilter("ignore")
        try:
            _link(folder, artifact, facts, Path(place))
            model = _load(Path(place), facts, artifact, settings)
            if isinstance(model, NotMeasured):
                return model
            return _decode(model, tokenizer, prompts, settings, _stops(facts))
        # A library of this size raises anything at all on a config that somebody made up.
        except Exception as error:  # noqa: BLE001
            return NotMeasured(f"transformers cannot run it: {type(error).__name__}: {one_line(str(error), 160)}")


def _facts(folder: Path, artifact: Artifact) -> dict[str, object] | NotMeasured:
    """config.json without anything that names code, files or other models."""
    files = {t.path for t in artifact.stored}
    if not files or any(p.suffix != ".safetensors" for p in files):
        return NotMeasured("only weights in safetensors are decoded")
    if artifact.parameters > MOST_PARAMETERS:
        return NotMeasured(f"{artifact.parameters:,} parameters; at most {MOST_PARAMETERS:,} are decoded here")
    try:
        with (folder / "config.json").open("rb") as file:
            data = file.read(LARGEST_CONFIG + 1)
        if len(data) > LARGEST_CONFIG:
            return NotMeasured(f"config.json: more than {LARGEST_CONFIG:,} bytes")
        facts = load_json_object(data, "config.json")
    except (OSError, MalformedFileError) as error:
        return NotMeasured(f"config.json cannot be read: {one_line(str(error), 160)}")
    if facts.get("quantization_config") is not None:
        return NotMeasured("quantized weights are not decoded here")
    kept = {k: v for k, v in facts.items() if not k.startswith("_") and k not in _DROPPED and v is not None}
    kept.pop("quantization_config", None)
    for key, value in kept.items():
        if isinstance(value, dict) and key not in _SECTIONS:
            return NotMeasured(f"config.json: section {one_line(key, 40)} is none of a plain language model")
        counts = any(word in key for word in _COUNTS) and not key.endswith(_NO_COUNTS)
        if counts and _greatest(value) > max(256, 4 * len(artifact.stored)):
            return NotMeasured(f"config.json: {one_line(key, 40)} is more than the weights can fill")
    return kept


def _greatest(value: object) -> float:
    if isinstance(value, list):
        return max(len(value), *(v for v in value if isinstance(v, (int, float))), 0)
    return value if isinstance(value, (int, float)) else 0


def _link(folder: Path, artifact: Artifact, facts: Mapping[str, object], place: Path) -> None:
    """The weights under names of our own, with the index that the headers of the files give."""
    names: dict[PurePosixPath, str] = {}
    for number, path in enumerate(sorted({t.path for t in artifact.stored}), 1):
        names[path] = f"model-{number:05d}.safetensors"
        (place / names[path]).symlink_to((folder / path).resolve(strict=True))
    index = {"metadata": {}, "weight_map": {t.name: names[t.path] for t in artifact.stored}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    (place / "config.json").write_text(json.dumps(facts), "utf-8")


def _load(place: Path, facts: Mapping[str, object], artifact: Artifact, settings: Settings) -> Any | NotMeasured:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    from transformers.utils import logging

    kind = facts.get("model_type")
    if not isinstance(kind, str) or kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return NotMeasured(f"model_type {one_line(str(kind), 60)} is no causal language model of transformers")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(place, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        planned = AutoModelForCausalLM.from_config(config, trust_remote_code=False, attn_implementation="eager")
    tensors = {id(t): t.numel() for t in (*planned.parameters(), *planned.buffers())}
    # A tied head is stored once, or twice.
    if sum(tensors.values()) > 2 * artifact.parameters + SLACK:
        return NotMeasured("config.json describes a model larger than its weights")
    del planned
    model, report = AutoModelForCausalLM.from_pretrained(
        place,
        config=config,
        dtype=getattr(torch, settings.dtype),
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation="eager",
        output_loading_info=True,
    )
    missing = sorted(report.get("missing_keys") or ())
    if missing:
        return NotMeasured(
            f"the files lack {len(missing)} weights of the model, {one_line(str(missing[0]), 80)} among them"
        )
    return model.eval()


def _stops(facts: Mapping[str, object]) -> frozenset[int]:
    found = facts.get("eos_token_id")
    listed = found if isinstance(found, list) else [found]
    return frozenset(i for i in listed if type(i) is int)


def _decode(model: Any, tokenizer: Any, prompts: Sequence[str], settings: Settings, stops: frozenset[int]) -> Decoded:
    import torch
    import transformers

    rows = int(model.get_input_embeddings().weight.shape[0])
    longest = min(LONGEST_PROMPT, _positions(model) - settings.new_tokens)
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    try:
        with torch.inference_mode():
            found = [_continue(model, tokenizer, p, settings, stops, rows, longest) for p in prompts]
    finally:
        torch.set_num_threads(threads)
    record: dict[str, Json] = {
        "torch": str(torch.__version__),
        "transformers": str(transformers.__version__),
        "dtype": settings.dtype,
        "threads": settings.threads,
        "seed": settings.seed,
        "new_tokens": settings.new_tokens,
        "device": "cpu",
    }
    return Decoded(tuple(found), tokenizer.vocabulary, record)


def _positions(model: Any) -> int:
    found = getattr(model.config, "max_position_embeddings", None)
    return found if type(found) is int and found > 0 else LONGEST_PROMPT + 1024


def _continue(
    model: Any, tokenizer: Any, prompt: str, settings: Settings, stops: frozenset[int], rows: int, longest: int
) -> Continuation:
    import torch

    ids = [i for i in tokenizer.encode(prompt) if 0 <= i < rows][: max(1, longest)] or [0]
    given = torch.tensor([ids])
    cache, found = None, []
    for _ in range(settings.new_tokens):
        out = model(input_ids=given, past_key_values=cache, use_cache=True)
        # On a tie the least id, in every version.
        token = int(out.logits[0, -1].float().argmax())
        found.append(token)
        if token in stops:
            break
        cache = getattr(out, "past_key_values", None)
        given = torch.tensor([[token]]) if cache is not None else torch.tensor([[*ids, *found]])
    return Continuation(tuple(found), tokenizer.decode(found))
