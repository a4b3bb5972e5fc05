"""The null of the permutation test, simulated: independent writers of several kinds, thousands of draws each."""

from __future__ import annotations

import math

import numpy as np

from provenance_gate.fingerprint.permutation import combined_test, pair_statistics

DRAWS, LAYERS, ROWS, UNITS = 20000, 4, 8, 256
KINDS = ("gaussian", "heavy tails (t, 2 df)", "one huge unit per layer", "units sorted by norm", "rank 4")


def writers(rng: np.random.Generator, kind: str) -> list[np.ndarray]:
    """Writers of one model, shape (1, ROWS, UNITS) each."""
    shape = (LAYERS, 1, ROWS, UNITS)
    values = rng.standard_t(2, shape) if kind.startswith("heavy") else rng.standard_normal(shape)
    if kind.startswith("one huge"):
        for layer in values:
            layer[:, :, rng.integers(UNITS)] *= 1000.0
    if kind.startswith("units sorted"):
        values *= np.exp(rng.standard_normal((LAYERS, 1, 1, UNITS)))
        order = np.argsort(np.linalg.norm(values, axis=2), axis=2)
        values = np.take_along_axis(values, order[:, :, None, :], axis=3)
    if kind == "rank 4":
        values = rng.standard_normal((LAYERS, 1, ROWS, 4)) @ rng.standard_normal((LAYERS, 1, 4, UNITS))
    return list(values.astype(np.float32))


def main() -> None:
    """Print z and the false-positive rates with 95 % binomial intervals."""
    print(f"{DRAWS} draws of {LAYERS} layers, {ROWS} rows, {UNITS} units")
    print(f"{'kind':26} {'mean z':>8} {'sd z':>6} {'rate at 1e-2':>22} {'rate at 1e-3':>24}")
    for kind in KINDS:
        rng = np.random.default_rng(1)
        z, log10_p = [], []
        for _ in range(DRAWS):
            test = combined_test(
                pair_statistics(writers(rng, kind), writers(rng, kind)), [(i, i) for i in range(LAYERS)]
            )
            if test is not None:
                z.append(test.z)
                log10_p.append(test.log10_p)
        rates = []
        for level in (1e-2, 1e-3):
            rate = float(np.mean(np.array(log10_p) <= math.log10(level)))
            rates.append(f"{rate:.4f} +- {1.96 * math.sqrt(max(rate, level) / DRAWS):.4f}")
        print(f"{kind:26} {np.mean(z):8.3f} {np.std(z):6.3f} {rates[0]:>22} {rates[1]:>24}")


if __name__ == "__main__":
    main()
