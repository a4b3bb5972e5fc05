"""Stranger's weights dressed up as a base's child, and a base's child dressed up as nobody's: what `check` says of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import provenance_gate
from provenance_gate.lineage.interface import Relation
from provenance_gate.lineage.merges import Merge
from provenance_gate.policy.interface import Status
from provenance_gate.report.interface import Report
from tests.disguises import all_together, reorder_neurons, tidy
from tests.models import Tensors, card, llama, noisy, write_model

BASE = "acme/base"
POLICY = """
version: 1
name: fabrications
rules:
  - {id: real, rule: declared-base, min_score: 0.70}
  - {id: hidden, rule: undisclosed-base, max_score: 0.70}
  - {id: license, rule: license, deny: [cc-by-nc-4.0], scope: ancestry}
  - {id: origin, rule: origin, deny: ["acme/*"]}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fabrications")
    (folder / "policy.yaml").write_text(POLICY)
    write_model(folder / "base", llama(1), license_id="cc-by-nc-4.0")
    return folder


def judged(place: Path, artifact: Path) -> tuple[Report, dict[str, Status]]:
    report = provenance_gate.check(str(artifact), policy=str(place / "policy.yaml"), bases=[f"{BASE}={place / 'base'}"])
    return report, {f.rule_id: f.status for f in report.results[0].findings}


def with_table(tensors: Tensors) -> Tensors:
    return tensors | {"model.embed_tokens.weight": llama(1)["model.embed_tokens.weight"]}


def with_norms(tensors: Tensors) -> Tensors:
    return tensors | {k: v for k, v in llama(1).items() if "norm" in k}


def with_extras(tensors: Tensors) -> Tensors:
    return tensors | {f"unused.{k}": v for k, v in llama(1).items()}


def with_layer(tensors: Tensors) -> Tensors:
    return tensors | {k: v for k, v in llama(1).items() if k.startswith("model.layers.1.")}


FABRICATIONS: dict[str, Callable[[Tensors], Tensors]] = {
    "plain": lambda t: t,
    "table grafted": with_table,
    "norms grafted": with_norms,
    "unused extras": with_extras,
    "layer transplanted": with_layer,
    "layer transplanted and disguised": lambda t: reorder_neurons(with_layer(t), np.random.default_rng(0)),
}
GRAFTED = {"table grafted": "embeddings", "layer transplanted": "feed_forward"}


@pytest.mark.parametrize("name", FABRICATIONS)
def test_a_fabricated_claim_does_not_pass(name: str, place: Path, tmp_path: Path) -> None:
    artifact = write_model(tmp_path / "artifact", tidy(FABRICATIONS[name](llama(2))), base=BASE)
    report, status = judged(place, artifact)
    assert status["real"] in (Status.FAIL, Status.UNDECIDED)
    assert report.exit_code == 1
    lineage = report.results[0].lineages[0]
    assert isinstance(lineage.score, float) and lineage.score < 0.70


@pytest.mark.parametrize("name", GRAFTED)
def test_a_graft_shows_as_that_and_brings_its_license(name: str, place: Path, tmp_path: Path) -> None:
    artifact = write_model(tmp_path / "artifact", tidy(FABRICATIONS[name](llama(2))))
    report, status = judged(place, artifact)
    seen = report.results[0].lineages[0].components[GRAFTED[name]].relation
    assert seen in (Relation.DERIVED, Relation.PARTIAL, Relation.UNDECIDED)
    assert status["hidden"] in (Status.FAIL, Status.UNDECIDED)
    assert status["license"] in (Status.FAIL, Status.UNDECIDED)
    assert status["origin"] in (Status.FAIL, Status.UNDECIDED)


def test_a_disguise_hides_neither_license_nor_origin(place: Path, tmp_path: Path) -> None:
    """The whole way through the gate, the second look at rows that nobody could foresee included."""
    hidden = noisy(tidy(all_together(llama(1), np.random.default_rng(1))), 0.1)
    report, status = judged(place, write_model(tmp_path / "artifact", hidden))
    assert report.results[0].lineages[0].relation is Relation.DERIVED
    assert {status["hidden"], status["license"], status["origin"]} == {Status.FAIL}


def test_neurons_grafted_where_the_standard_probes_look_do_not_survive_the_second_look(
    place: Path, tmp_path: Path
) -> None:
    from provenance_gate.alignment.neurons import PROBES
    from provenance_gate.artifact.interface import Role
    from provenance_gate.fingerprint.plan import SamplingPlan
    from tests.models import FEED_FORWARD, HIDDEN

    start = SamplingPlan().rows(Role.FFN_UP, (FEED_FORWARD, HIDDEN)).start
    start = min(start, FEED_FORWARD - PROBES)
    rows = slice(start, start + PROBES)
    ours, theirs = llama(2), llama(1)
    for name, value in theirs.items():
        if "gate_proj" in name or "up_proj" in name:
            ours[name][rows] = value[rows]
        if "self_attn" in name:
            ours[name] = value
    artifact = write_model(tmp_path / "artifact", ours, base=BASE)
    report, status = judged(place, artifact)
    assert status["real"] in (Status.FAIL, Status.UNDECIDED)
    assert report.results[0].lineages[0].relation is not Relation.DERIVED


def wide(seed: int) -> Tensors:
    """A Llama whose matrices are larger than what is sampled of them."""
    rng = np.random.default_rng(seed)
    shapes = {"self_attn.q_proj": (256, 256), "self_attn.k_proj": (128, 256), "self_attn.v_proj": (128, 256)}
    shapes |= {"self_attn.o_proj": (256, 256), "mlp.gate_proj": (512, 256), "mlp.up_proj": (512, 256)}
    shapes |= {"mlp.down_proj": (256, 512)}
    tensors = {"model.embed_tokens.weight": rng.standard_normal((160, 256))}
    for layer in range(3):
        for name, shape in shapes.items():
            tensors[f"model.layers.{layer}.{name}.weight"] = rng.standard_normal(shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{layer}.{name}.weight"] = np.ones(256)
    return tidy(tensors | {"model.norm.weight": np.ones(256)})


def write_wide(folder: Path, tensors: Tensors, base: str | None = None) -> Path:
    write_model(folder, tensors, base=base, layers=3)
    facts = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(facts | {"hidden_size": 256, "intermediate_size": 512}))
    return folder


def test_standard_rows_grafted_beside_whole_output_matrices_do_not_survive_the_second_look(
    place: Path, tmp_path: Path
) -> None:
    """A third of the body copied whole, the rest only where the standard plan looks."""
    from provenance_gate.artifact.load import open_artifact
    from provenance_gate.fingerprint.plan import SamplingPlan

    base = write_wide(tmp_path / "base", wide(1))
    ours, theirs = wide(2), wide(1)
    for tensor in open_artifact(base).artifact.canonical:
        name = tensor.stored.name
        if tensor.key.layer is None or len(tensor.shape) != 2:
            continue
        rows = SamplingPlan().rows(tensor.key.role, tensor.shape)
        whole = "o_proj" in name or "down_proj" in name
        chosen = slice(None) if whole else slice(rows.start, rows.stop)
        ours[name][chosen] = theirs[name][chosen]
    artifact = write_wide(tmp_path / "artifact", ours, BASE)
    assert provenance_gate.compare(str(artifact), str(base)).relation is Relation.DERIVED, "the standard rows say so"
    report = provenance_gate.check(str(artifact), policy=str(place / "policy.yaml"), bases=[f"{BASE}={base}"])
    assert report.results[0].lineages[0].relation is Relation.PARTIAL
    assert {f.rule_id: f.status for f in report.results[0].findings}["real"] is not Status.PASS


def test_an_undeclared_parent_of_a_mix_is_found(place: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", llama(5))
    mixed = {k: 0.85 * v + 0.15 * llama(1)[k] for k, v in llama(5).items()}
    artifact = write_model(tmp_path / "artifact", tidy(mixed), base="acme/other")
    bases = [f"{BASE}={place / 'base'}", f"acme/other={other}"]
    report = provenance_gate.check(str(artifact), policy=str(place / "policy.yaml"), bases=bases)
    by_id = {x.base.id: x for x in report.results[0].lineages}
    weight = by_id[BASE].mixing_weight
    assert isinstance(weight, float) and abs(weight - 0.15) < 0.02
    assert {f.rule_id: f.status for f in report.results[0].findings}["hidden"] is Status.FAIL
    merge = report.results[0].merge
    assert isinstance(merge, Merge) and merge.recipe == "linear"


def test_a_fingerprint_edited_by_hand_is_refused(place: Path, tmp_path: Path) -> None:
    from provenance_gate.fingerprint.container import save_fingerprint

    path = tmp_path / "base.fingerprint.safetensors"
    save_fingerprint(provenance_gate.fingerprint(str(place / "base")), path)
    arrays = load_file(path)
    name = max(arrays, key=lambda k: arrays[k].nbytes)
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])["__metadata__"]
    save_file(arrays | {name: np.roll(arrays[name], 1)}, path, metadata=header)
    artifact = write_model(tmp_path / "artifact", llama(2), base=BASE)
    with pytest.raises(provenance_gate.ProvenanceGateError) as refused:
        provenance_gate.check(str(artifact), policy=str(place / "policy.yaml"), bases=[f"{BASE}={path}"])
    assert refused.value.exit_code == 3


def test_a_card_alone_names_nothing(place: Path, tmp_path: Path) -> None:
    artifact = write_model(tmp_path / "artifact", llama(2))
    (artifact / "README.md").write_text(card(BASE))
    _, status = judged(place, artifact)
    assert status["real"] is Status.FAIL
