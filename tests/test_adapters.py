"""PEFT adapters: what is read of them, and what their shapes say about a base."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

import provenance_gate
from provenance_gate.artifact.adapter import (
    MAX_NAMES,
    Adapter,
    AdapterConfig,
    parse_adapter_config,
    read_adapter,
    split_path,
)
from provenance_gate.artifact.canonical import canonical_tensors
from provenance_gate.artifact.interface import Artifact, Claims, NotMeasured, StoredTensor
from provenance_gate.artifact.load import open_artifact
from provenance_gate.errors import MalformedFileError
from provenance_gate.lineage.adapters import ABSENT, AdapterFit, fit_adapter, with_adapter
from provenance_gate.lineage.interface import Lineage, Relation
from tests.formats import WRITERS
from tests.models import FEED_FORWARD, HIDDEN, LAYERS, VOCABULARY, llama, write_model

Tensors = dict[str, NDArray[np.float32]]
TARGETS = {"self_attn.q_proj": (HIDDEN, HIDDEN), "mlp.down_proj": (HIDDEN, FEED_FORWARD)}
RANK = 4
CONFIG = {"peft_type": "LORA", "r": RANK, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]}


def pair(path: str, out: int, width: int, rank: int = RANK, ending: str = ".weight") -> Tensors:
    rng = np.random.default_rng(len(path))
    shapes = {"lora_A": (rank, width), "lora_B": (out, rank)}
    return {
        f"base_model.model.{path}.{part}{ending}": rng.standard_normal(shape).astype(np.float32)
        for part, shape in shapes.items()
    }


def lora(layers: int = LAYERS, hidden: int = HIDDEN, ending: str = ".weight", rank: int = RANK) -> Tensors:
    tensors: Tensors = {}
    for layer in range(layers):
        for name, shape in TARGETS.items():
            out, width = (hidden if extent == HIDDEN else extent for extent in shape)
            tensors |= pair(f"model.layers.{layer}.{name}", out, width, rank, ending)
    return tensors


class Silent:
    def read(self, start: int, count: int) -> NDArray[np.float32]:
        raise AssertionError("no value of an adapter is needed")


SILENT = Silent()


def artifact(shapes: Mapping[str, tuple[int, ...]]) -> Artifact:
    stored = tuple(
        StoredTensor(n, "F32", s, 4 * int(np.prod(s)), PurePosixPath("a.safetensors"), SILENT)
        for n, s in sorted(shapes.items())
    )
    canonical, roles_from, _ = canonical_tensors(stored, NotMeasured("none"))
    absent = NotMeasured("none")
    return Artifact("a", (), Claims(), absent, absent, stored, canonical, roles_from)


def of(tensors: Tensors) -> Artifact:
    return artifact({n: t.shape for n, t in tensors.items()})


def read(tensors: Tensors, **config: object) -> Adapter:
    found = read_adapter(of(tensors), json.dumps({**CONFIG, **config}).encode())
    assert isinstance(found, Adapter), found
    return found


def fit(adapter: Adapter, base: Artifact) -> AdapterFit:
    found = fit_adapter(adapter, base)
    assert isinstance(found, AdapterFit), found
    return found


BASE = of(llama(1))


def test_the_config_is_read() -> None:
    found = parse_adapter_config(
        json.dumps(
            {**CONFIG, "base_model_name_or_path": "o/b", "modules_to_save": ["lm_head"], "rank_pattern": {"k": 2}}
        ).encode()
    )
    assert found == AdapterConfig(
        peft_type="LORA",
        base_model="o/b",
        r=RANK,
        lora_alpha=8.0,
        target_modules=("q_proj", "down_proj"),
        modules_to_save=("lm_head",),
        rank_pattern={"k": 2},
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"r": 0}, "r: expected an integer from 1"),
        ({"r": True}, "r: expected an integer"),
        ({"r": 10**25}, "r: expected an integer"),
        ({"peft_type": "L" * 501}, "peft_type: expected a string of at most 500"),
        ({"lora_alpha": 10**25}, "lora_alpha: expected a number"),
        ({"target_modules": 3}, "target_modules: expected a list"),
        ({"target_modules": [3]}, "target_modules: expected a string"),
        ({"target_modules": "(a+)+" * 3_000}, "target_modules: expected a string"),
        ({"target_modules": ["q"] * (MAX_NAMES + 1)}, "target_modules: expected a list of at most"),
        ({"modules_to_save": {"a": 1}}, "modules_to_save: expected a list"),
        ({"rank_pattern": ["q"]}, "rank_pattern: expected an object"),
        ({"rank_pattern": {"q": -1}}, "rank_pattern: q: expected an integer"),
        ({"fan_in_fan_out": 1}, "fan_in_fan_out: expected true or false"),
    ],
)
def test_a_hostile_config_is_one_line_with_the_field(fields: Mapping[str, object], message: str) -> None:
    with pytest.raises(MalformedFileError) as caught:
        parse_adapter_config(json.dumps({**CONFIG, **fields}).encode())
    assert str(caught.value).startswith(f"adapter_config.json: {message}") and "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"r": NaN}', b'{"r": 1, "r": 2}', b"\xff", b"[" * 3_000_000])
def test_a_config_that_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedFileError, match=r"^adapter_config\.json: "):
        parse_adapter_config(data)


@pytest.mark.parametrize("ending", [".weight", ".default.weight"])
def test_pairs_are_found_with_path_layer_and_shape(ending: str) -> None:
    found = read(lora(ending=ending))
    assert len(found.modules) == 2 * LAYERS and not found.saved and not found.unread
    first = found.modules[0]
    assert (first.path, first.layer, first.rank) == ("model.layers.0.mlp.down_proj", 0, RANK)
    assert (first.in_features, first.out_features) == (FEED_FORWARD, HIDDEN)
    assert (first.a.shape, first.b.shape) == ((RANK, FEED_FORWARD), (HIDDEN, RANK))


def test_a_config_is_not_needed_and_pairs_are() -> None:
    found = read_adapter(of(lora()), None)
    assert isinstance(found, Adapter) and isinstance(found.config, NotMeasured)
    assert fit(found, BASE).fits
    assert isinstance(read_adapter(BASE, None), NotMeasured)


def test_other_adapter_types_are_named() -> None:
    found = read_adapter(of(lora()), b'{"peft_type": "IA3"}')
    assert isinstance(found, Adapter) and found.unread_type == "IA3" and not found.modules


@pytest.mark.parametrize("inside", ["", ".base_layer", ".modules_to_save", ".modules_to_save.default"])
def test_a_model_with_a_pair_beside_it_is_compared_as_a_model(inside: str) -> None:
    body = {n.replace(".weight", f"{inside}.weight"): t for n, t in llama(2).items()}
    half = {n: t for n, t in lora(1).items() if "lora_A" in n}
    assert isinstance(read_adapter(of(body | half), None), NotMeasured)
    found = read_adapter(of(lora(1) | body), json.dumps(CONFIG).encode())
    assert isinstance(found, NotMeasured) and "whole attention or feed-forward matrices" in found.reason


def test_a_renamed_model_with_a_pair_beside_it_is_compared_as_a_model() -> None:
    nameless = {f"t{n}": t for n, t in enumerate(llama(2).values())}
    found = read_adapter(of(lora() | nameless), json.dumps(CONFIG).encode())
    assert isinstance(found, NotMeasured) and "matrices that no adapter holds" in found.reason


def test_modules_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provenance_gate.artifact.adapter.MAX_MODULES", 3)
    with pytest.raises(MalformedFileError, match="more than 3 modules"):
        read(lora())


def test_saved_modules_are_kept_apart() -> None:
    table = np.zeros((VOCABULARY, HIDDEN), np.float32)
    saved = {"base_model.model.lm_head.weight": table, "base_model.model.score.modules_to_save.default.weight": table}
    found = read(lora() | saved, modules_to_save=["score"])
    assert [t.name for t in found.saved] == list(saved)
    assert fit(found, BASE).fits and fit(found, BASE).saved == 2


def faulty() -> dict[str, Tensors]:
    at = "base_model.model.model.layers.0.self_attn.q_proj."
    whole = lora(1)

    def vector(size: int) -> NDArray[np.float32]:
        return np.zeros(size, np.float32)

    return {
        "no lora_B belongs to it": {n: t for n, t in whole.items() if n != f"{at}lora_B.weight"},
        "no lora_A belongs to it": {n: t for n, t in whole.items() if n != f"{at}lora_A.weight"},
        "no LoRA pair": whole | {"x.0.y.lora_magnitude_vector": vector(4)},
        r"expected \(out, rank\) and \(rank, in\)": whole | {f"{at}lora_B.weight": np.zeros((HIDDEN, 5), np.float32)},
        "a second lora_A": whole | {f"{at}lora_A.default.weight": np.zeros((RANK, HIDDEN), np.float32)},
        "elements, expected 64": whole | {f"{at}lora_magnitude_vector": vector(3)},
        "64 elements|does not belong": whole | {f"{at}lora_A.bias": vector(64)},
        "expected the path of a module": whole | {"base_model.model.lora_A.weight": np.zeros((4, 4), np.float32)},
        "expected .out, rank. and .rank, in.": pair("a.0.b", 4, 4, 0),
    }


@pytest.mark.parametrize("message", faulty())
def test_pairs_that_contradict_themselves_are_refused(message: str) -> None:
    with pytest.raises(MalformedFileError, match=message) as caught:
        read_adapter(of(faulty()[message]), json.dumps(CONFIG).encode())
    assert str(caught.value).startswith("a.safetensors: tensor ")


def test_dora_and_biases_belong_to_their_pair() -> None:
    at = "base_model.model.model.layers.0.self_attn.q_proj."
    more = {f"{at}{n}": np.zeros(HIDDEN, np.float32) for n in ("lora_magnitude_vector", "lora_B.bias")}
    assert read(lora() | more) == read(lora())


def test_convolutions_and_expert_stacks_are_counted_not_checked() -> None:
    stack = pair("model.layers.0.mlp.experts.base_layer", HIDDEN, 32, 8)
    conv = {"base_model.model.conv.lora_A.weight": (4, 3, 3, 3), "base_model.model.conv.lora_B.weight": (8, 4, 1, 1)}
    tensors = lora() | stack | {n: np.zeros(s, np.float32) for n, s in conv.items()}
    found = read(tensors, target_parameters=["mlp.experts.gate_up_proj"])
    assert found.unread == 2 and fit(found, BASE).fits


def test_a_fitting_adapter_fits() -> None:
    assert fit(read(lora()), BASE) == AdapterFit(2 * LAYERS, 2 * LAYERS)


def test_another_prefix_in_the_base_fits() -> None:
    for front in ("", "language_model.", "model.language_model."):
        assert fit(read(lora()), of({front + n.removeprefix("model."): t for n, t in llama(1).items()})).fits


def test_a_vision_tower_is_another_stack() -> None:
    tower = {f"vision_tower.encoder.{n.removeprefix('model.')}": t for n, t in llama(1).items()}
    found = fit(read(lora()), of(tower))
    assert found.fitting == 0 and "has no single counterpart in the base" in found.misfits[0]


def test_another_hidden_size_does_not_fit() -> None:
    found = fit(read(lora(hidden=48)), BASE)
    assert found.fitting == 0 and not found.fits and len(found.misfits) == 3
    assert found.misfits[0] == "model.layers.0.mlp.down_proj of 48 x 192 is 64 x 192 in the base"


def test_a_layer_that_the_base_lacks_does_not_fit() -> None:
    found = fit(read(lora(LAYERS + 1)), BASE)
    assert (found.modules, found.fitting, found.fits) == (2 * LAYERS + 2, 2 * LAYERS, False)
    assert "model.layers.4" in found.misfits[0] and "has no single counterpart in the base" in found.misfits[0]


def test_a_base_with_more_layers_does_not_fit_unless_the_config_leaves_them_out() -> None:
    found = fit(read(lora(LAYERS - 1)), BASE)
    assert found.fitting == found.modules and found.uncovered == 2 and not found.fits
    assert fit(read(lora(LAYERS - 1), layers_to_transform=[0, 1, 2]), BASE).fits
    assert fit(read(lora(LAYERS - 1), target_modules="(a+)+$"), BASE).fits


def test_ranks_are_those_of_the_config() -> None:
    assert fit(read(lora(), r=None, rank_pattern={"q_proj": 2}), BASE).fits
    assert fit(read(lora(), r=8), BASE).wrong_ranks == 2 * LAYERS
    assert fit(read(lora(), r=8, rank_pattern={"q_proj": RANK}), BASE).wrong_ranks == LAYERS
    assert fit(read(lora(), r=8, rank_pattern={"q_proj": RANK, "mlp.down_proj": RANK}), BASE).fits
    assert fit(read(lora(), r=8, rank_pattern={r"(a|a)*\d": RANK}), BASE).fits
    assert fit(read(lora(), r=8, rank_pattern={r"(a|a)*\d": 2}), BASE).wrong_ranks == 2 * LAYERS


def test_conv1d_is_stored_turned() -> None:
    shapes = {
        "h.0.attn.c_attn": (16, 48),
        "h.0.attn.c_proj": (16, 16),
        "h.0.mlp.c_fc": (16, 64),
        "h.0.mlp.c_proj": (64, 16),
    }
    base = artifact({f"{n}.weight": s for n, s in shapes.items()})
    tensors = pair("transformer.h.0.attn.c_attn", 48, 16) | pair("transformer.h.0.mlp.c_fc", 64, 16)
    assert fit(read(tensors), base).fits
    assert not fit(read(pair("transformer.h.0.mlp.c_fc", 16, 64)), base).fits
    unknown = artifact({"net.0.mix.weight": (16, 48)})
    assert fit(read(pair("net.0.mix", 48, 16), fan_in_fan_out=True), unknown).fits
    assert fit(read(pair("net.0.mix", 16, 48)), unknown).fits


AT = "base_model.model.model.embed_tokens.lora_embedding_"
EMBEDDING: Tensors = {
    f"{AT}A": np.zeros((RANK, VOCABULARY), np.float32),
    f"{AT}B": np.zeros((HIDDEN, RANK), np.float32),
}


def test_embeddings_and_a_tied_head_fit() -> None:
    tensors = lora() | EMBEDDING | pair("lm_head", VOCABULARY, HIDDEN)
    tied = of({n: t for n, t in llama(1).items() if n != "lm_head.weight"})
    assert fit(read(tensors), BASE).fits and fit(read(tensors), tied).fits
    larger = pair("lm_head", VOCABULARY + 1, HIDDEN)
    assert not fit(read(larger), BASE).fits and not fit(read(larger), tied).fits


def test_another_architecture_of_the_same_shapes_does_not_fit() -> None:
    names = {"self_attn.q_proj": "self_attention.query", "mlp.down_proj": "mlp.dense_4h_to_h"}
    base = {n.replace("model.layers", "transformer.h"): t for n, t in llama(1).items()}
    for ours, theirs in names.items():
        base = {n.replace(ours, theirs): t for n, t in base.items()}
    found = fit(read(lora()), of(base))
    assert found.fitting == 0 and not found.by_role


def test_encoder_and_decoder_are_told_apart() -> None:
    sizes = {"encoder": 16, "decoder": 32}
    base = artifact({f"{s}.block.0.layer.0.SelfAttention.q.weight": (n, n) for s, n in sizes.items()})
    for stack, size in sizes.items():
        assert fit(read(pair(f"{stack}.block.0.layer.0.SelfAttention.q", size, size)), base).fits
    assert not fit(read(pair("decoder.block.0.layer.0.SelfAttention.q", 16, 16)), base).fits


def test_a_base_with_nameless_tensors_is_not_measured() -> None:
    nameless = of({f"t{n}": t for n, t in enumerate(llama(1).values())})
    assert isinstance(fit_adapter(read(lora()), nameless), NotMeasured)
    assert isinstance(fit_adapter(read(lora()), replace(BASE, stored=())), NotMeasured)


def test_a_gguf_base_is_matched_by_role(tmp_path: Path) -> None:
    base = open_artifact(WRITERS["gguf Q4_0"](tmp_path / "base", llama(1))).artifact
    found = fit(read(lora() | EMBEDDING), base)
    assert found.fits and found.by_role
    assert not fit(read(lora(hidden=48)), base).fits


def test_a_tied_head_of_gguf_is_its_embedding() -> None:
    shapes = {
        "token_embd": (VOCABULARY, HIDDEN),
        "blk.0.attn_q": (HIDDEN, HIDDEN),
        "blk.0.ffn_down": (HIDDEN, FEED_FORWARD),
    }
    base = artifact({f"{n}.weight": s for n, s in shapes.items()})
    assert fit(read(lora(1) | pair("lm_head", VOCABULARY, HIDDEN)), base).fits
    assert not fit(read(lora(1) | pair("lm_head", VOCABULARY + 1, HIDDEN)), base).fits


def test_a_crowd_of_matrices_of_one_tail_is_nobodys_counterpart() -> None:
    crowd = artifact({f"m{n}.layers.0.self_attn.q_proj.weight": (HIDDEN, HIDDEN) for n in range(2_000)})
    assert fit(read(lora(1)), crowd).fitting == 0


def test_the_tail_starts_at_the_numbered_list() -> None:
    assert split_path("model.layers.0.self_attn.q_proj") == (("model",), ("layers", "0", "self_attn", "q_proj"))
    assert [split_path(p)[1] for p in ("lm_head", "0.q", "a.00.q")] == [("lm_head",), ("0", "q"), ("q",)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Lineage:
    """What comparison makes of an adapter's factors as they are."""
    folder = tmp_path_factory.mktemp("adapter")
    base = write_model(folder / "base", llama(1))
    save_file(lora(), folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, "base_model_name_or_path": "org/base"}))
    return provenance_gate.compare(str(folder), str(base))


def test_a_fitting_adapter_is_undecided_with_the_strongest_statement(plain: Lineage) -> None:
    found = with_adapter(plain, fit(read(lora()), BASE))
    assert found.relation is Relation.UNDECIDED and found.kinds == ("adapter",)
    assert found.score == found.p_value == found.inheritance == found.identity_score == ABSENT
    assert found.claims == plain.claims and not found.components
    assert found.reason == (
        "an adapter holds no base weights: it fits 8 of 8 modules of org/base; that it was trained on it cannot be shown from "
        "the adapter alone"
    )
    assert {n for n, e in found.signals.items() if e.value == ABSENT} >= {"lep", "wvc", "weight_correlation"}


@pytest.mark.parametrize("score", [0.0, 0.99])
def test_no_score_of_factors_survives(plain: Lineage, score: float) -> None:
    hostile = replace(
        plain, score=score, relation=Relation.DERIVED if score else Relation.INDEPENDENT, kinds=("fine-tuned",)
    )
    found = with_adapter(hostile, fit(read(lora(hidden=48)), BASE))
    assert found.relation is Relation.UNDECIDED and found.score == ABSENT and found.kinds == ()
    assert found.reason.startswith(
        "does not fit: 0 of 8 modules fit org/base; model.layers.0.mlp.down_proj of 48 x 192"
    )


def test_every_fault_and_remainder_is_said(plain: Lineage) -> None:
    found = with_adapter(plain, AdapterFit(8, 8, wrong_ranks=2, uncovered=3, saved=1, unread=4)).reason
    for part in ("1 whole tensors", "4 pairs that were not", "2 pairs have another rank", "3 modules of the base"):
        assert part in found
    absent = with_adapter(plain, NotMeasured("no names"))
    assert absent.kinds == () and absent.reason.endswith("whether it fits org/base is not known: no names")
