"""Requests, bytes and seconds to measure a model on the hub, from a loopback hub that makes up its bytes.

    python benchmarks/hub.py [--latency MILLISECONDS]

The hub runs in a process of its own. `latency` is added to each answer: over a real line a request waits for a round trip.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from provenance_gate.artifact.load import open_artifact
from provenance_gate.artifact.sources import Options, open_hub
from provenance_gate.fingerprint.measure import measure
from provenance_gate.gate import Gate
from provenance_gate.policy.load import load_policy
from provenance_gate.reading import BaseOption, Reading
from tests.hub.contents import LLAMA_8B, LLAMA_70B, Bytes, Repository, Shape, generated_model
from tests.hub.server import loopback_hub
from tests.models import tokenizer

SHAPES = {"8B": (LLAMA_8B, 0.005, 400), "70B": (LLAMA_70B, 0.002, 900)}
"""Shape, largest share of the bytes, most requests."""


def _serve(shape: Shape, latency: float, pipe: Connection) -> None:
    import json

    with loopback_hub() as hub:
        files = generated_model(shape) | {"tokenizer.json": Bytes(json.dumps(tokenizer(shape.vocabulary)).encode())}
        hub.add("org/model", Repository(files))
        if latency:
            hub.fail(origin="hub", times=1 << 30, wait=latency)
            hub.fail(origin="storage", times=1 << 30, wait=latency)
        pipe.send(hub.url)
        pipe.recv()
        pipe.send((len(hub.seen), hub.bytes_sent))


@contextmanager
def served(shape: Shape, latency: float) -> Iterator[tuple[str, Connection]]:
    """A loopback hub in another process; its address, and where it tells what it saw when asked."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(shape, latency, theirs), daemon=True)
    process.start()
    try:
        if not ours.poll(60):
            raise SystemExit("the loopback hub did not start")
        yield ours.recv(), ours
    finally:
        process.terminate()
        process.join(10)


def main() -> int:
    """Print a line for each shape; 1 when a budget is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds that each answer waits")
    latency = parser.parse_args().latency / 1000
    broken = 0
    print(f"{'model':>5} {'requests':>9} {'MB':>8} {'share':>9} {'seconds':>8} {'peak MB':>8}   (as the hub counts)")
    for name, (shape, most_share, most_requests) in SHAPES.items():
        with served(shape, latency) as (url, pipe):
            began = time.perf_counter()
            opened = open_artifact(open_hub("org/model", Options(endpoint=url, token=False, offline=False)))
            measure(opened.artifact, exact=False)
            seconds = time.perf_counter() - began
            pipe.send("done")
            requests, sent = pipe.recv()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20)
        share = sent / opened.artifact.weight_bytes
        broken += share > most_share or requests > most_requests
        print(f"{name:>5} {requests:>9,} {sent / 1e6:>8.1f} {share:>9.4%} {seconds:>8.2f} {peak:>8.0f}")
    broken += _gate(latency)
    return int(broken > 0)


def _gate(latency: float) -> bool:
    """`check` of an 8B model against an equal base, the second look included; what the artifact alone took."""
    shape, most_share, most_requests = SHAPES["8B"]
    with served(shape, latency) as (url, _):
        remote = Options(endpoint=url, token=False, offline=False)
        gate = Gate(
            load_policy("builtin:baseline"), [BaseOption.parse("org/base=org/model")], reading=Reading(remote=remote)
        )
        began = time.perf_counter()
        cost = gate.run(["org/model"]).results[0].cost
        seconds = time.perf_counter() - began
    share = cost.bytes_read / cost.weight_bytes
    print(f"check {cost.requests:>9,} {cost.bytes_read / 1e6:>8.1f} {share:>9.4%} {seconds:>8.2f}   both models' time")
    return share > most_share or cost.requests > most_requests


if __name__ == "__main__":
    raise SystemExit(main())
