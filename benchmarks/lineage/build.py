"""Build every model of the benchmark that does not exist yet (torch for the trained ones)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

from benchmarks.lineage import bases, mechanical, trained
from benchmarks.lineage.store import load, make, save

_MINILM_CHILD = f"{trained.MINILM}--{trained.slug(trained.MINILM_KIND)}"
Task = Callable[[Path, str], None]


def train_base(cache: Path, name: str) -> None:
    """One base, in a worker."""
    start = time.perf_counter()
    if make(bases.path(cache, name), lambda: bases.build(cache, bases.base(name))):
        print(f"base {name}: {time.perf_counter() - start:.0f} s", flush=True)


def train_child(cache: Path, name: str) -> None:
    """One trained derivation, in a worker."""
    start = time.perf_counter()
    if name == _MINILM_CHILD:
        made = make(cache / "models" / name, lambda: trained.build_minilm(cache))
    else:
        origin, spec = trained.plan()[name]
        made = make(cache / "models" / name, lambda: trained.build(cache, origin, spec))
    if made:
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)


def derive_all(cache: Path, origin: str) -> None:
    """All mechanical derivations of one base, in a worker."""
    start = time.perf_counter()
    sources = mechanical.Sources(cache, origin)
    for name, (of, kind) in mechanical.plan().items():
        if of == origin:
            make(cache / "models" / name, lambda k=kind: mechanical.build(sources, k))  # type: ignore[misc]
    print(f"mechanical derivations of {origin}: {time.perf_counter() - start:.0f} s", flush=True)


def run_all(cache: Path, tasks: Mapping[str, tuple[Task, tuple[str, ...]]], jobs: int) -> list[str]:
    """Run named tasks, each after those that it needs, `jobs` at a time on one thread each; the names that failed."""
    waiting = dict(tasks)
    done: set[str] = set()
    failed: list[str] = []
    running: dict[Future[None], str] = {}
    with ProcessPoolExecutor(jobs, get_context("spawn"), _one_thread) as pool:
        while waiting or running:
            for name, (task, needs) in list(waiting.items()):
                if len(running) < jobs and all(n in done for n in needs):
                    running[pool.submit(task, cache, name)] = name
                    del waiting[name]
            if not running:
                return [*failed, *waiting]
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                name = running.pop(future)
                error = future.exception()
                if error is None:
                    done.add(name)
                else:
                    failed.append(name)
                    print(f"{name} failed: {error!r}", flush=True)
    return failed


def base_tasks() -> dict[str, tuple[Task, tuple[str, ...]]]:
    """Every base, with the one whose table it borrows."""
    return {b.name: (train_base, (b.table_of,) if b.table_of else ()) for b in bases.BASES}


def all_tasks(with_minilm: bool) -> dict[str, tuple[Task, tuple[str, ...]]]:
    """Everything: first two bases and the children that most pairs need, then the other bases, then the rest."""
    of_bases = base_tasks()
    children: dict[str, tuple[Task, tuple[str, ...]]] = {}
    for name, (origin, spec) in trained.plan().items():
        needs = (origin, f"{origin}--{trained.slug(spec.parent)}") if spec.parent else (origin,)
        children[name] = (train_child, needs)
    mechanical_ones: dict[str, tuple[Task, tuple[str, ...]]] = {}
    for origin in (*trained.FULL, *trained.OTHERS):
        common = [f"{origin}--{trained.slug(spec.kind)}" for spec in trained.TRAINED if spec.everywhere]
        twin = [t for t in (f"{origin}-twin",) if t in of_bases]
        mechanical_ones[f"{origin} derived"] = (_derive_named, (origin, *common, *twin))
    first = {n: t for n, t in of_bases.items() if n in trained.FULL}
    first |= {n: t for n, t in children.items() if t[1][0] in trained.FULL and trained.plan()[n][1].everywhere}
    tasks = {**first, **of_bases, **children, **mechanical_ones}
    if with_minilm:
        tasks[_MINILM_CHILD] = (train_child, ())
        tasks[f"{trained.MINILM} derived"] = (_derive_named, ())
    return tasks


def take_minilm(cache: Path, folder: Path) -> None:
    """Bring the real model into the cache, in the form of the others."""
    target = bases.path(cache, trained.MINILM)
    if not target.exists():
        model = load(folder)
        kept = {n: v for n, v in model.tensors.items() if not n.endswith("position_ids")}
        target.parent.mkdir(parents=True, exist_ok=True)
        save(target, model.with_(kept))


def _derive_named(cache: Path, name: str) -> None:
    derive_all(cache, name.removesuffix(" derived"))


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
