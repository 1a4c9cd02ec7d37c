"""Do SGAN's samples show their label, and do samples of one label differ? With and without the conditional and the entropy loss.

    python benchmarks/sgan.py [--preset sgan-digits] [--seeds 0,1,2] [--steps N] [--count 100] [--picture FILE]

Each setting is trained with each seed (runs `bench-PRESET-SETTING-SEED` of the workspace; a finished run is not trained again, an
interrupted one is continued), and `--count` images per label are generated, each with its own noise.

*Agreement*: the share of samples to which a classifier gives their label. The classifier has the form of the encoder that is inverted, but
is trained separately, with another seed (run `judge-CACHE`), because the generators were trained to please the encoder itself.

*Distance*: root mean square over pixels (from 0 to 1) between two images of a label; the mean over all pairs and labels.

Both are also computed for the real images of the test split, where agreement is the accuracy of the classifier.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from alignment import distances
from PIL import Image

from stackgan_cli.cli.ui import table
from stackgan_cli.config.presets import load_config
from stackgan_cli.data.cache import Cache
from stackgan_cli.data.labels import read_labels
from stackgan_cli.data.stores import centre_views
from stackgan_cli.encoders.extractor import Extractor, open_extractor
from stackgan_cli.metrics.accuracy import agreement, match_outputs
from stackgan_cli.runtime import key_seed
from stackgan_cli.sampling import Sampler
from stackgan_cli.workflows.instruments import JUDGE_SEED
from stackgan_cli.workspace import Workspace

SETTINGS: dict[str, tuple[str, ...]] = {
    "full": (),
    "no-conditional": ("model.conditional_weight=0",),
    "no-entropy": ("model.entropy_weight=0",),
}
BATCH = 250


def train(workspace: Workspace, preset: str, name: str, overrides: Sequence[str]) -> Path:
    """The weights of a run, trained with `stackgan train` if it is not finished; prerequisites are made first."""
    words = [sys.executable, "-m", "stackgan_cli", "train", "--preset", preset, "--name", name, *overrides]
    subprocess.run([*words, "--workspace", str(workspace.root)], check=True, stdout=subprocess.DEVNULL)
    weights = workspace.find_run(name).latest_weights()
    assert weights is not None
    return weights


def measured(images: np.ndarray, labels: np.ndarray, names: Sequence[str] | None, judge: Extractor) -> tuple[float, float]:
    """Agreement in percent, and the mean distance within a label, of uint8 images (N, S, S, 3)."""
    parts = [torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2) for start in range(0, len(images), BATCH)]
    found = [judge(part).log_probabilities for part in parts]
    logits = torch.cat([part for part in found if part is not None]).cpu().numpy()
    share, _ = agreement(logits, match_outputs(labels, names, judge.classes, logits.shape[1], where=judge.path))
    within = [distances(images[labels == label]).mean() for label in np.unique(labels) if (labels == label).sum() > 1]
    return 100 * share, float(np.mean(within))


def sampled(sampler: Sampler, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` images per label, at the largest resolution of the model, and their labels."""
    labels = np.repeat(np.arange(sampler.num_classes or 0), count)
    seeds = [key_seed("sgan", index) for index in range(len(labels))]
    by_side = sampler.sample(None, seeds, labels=labels.tolist())
    return by_side[max(by_side)], labels


def sheet(images: np.ndarray, count: int, columns: int = 10) -> np.ndarray:
    """The first images of each label, one row per label."""
    rows = [np.concatenate(list(images[start : start + min(columns, count)]), 1) for start in range(0, len(images), count)]
    return np.concatenate(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="sgan-digits")
    parser.add_argument("--seeds", default="0,1,2", help="seeds, separated by commas")
    parser.add_argument("--steps", type=int, help="number of training steps (default: the preset's)")
    parser.add_argument("--count", type=int, default=100, help="number of images per label")
    parser.add_argument("--judge-preset", help="preset of the classifier (default: that of the encoder that is inverted)")
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--picture", type=Path, help="image file to write: one row per label, settings side by side, first seed")
    args = parser.parse_args()
    workspace = Workspace.locate(args.workspace)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    seeds = [int(seed) for seed in args.seeds.split(",")]
    steps = [] if args.steps is None else [f"train.steps={args.steps}", "train.epochs=null"]
    config = load_config(args.preset)
    cache = Cache.open(workspace.cache_path(config.data.cache))

    judge_preset = args.judge_preset or config.requires.extractor or ""
    judge_path = train(workspace, judge_preset, f"judge-{cache.path.stem}", [f"train.seed={JUDGE_SEED}", f"data.cache={config.data.cache}"])
    judge = open_extractor(f"classifier:{judge_path}", device=device)
    found: dict[str, list[tuple[float, float]]] = {setting: [] for setting in SETTINGS}
    sheets = []
    side = 0
    for seed in seeds:
        for setting, overrides in SETTINGS.items():
            name = f"bench-{Path(args.preset).stem}-{setting}-{seed}"
            path = train(workspace, args.preset, name, [f"train.seed={seed}", *steps, *overrides])
            sampler = Sampler.load(path, device)
            images, labels = sampled(sampler, args.count)
            side = images.shape[1]
            found[setting].append(measured(images, labels, sampler.weights.classes, judge))
            print(f"{name}: agreement {found[setting][-1][0]:.1f} %, distance {found[setting][-1][1]:.4f}", file=sys.stderr, flush=True)
            if seed == seeds[0]:
                sheets.append(sheet(images, args.count))

    rows = cache.rows("test")
    real = read_labels(cache, sampler.weights.config.model.label, "test")  # type: ignore[union-attr]
    whole = sampler.weights.config.data.whole
    agreed, apart = measured(centre_views(cache, rows, side, whole=whole), real.ids[rows], real.names, judge)
    lines = [
        (
            setting,
            *(f"{share:.1f}" for share, _ in each),
            f"{np.mean([share for share, _ in each]):.1f}",
            *(f"{distance:.4f}" for _, distance in each),
            f"{np.mean([distance for _, distance in each]):.4f}",
        )
        for setting, each in found.items()
    ]
    blank = [""] * len(seeds)
    lines.append(("real test images", *blank, f"{agreed:.1f}", *blank, f"{apart:.4f}"))
    print(f"{args.preset}: {args.count} samples of each of {sampler.num_classes} labels; judge {judge.path.parent.parent.name}")
    header = ("", *(f"agreement, seed {seed}" for seed in seeds), "mean", *(f"distance, seed {seed}" for seed in seeds), "mean")
    print(table(lines, header))
    ratios = [without / full for (_, without), (_, full) in zip(found["no-entropy"], found["full"], strict=True)]
    print("agreement without the conditional loss: at most " + f"{max(share for share, _ in found['no-conditional']):.1f} %")
    print("distance without the entropy loss, as a share of that with all losses: " + ", ".join(f"{ratio:.2f}" for ratio in ratios))
    if args.picture:
        gap = np.full((len(sheets[0]), 8, 3), 255, np.uint8)
        Image.fromarray(np.concatenate([part for one in sheets for part in (one, gap)][:-1], 1)).save(args.picture)


if __name__ == "__main__":
    main()
