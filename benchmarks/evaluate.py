"""Speed and memory of `stackgan evaluate`.

Speed: images per second of the feature pass (`collectors.stream` into a `FeatureCollector`) over prepared uint8 images in memory, and
over a folder of PNG files, as ratios to a bare loop over the extractor on prepared batches of the same size. The three take turns in one
process, and the best times count. Processor time is the sum over all threads; on one core, its ratio is not affected by other programs.

Memory: the peak of a fresh process that streams 2,000 and 30,000 images of 256 px for FID, and for FID and KID, which keeps the features
of both sets. Its extractor has 2,048 features and takes almost no memory itself.

With --generated N: N samples are generated and scored. The table shows seconds and share of the generator and the extractor (each alone, on
--part images) and of the Fréchet distance, and the seconds of the whole pass, in which generator and extractor overlap.

    python benchmarks/evaluate.py [--extractor torchscript:FILE] [--batch-size 8] [--rounds 3] [--memory-images 2000 30000]
    python benchmarks/evaluate.py --no-speed --memory-images --generated 30000 [--weights FILE | --preset v2-cub]   (on a GPU)
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from stackgan_cli import registry
from stackgan_cli.config.presets import load_config
from stackgan_cli.encoders.extractor import Extractor, open_extractor
from stackgan_cli.metrics.collectors import FeatureCollector, stream
from stackgan_cli.metrics.evaluation import Evaluation
from stackgan_cli.metrics.image_sets import FolderSet, GeneratedSet, ImageSet
from stackgan_cli.metrics.protocols import find_protocol
from stackgan_cli.metrics.scores import frechet_distance
from stackgan_cli.metrics.table import find_metrics
from stackgan_cli.models.inception import InceptionV3
from stackgan_cli.runtime import key_seed, pick_device
from stackgan_cli.sampling import Sampler, render

SIDE = 256


class Pooled(torch.nn.Module):
    """2,048 means of pixels: an extractor that costs almost nothing."""

    def forward(self, images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images.float(), [26, 27]).flatten(1)[:, :2048] / 255


def pictures(count: int, side: int = SIDE) -> np.ndarray:
    """uint8 (count, side, side, 3): smooth colors with a little noise, which compress as PNG about as well as photographs do."""
    random = torch.Generator().manual_seed(0)
    smooth = F.interpolate(torch.rand(count, 3, 16, 16, generator=random), size=(side, side), mode="bicubic") * 255
    noisy = smooth + 4 * torch.randn(count, 3, side, side, generator=random)
    return noisy.clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


def prepared(images: np.ndarray, count: int) -> GeneratedSet:
    """A set of `count` images that repeats a few images held in memory."""
    return GeneratedSet(lambda indices: images[indices % len(images)], count, images.shape[1], description={})


def random_inception(folder: Path) -> str:
    """A weights file of TensorFlow's Inception with random weights: the same amount of work as the published one."""
    path = folder / "random-inception.safetensors"
    torch.manual_seed(0)
    save_file(InceptionV3(1008, avg_include_pad=False, last_pool="max").state_dict(), path)
    return f"tf-inception-2015:{path}"


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


# -- speed ------------------------------------------------------------------------------------------------------------------


def measure_speed(extractor: Extractor, images: np.ndarray, batch_size: int, rounds: int, folder: Path) -> None:
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:05d}.png")
    batches = [batch.to(extractor.device) for batch in torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().split(batch_size)]

    def bare() -> None:
        for batch in batches:
            extractor(batch)

    def ours(given: ImageSet) -> Callable[[], None]:
        return lambda: stream(given, [FeatureCollector(extractor)], batch_size=batch_size)

    sides = {"bare loop": bare, "in memory": ours(prepared(images, len(images))), "PNG files": ours(FolderSet(folder))}
    for side in sides.values():
        side()
    times: dict[str, list[float]] = {name: [] for name in sides}
    processor: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.process_time()
            times[name].append(seconds(side, extractor.device))
            processor[name].append(time.process_time() - start)
    print(f"{extractor.name}, {len(images)} images of {images.shape[1]} px, batches of {batch_size}, best of {rounds}\n")
    print("| feature pass | images/s | of the bare loop | processor, ms per image | of the bare loop |\n|---|---|---|---|---|")
    bare_time, bare_processor = min(times["bare loop"]), min(processor["bare loop"])
    for name in sides:
        best, busy = min(times[name]), min(processor[name])
        each = f"{1000 * busy / len(images):.2f} | {bare_processor / busy:.2f}"
        print(f"| {name} | {len(images) / best:.1f} | {bare_time / best:.2f} | {each} |", flush=True)


# -- memory -----------------------------------------------------------------------------------------------------------------


def pass_once(count: int, metrics: str) -> None:
    """The work whose memory is measured, and its peak in MiB."""
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        path = Path(name) / "pooled.pt"
        torch.jit.trace(Pooled(), torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8)).save(str(path))
        extractor = open_extractor(f"torchscript:{path}", trust=True)
    images = pictures(8)
    found = Evaluation(prepared(images, count), prepared(255 - images, count), find_protocol("default"), extractor, batch_size=8)
    found.run(find_metrics([metrics]))
    print(next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")) / 1024)


def measure_memory(counts: list[int]) -> None:
    print(
        "\n| peak memory, MiB | " + " | ".join(f"{count:,} images" for count in counts) + " | growth |\n|---|" + "---|" * (len(counts) + 1)
    )
    for metrics in ("fid", "fid,kid"):
        peaks = []
        for count in counts:
            words = [sys.executable, __file__, "--only", str(count), metrics]
            peaks.append(float(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout))
        print(f"| {metrics} | " + " | ".join(f"{peak:.0f}" for peak in peaks) + f" | {peaks[-1] / peaks[0] - 1:+.1%} |", flush=True)


# -- generated and scored ---------------------------------------------------------------------------------------------------


def generator_of(weights: Path | None, preset: str, device: torch.device) -> tuple[torch.nn.Module, int]:
    """A generator, from a file or with random weights, and the size of its caption embeddings."""
    if weights is not None:
        sampler = Sampler.load(weights, device)
        return sampler.generator, sampler.weights.config.model.text_dim  # type: ignore[union-attr]
    model = load_config(preset).model
    torch.manual_seed(0)
    return registry.find(model.arch).build(model)["generator"].to(device).eval().requires_grad_(False), model.text_dim  # type: ignore[union-attr]


def measure_generated(
    extractor: Extractor, generator: torch.nn.Module, text_dim: int, count: int, part: int, batch_size: int, device: torch.device
) -> None:
    texts = torch.randn(count, text_dim, generator=torch.Generator().manual_seed(0))

    def generate(indices: np.ndarray) -> np.ndarray:
        seeds = [key_seed("benchmark", int(index)) for index in indices]
        found = render(generator, texts[torch.from_numpy(indices)].to(device), seeds, device=device, batch_size=batch_size)  # type: ignore[arg-type]
        return found[max(found)]

    def drawn(count: int) -> list[np.ndarray]:
        return [generate(np.arange(start, min(start + batch_size, count))) for start in range(0, count, batch_size)]

    part = min(part, count)
    images = np.concatenate(drawn(part))
    side = images.shape[1]
    stream(prepared(images, part), [FeatureCollector(extractor)], batch_size=batch_size)
    alone = {
        "generator": seconds(lambda: drawn(part), device) * count / part,
        "extractor": seconds(lambda: stream(prepared(images, part), [FeatureCollector(extractor)], batch_size=batch_size), device)
        * count
        / part,
    }
    collector = FeatureCollector(extractor)
    whole = seconds(lambda: stream(GeneratedSet(generate, count, side, description={}), [collector], batch_size=batch_size), device)
    assert collector.moments is not None
    mean, covariance = collector.moments.mean, collector.moments.covariance
    alone["Fréchet distance"] = seconds(lambda: frechet_distance(mean, covariance, mean + 0.1, 1.1 * covariance), device)
    total = sum(alone.values())
    print(f"\n{count:,} samples of {side} px ({extractor.name}, {len(mean)} features), batches of {batch_size}\n")
    print("| part | seconds | share |\n|---|---|---|")
    for name, found in alone.items():
        print(f"| {name} | {found:.2f} | {found / total:.1%} |")
    print(f"| whole pass and distance | {whole + alone['Fréchet distance']:.2f} | |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extractor", default="", help="extractor, as for `stackgan evaluate` (default: Inception with random weights)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=64, help="number of images in the speed test")
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--batch-size", type=int, help="batch size (default: 8; 64 on a GPU)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-speed", action="store_true")
    parser.add_argument("--memory-images", type=int, nargs="*", default=[2000, 30_000], metavar="N")
    parser.add_argument("--generated", type=int, default=0, metavar="N")
    parser.add_argument("--part", type=int, default=2048, help="number of images on which generator and extractor are timed alone")
    parser.add_argument("--preset", default="v2-cub", help="preset of a generator with random weights")
    parser.add_argument("--weights", type=Path, help="weights file of a generator, instead of --preset")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        pass_once(int(options.only[0]), options.only[1])
        return
    device = pick_device(options.device)
    batch_size = options.batch_size or (64 if device.type == "cuda" else 8)
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    print(f"{machine}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        extractor = open_extractor(options.extractor or random_inception(folder), device=device)
        if not options.no_speed:
            (folder / "png").mkdir()
            measure_speed(extractor, pictures(options.images, options.side), batch_size, options.rounds, folder / "png")
        if options.generated:
            generator, text_dim = generator_of(options.weights, options.preset, device)
            measure_generated(extractor, generator, text_dim, options.generated, options.part, batch_size, device)
    if options.memory_images:
        measure_memory(options.memory_images)


if __name__ == "__main__":
    main()
