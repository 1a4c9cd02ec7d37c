"""Do generated images show what the caption says? Measured on the drawn birds, whose true colors are known.

    python benchmarks/alignment.py [--run NAME] [--count 512] [--probe] [--weights FILE] [--picture FILE]

*Body color*: samples for eight captions that differ only in the body color. An image counts as correct if the palette color nearest (CIE
Lab distance) to the median of its central 20 % square is the one that the caption names. For comparison, the same score is given for
held-out real images (the highest possible value) and for the samples with shuffled captions (chance level).

*Variety*: the mean pairwise distance (root mean square over pixels, colors from 0 to 1) of 64 samples of as many different held-out
captions at 64 px, compared with that of the real images of those captions; and the distance of the nearest pair.

*Probe* (`--probe`): a small classifier is trained on real images to name the colors of wing and beak, is checked on held-out species, and
then classifies samples whose captions name random colors.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from stackgan_cli.data.cache import Cache
from stackgan_cli.data.demo_birds import PALETTE, demo_records
from stackgan_cli.data.pixels import from_uint8, load_size, reduce_images
from stackgan_cli.data.prepare import prepare
from stackgan_cli.runtime import key_seed
from stackgan_cli.sampling import Sampler
from stackgan_cli.workspace import Workspace

TEMPLATE = "a {body} bird with black wings and a short orange beak"
PROBED = ("wing", "beak")


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """sRGB (..., 3) in 0..255 to CIE 1976 L*a*b* under D65."""
    linear = rgb / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
    xyz = linear @ to_xyz.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def central_colors(images: np.ndarray) -> list[str]:
    """The palette color nearest to the median of the central 20 % square of each of uint8 (N, S, S, 3)."""
    side = images.shape[1]
    edge = round(side * 0.4)
    medians = np.median(images[:, edge : side - edge, edge : side - edge].reshape(len(images), -1, 3), axis=1)
    palette = to_lab(np.array(list(PALETTE.values()), float))
    distance = np.linalg.norm(to_lab(medians)[:, None] - palette, axis=-1)
    names = list(PALETTE)
    return [names[i] for i in distance.argmin(1)]


def percent(found: list[str], named: list[str]) -> float:
    return 100 * float(np.mean([a == b for a, b in zip(found, named, strict=True)]))


def real_images(cache: Cache, rows: np.ndarray, side: int) -> np.ndarray:
    """Centre crops of the cache at `side` px, as training sees them."""
    load = load_size(side)
    images = reduce_images(cache.images[rows], load)
    edge = (load - side) // 2
    return images[:, edge : edge + side, edge : edge + side]


def distances(images: np.ndarray) -> np.ndarray:
    """Root-mean-square distances of all pairs of uint8 (N, S, S, 3), colors from 0 to 1."""
    flat = images.reshape(len(images), -1).astype(np.float64) / 255
    squares = (flat**2).sum(1)
    between = np.maximum(squares[:, None] + squares - 2 * flat @ flat.T, 0) / flat.shape[1]
    return np.sqrt(between[np.triu_indices(len(flat), 1)])


def variety(sampler: Sampler, cache: Cache, seed: int, count: int = 64, side: int = 64) -> dict[str, object]:
    """How much samples of different captions differ, compared with the real images."""
    rows = np.random.default_rng(seed).permutation(cache.rows("test"))[:count]
    captions = [cache.captions[cache.caption_offsets[row]] for row in rows]
    sampled = sampler.sample(captions, [key_seed("variety", seed, index) for index in range(count)])
    finest = sampled[max(sampled)]
    ours, real = distances(reduce_images(finest, side)), distances(real_images(cache, rows, side))
    return {
        "mean distance": round(float(ours.mean()), 4),
        "of real images": round(float(real.mean()), 4),
        "share": round(float(ours.mean() / real.mean()), 3),
        "nearest pair": round(float(ours.min()), 4),
    }


# -- probe --------------------------------------------------------------------------------------------------------------------


class Probe(nn.Module):
    """Images (B, 3, S, S) to the logits of every probed attribute; the maximum over positions finds small parts."""

    def __init__(self, classes: dict[str, list[str]]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, stride in ((3, 32, 2), (32, 64, 2), (64, 96, 2), (96, 128, 1)):
            layers += [nn.Conv2d(before, after, 4 if stride == 2 else 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({part: nn.Linear(256, len(names)) for part, names in classes.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.trunk(images)
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)
        return {part: head(pooled) for part, head in self.heads.items()}


def draw_birds(count: int, image_size: int, folder: Path) -> Cache:
    """Real images for the probe, from a seed that no cache uses, of so many species that the probe cannot memorize them."""
    report = prepare(demo_records(count, seed=1, image_size=image_size), folder / "probe.h5", dataset="demo", image_size=image_size)
    return Cache.open(report.path)


def train_probe(
    train: Cache, held_out: Cache, side: int, steps: int, device: torch.device
) -> tuple[Probe, dict[str, list[str]], dict[str, float]]:
    """The probe, its classes, and its accuracy in percent on images of species that are not in its training split."""
    labels = {part: np.array(train.attributes[part]) for part in PROBED}
    classes = {part: sorted(set(values)) for part, values in labels.items()}
    rows, test = train.rows("train"), held_out.rows("test")
    load = load_size(side)
    images = reduce_images(train.images[rows], load)
    targets = {part: torch.tensor([classes[part].index(v) for v in labels[part][rows]]) for part in PROBED}
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    probe = Probe(classes).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=3e-3, weight_decay=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    probe.train()
    for _ in range(steps):
        pick = random.integers(0, len(rows), 64)
        top, left = random.integers(0, load - side + 1, 2)
        window = images[pick][:, top : top + side, left : left + side]
        window = window[:, :, ::-1] if random.random() < 0.5 else window
        out = probe(from_uint8(np.ascontiguousarray(window), device))
        loss = torch.stack([F.cross_entropy(out[part], targets[part][pick].to(device)) for part in PROBED]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    probe.eval()
    found = probe_colors(probe, classes, real_images(held_out, test, side), device)
    return probe, classes, {part: percent(found[part], list(np.array(held_out.attributes[part])[test])) for part in PROBED}


@torch.no_grad()
def probe_colors(probe: Probe, classes: dict[str, list[str]], images: np.ndarray, device: torch.device) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {part: [] for part in PROBED}
    for start in range(0, len(images), 64):
        out = probe(from_uint8(np.ascontiguousarray(images[start : start + 64]), device))
        for part in PROBED:
            found[part] += [classes[part][i] for i in out[part].argmax(1).tolist()]
    return found


def probe_captions(classes: dict[str, list[str]], count: int) -> tuple[list[str], dict[str, list[str]]]:
    random = np.random.default_rng(1)
    body = list(random.choice(list(PALETTE), count))
    named = {part: [str(v) for v in random.choice(classes[part], count)] for part in PROBED}
    captions = [f"a {b} bird with {w} wings and a long {k} beak" for b, w, k in zip(body, named["wing"], named["beak"], strict=True)]
    return captions, named


# -- command ------------------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", help="name of a run (default: the newest run that generates images)")
    parser.add_argument("--weights", type=Path, help="a weights file instead of a run")
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--cache", help="the demo cache (default: the run's)")
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--probe-images", type=int, default=8000, help="number of real images to draw for the probe")
    parser.add_argument("--probe-steps", type=int, default=800)
    parser.add_argument("--picture", type=Path, help="image file to write: one row per color")
    args = parser.parse_args()
    workspace = Workspace.locate(args.workspace)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    weights = args.weights
    if weights is None:
        run = workspace.find_run(args.run) if args.run else workspace.newest_run(generates=True)
        weights = run.latest_weights() if run else None
        if weights is None:
            parser.error("no run with weights here; give --run or --weights")
    sampler = Sampler.load(weights, device)
    cache = Cache.open(workspace.cache_path(args.cache or sampler.weights.config.data.cache))

    started = time.perf_counter()
    named = [body for body in PALETTE for _ in range(args.count // len(PALETTE))]
    seeds = [key_seed("alignment", args.seed, index) for index in range(len(named))]
    sampled = sampler.sample([TEMPLATE.format(body=body) for body in named], seeds)
    seconds = time.perf_counter() - started
    result: dict[str, object] = {"weights": str(weights), "step": sampler.weights.step, "images": len(named), "seconds": round(seconds, 1)}
    for side, images in sampled.items():
        found = central_colors(images)
        shuffled = list(np.random.default_rng(args.seed).permutation(named))
        test = cache.rows("test")
        real = central_colors(real_images(cache, test, side))
        result[f"body {side} px"] = {
            "samples": round(percent(found, named), 1),
            "by color": {
                body: round(percent([f for f, n in zip(found, named, strict=True) if n == body], [body] * named.count(body)), 1)
                for body in PALETTE
            },
            "shuffled captions": round(percent(found, shuffled), 1),
            "held-out real": round(percent(real, list(np.array(list(cache.attributes["body"]))[test])), 1),
        }
    result["variety 64 px"] = variety(sampler, cache, args.seed)
    if args.picture:
        finest = sampled[max(sampled)]
        per_row = args.count // len(PALETTE)
        rows = [np.concatenate(list(finest[row * per_row : row * per_row + 12]), 1) for row in range(len(PALETTE))]
        Image.fromarray(np.concatenate(rows, 0)).save(args.picture)
    if args.probe:
        side = max(sampled)
        with tempfile.TemporaryDirectory() as folder:
            drawn = draw_birds(args.probe_images, load_size(side), Path(folder))
            probe, classes, held_out = train_probe(drawn, cache, side, args.probe_steps, device)
        captions, asked = probe_captions(classes, args.count)
        seeds = [key_seed("probe", args.seed, index) for index in range(len(captions))]
        found_colors = probe_colors(probe, classes, sampler.sample(captions, seeds)[side], device)
        result[f"probe {side} px"] = {
            part: {"samples": round(percent(found_colors[part], asked[part]), 1), "held-out real": round(held_out[part], 1)}
            for part in PROBED
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
