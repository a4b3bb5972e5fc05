"""Requests, bytes and seconds to trace one remote model in another, from a loopback hub that makes up its bytes.

    python benchmarks/hub_trace.py [--latency MILLISECONDS] [--large]

Two strangers of 123M parameters, or with `--large` of 8B, where only the first look at two blocks is taken.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from provenance_gate.alignment.trace import trace
from provenance_gate.artifact.load import open_artifact
from provenance_gate.artifact.sources import Options, open_hub
from tests.hub.contents import LLAMA_8B, Bytes, Repository, Shape, generated_model
from tests.hub.server import loopback_hub
from tests.models import tokenizer

SMALL = Shape(8, 1024, 2816, 16, 4, 16000)
MOST_REQUESTS = 400


def main() -> int:
    """Print a line; 1 when the small trace takes more requests than it should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=float, default=20.0, help="milliseconds that each answer waits")
    parser.add_argument("--large", action="store_true", help="8B parameters")
    given = parser.parse_args()
    shape = LLAMA_8B if given.large else SMALL
    text = json.dumps(tokenizer(shape.vocabulary)).encode()
    with loopback_hub() as hub:
        for name, seed in (("org/artifact", 1), ("org/base", 2)):
            hub.add(name, Repository({**generated_model(shape, seed), "tokenizer.json": Bytes(text)}))
        options = Options(endpoint=hub.url, token=False, offline=False)
        models = [open_artifact(open_hub(name, options)) for name in ("org/artifact", "org/base")]
        if given.latency:
            hub.fail(origin="storage", times=1 << 30, wait=given.latency / 1000)
        requests, sent, began = len(hub.seen), hub.bytes_sent, time.perf_counter()
        trace(*(m.artifact for m in models))
        seconds = time.perf_counter() - began
        requests, sent = len(hub.seen) - requests, hub.bytes_sent - sent
    size = models[1].artifact.weight_bytes
    print(
        f"{requests:,} requests, {sent / 1e6:,.1f} MB of both, {sent / size:.2%} of one model's bytes, {seconds:.1f} s"
    )
    return int(not given.large and requests > MOST_REQUESTS)


if __name__ == "__main__":
    raise SystemExit(main())
