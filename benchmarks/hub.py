"""Requests, bytes and seconds to measure and to check a model on the hub, from a loopback hub that makes up its bytes.

    python benchmarks/hub.py [--latency MILLISECONDS] [--form bf16|gptq|awq ...]

The hub runs in a process of its own. `latency` is added to each answer: over a real line a request waits for a round trip.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from provenance_gate.artifact.load import open_artifact
from provenance_gate.artifact.sources import Options, open_hub
from provenance_gate.fingerprint.measure import measure
from provenance_gate.gate import Gate
from provenance_gate.policy.load import load_policy
from provenance_gate.reading import BaseOption, Reading
from tests.hub.contents import (
    LLAMA_8B,
    LLAMA_70B,
    LLAMA_405B,
    QWEN_30B,
    QWEN_235B,
    Bytes,
    Repository,
    generated_model,
)
from tests.hub.packed import gguf_model, packed_model
from tests.hub.server import loopback_hub
from tests.models import tokenizer

SHAPES = {
    "8B": LLAMA_8B, "70B": LLAMA_70B, "405B": LLAMA_405B, "30B of 128 experts": QWEN_30B, "235B of 128 experts": QWEN_235B,
}  # fmt: skip
FORMS = {
    "bf16": {
        "8B": (0.005, 400),
        "70B": (0.002, 950),
        "405B": (0.002, 2000),
        "30B of 128 experts": (0.005, 2200),
        "235B of 128 experts": (0.002, 4200),
    },
    "gguf Q4_0": {"8B": (0.005, 450), "70B": (0.002, 1000)},
    "gptq": {"8B": (0.0055, 600), "70B": (0.005, 1500)},
    "gptq act-order": {"8B": (0.01, 300), "70B": (0.01, 600)},
    "awq": {"8B": (0.0055, 450), "70B": (0.005, 1200)},
}
"""Form of the weights, and by shape the largest share of their bytes and the most requests that `check` may take."""


def _serve(name: str, form: str, latency: float, pipe: Connection) -> None:
    shape = SHAPES[name]
    text = Bytes(json.dumps(tokenizer(shape.vocabulary)).encode())
    with loopback_hub() as hub:
        hub.page = 1000
        makers = {"bf16": generated_model, "gguf Q4_0": gguf_model}
        files = makers[form](shape) if form in makers else packed_model(shape, form)
        hub.add("org/base", Repository({**generated_model(shape), "tokenizer.json": text}))
        hub.add("org/model", Repository({**files, "tokenizer.json": text}))
        if latency:
            hub.fail(origin="hub", times=1 << 30, wait=latency)
            hub.fail(origin="storage", times=1 << 30, wait=latency)
        pipe.send(hub.url)
        while pipe.recv() != "stop":
            pipe.send((len(hub.seen), hub.bytes_sent))


@contextmanager
def served(name: str, form: str, latency: float) -> Iterator[tuple[str, Connection]]:
    """A loopback hub in another process; its address, and where it tells what it saw when asked."""
    ours, theirs = multiprocessing.Pipe()
    work = multiprocessing.get_context("spawn").Process(target=_serve, args=(name, form, latency, theirs), daemon=True)
    work.start()
    try:
        if not ours.poll(60):
            raise SystemExit("the loopback hub did not start")
        yield ours.recv(), ours
    finally:
        work.terminate()
        work.join(10)


class Cost(NamedTuple):
    requests: int
    bytes_read: int
    share: float
    seconds: float
    peak_mb: float
    found: str = ""


def _measured(url: str, pipe: Connection) -> None:
    """The fingerprint alone; requests and bytes are what the hub is asked for afterwards."""
    began = time.perf_counter()
    opened = open_artifact(open_hub("org/model", Options(endpoint=url, token=False, offline=False)))
    measure(opened.artifact, exact=False)
    pipe.send((opened.artifact.weight_bytes, time.perf_counter() - began, _peak()))


def _checked(url: str, pipe: Connection) -> None:
    """`check` against the bf16 base, the second look included; requests and bytes are the artifact's own."""
    remote = Options(endpoint=url, token=False, offline=False)
    bases = [BaseOption.parse("org/base=org/base")]
    gate = Gate(load_policy("builtin:baseline"), bases, reading=Reading(remote=remote))
    began = time.perf_counter()
    result = gate.run(["org/model"]).results[0]
    seconds, cost, lineage = time.perf_counter() - began, result.cost, result.lineages[0]
    share = cost.bytes_read / cost.weight_bytes
    pipe.send(
        Cost(cost.requests, cost.bytes_read, share, seconds, _peak(), f"{lineage.relation.value} {lineage.score}")
    )


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20)


def _apart(work: Callable[[str, Connection], None], url: str) -> Any:
    """What `work` sends, from a process of its own: peaks of memory do not go down again."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=work, args=(url, theirs), daemon=True)
    process.start()
    theirs.close()
    answer = ours.recv()
    process.join(10)
    return answer


def main() -> int:
    """Two lines for each shape and form; 1 when a budget is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds that each answer waits")
    parser.add_argument("--form", choices=FORMS, action="append", help="only this one (repeatable)")
    given = parser.parse_args()
    broken = 0
    print(f"{'model':<26} {'':<8} {'requests':>9} {'MB':>7} {'share':>8} {'seconds':>8} {'peak MB':>8}  found")
    for form in given.form or FORMS:
        for name in FORMS[form]:
            with served(name, form, given.latency / 1000) as (url, hub):
                weights, seconds, peak = _apart(_measured, url)
                hub.send("seen")
                requests, sent = hub.recv()
                _line(f"{name} {form}", "measure", Cost(requests, sent, sent / weights, seconds, peak))
                cost = _apart(_checked, url)
                _line("", "check", cost)
            most_share, most_requests = FORMS[form][name]
            broken += cost.share > most_share or cost.requests > most_requests or cost.peak_mb > 400
    return int(broken > 0)


def _line(name: str, what: str, cost: Cost) -> None:
    figures = f"{cost.requests:>9,} {cost.bytes_read / 1e6:>7.1f} {cost.share:>8.3%} {cost.seconds:>8.2f} {cost.peak_mb:>8.0f}"
    print(f"{name:<26} {what:<8} {figures}  {cost.found}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
