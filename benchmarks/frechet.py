"""Time of a Fréchet distance in 2048 dimensions: ours against `scipy.linalg.sqrtm(cov1 @ cov2)`.

    python benchmarks/frechet.py [--dim 2048] [--rounds 2] [--threads 2]

Two cases: 1,000 and 1,500 images, which is fewer than dimensions, and 10,000 and 10,000. Both sides get the same means and covariances
(`moments`). With fewer images than dimensions, our distance is also computed from the features themselves (`features`, which includes
their means). The sides take turns in one process, so that other programs affect all alike, and ratios are those of the best times.
Features are random numbers: rectified, correlated, with a decaying spectrum.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable

import numpy as np
import scipy
import torch
from scipy.linalg import sqrtm

from stackgan_cli.metrics.scores import frechet_distance, frechet_distance_of_features


def draw(count: int, dim: int, seed: int, shift: float) -> np.ndarray:
    mixing = np.random.default_rng(0).standard_normal((dim, dim)) * np.exp(-6 * np.arange(dim) / dim)[:, None]
    return np.maximum(np.random.default_rng(seed).standard_normal((count, dim)) @ mixing / 10 + 0.1 + shift, 0)


def by_matrix_root(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns that the product is singular
        root = sqrtm(cov1 @ cov2)
    return float(np.square(mean1 - mean2).sum() + np.trace(cov1) + np.trace(cov2) - 2 * np.trace(root).real)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{platform.processor() or platform.machine()}, {args.threads} threads, load {os.getloadavg()[0]:.1f}", end=", ")
    print(f"numpy {np.__version__}, scipy {scipy.__version__}, torch {torch.__version__}, best of {args.rounds}\n")
    print("| images | side | seconds | of sqrtm | distance | relative difference |\n|---|---|---|---|---|---|")
    for n1, n2 in ((1000, 1500), (10_000, 10_000)):
        real, fake = draw(n1, args.dim, 1, 0), draw(n2, args.dim, 2, 0.02)
        moments = (real.mean(0), np.cov(real, rowvar=False), fake.mean(0), np.cov(fake, rowvar=False))
        sides: dict[str, Callable[[], float]] = {
            "sqrtm": lambda given=moments: by_matrix_root(*given),
            "ours, moments": lambda given=moments: frechet_distance(*given),
        }
        if max(n1, n2) < args.dim:
            sides["ours, features"] = lambda a=real, b=fake: frechet_distance_of_features(a, b)
        values, best = {}, dict.fromkeys(sides, float("inf"))
        for _ in range(args.rounds):
            for name, side in sides.items():
                started = time.perf_counter()
                values[name] = side()
                best[name] = min(best[name], time.perf_counter() - started)
        for name, value in values.items():
            faster, difference = best["sqrtm"] / best[name], abs(value - values["sqrtm"]) / values["sqrtm"]
            print(f"| {n1:,} and {n2:,} | {name} | {best[name]:.2f} | {faster:.1f} x | {value:.8f} | {difference:.1e} |", flush=True)
        if "ours, features" in values:
            exact, found = values["ours, features"], values["ours, moments"]
            print(f"\nOurs from moments against ours from features: {abs(found - exact) / exact:.1e}\n")


if __name__ == "__main__":
    main()
