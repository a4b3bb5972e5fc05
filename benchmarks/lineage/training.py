"""Training (torch): next token, or masked token where a mask is given, with AdamW and a cosine schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from benchmarks.lineage.networks import logits
from benchmarks.lineage.store import Checkpoint, Json, Tensors

LENGTH, WARMUP = 128, 50
_MASKED_SHARE = 0.15
Trained = tuple[Callable[[], dict[str, Tensor]], list[Tensor], Callable[[], Tensors]]
"""The weights of a step, what is optimized, and the tensors at the end."""


@dataclass(frozen=True)
class Recipe:
    """How long and how hard. `frozen`: tensors left alone; `rank` > 0: LoRA on every 2-D tensor of the layers instead."""

    steps: int
    rate: float = 2.5e-3
    seed: int = 0
    frozen: Collection[str] = ()
    rank: int = 0
    decay: float = 0.1
    batch: int = 8


def train(
    tensors: Tensors,
    config: Json,
    ids: NDArray[np.uint16],
    recipe: Recipe,
    mask: int | None = None,
    teacher: Checkpoint | None = None,
) -> tuple[Tensors, float]:
    """Trained tensors and the mean loss of the last twenty steps (nats per token). `mask`: id of the mask token.

    With a teacher, its logits are the target instead of the text.
    """
    torch.manual_seed(recipe.seed)
    fixed = {k: torch.from_numpy(v.copy()) for k, v in tensors.items()}
    weights, trained, merge = _lora(fixed, recipe) if recipe.rank else _plain(fixed, recipe)
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.decay},
        {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.95), fused=True)
    master = {k: torch.from_numpy(v) for k, v in (teacher.tensors if teacher else {}).items()}
    rng = np.random.default_rng([recipe.seed, 7])
    losses: list[float] = []
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * _schedule(step, recipe.steps)
        starts = rng.integers(0, len(ids) - LENGTH - 1, recipe.batch)
        text = torch.from_numpy(np.stack([ids[s : s + LENGTH + 1] for s in starts]).astype(np.int64))
        current = weights()
        if mask is not None:
            loss = _masked_loss(current, config, text[:, :-1], mask, rng)
        else:
            found, balance = logits(current, config, text[:, :-1])
            loss = F.cross_entropy(found.flatten(0, 1), text[:, 1:].flatten()) + 0.01 * balance
            if teacher is not None:
                with torch.no_grad():
                    wanted = logits(master, teacher.config, text[:, :-1])[0].log_softmax(-1)
                loss = F.kl_div(found.log_softmax(-1), wanted, log_target=True, reduction="none").sum(-1).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return merge(), float(np.mean(losses[-20:]))


def _schedule(step: int, steps: int) -> float:
    warmup = min(WARMUP, steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _plain(
    fixed: dict[str, Tensor], recipe: Recipe
) -> tuple[Callable[[], dict[str, Tensor]], list[Tensor], Callable[[], Tensors]]:
    for name, value in fixed.items():
        value.requires_grad_(name not in recipe.frozen)
    trained = [v for v in fixed.values() if v.requires_grad]
    return lambda: fixed, trained, lambda: {k: v.detach().numpy() for k, v in fixed.items()}


def _lora(
    fixed: dict[str, Tensor], recipe: Recipe
) -> tuple[Callable[[], dict[str, Tensor]], list[Tensor], Callable[[], Tensors]]:
    adapted = [n for n, v in fixed.items() if v.ndim == 2 and (".layers." in n or ".h." in n or ".layer." in n)]
    down = {n: torch.randn(recipe.rank, fixed[n].shape[1]).mul_(fixed[n].shape[1] ** -0.5) for n in adapted}
    up = {n: torch.zeros(fixed[n].shape[0], recipe.rank) for n in adapted}
    trained = [*down.values(), *up.values()]
    for value in trained:
        value.requires_grad_(True)

    def weights() -> dict[str, Tensor]:
        return fixed | {n: fixed[n] + 2.0 * up[n] @ down[n] for n in adapted}

    return weights, trained, lambda: {k: v.detach().numpy() for k, v in weights().items()}


def _masked_loss(weights: dict[str, Tensor], config: Json, text: Tensor, mask: int, rng: np.random.Generator) -> Tensor:
    hidden = torch.from_numpy(rng.random(text.shape) < _MASKED_SHARE)
    found, _ = logits(weights, config, text.masked_fill(hidden, mask))
    return F.cross_entropy(found[hidden], text[hidden])
