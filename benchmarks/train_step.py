"""Time of a training step: ours against plain transcriptions of the released PyTorch steps (`benchmarks/plain`).

    python benchmarks/train_step.py                                        # every model at its published sizes
    python benchmarks/train_step.py --arch v2 hdgan --wrong-batch
    python benchmarks/train_step.py --arch v1-stage1 --gf 32 --df 16 --batch 64 --channels-last off

All sides compute the same step from the same weights, on the same batch and noise: one generator forward, one step of every
discriminator, one step of the generator, each with Adam. The losses of the first step must agree (to 1e-3 if both are in float32). Then
the sides take turns in one process, so that other programs affect all alike, and ratios are those of the best times.

Results are printed to stderr as they are measured, and to stdout at the end as a Markdown table. Floating-point operations are counted;
those of the generator's forward with `arithmetic("fast")` on our side. `--wrong-batch` adds our step with mismatched images taken from the
batch, which saves a pass through every discriminator; this is not the published sampling, and has a row of its own. On a GPU, the plain
step runs without TF32 and again with PyTorch's defaults; ours runs with cuDNN's deterministic algorithms, as in training, recorded as CUDA
graphs and again without them. The table then also has the share of the measured rate of a bf16 matrix product, and the peak memory of each
side (its weights and optimizers, and what a step adds).
"""

from __future__ import annotations

import argparse
import copy
import gc
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch
from plain import Config, plain_generator, plain_step
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stackgan_cli import registry
from stackgan_cli.config.archs import HDGAN, StackedConfig, StackGANv1, StackGANv2
from stackgan_cli.config.schema import TrainConfig
from stackgan_cli.data.feed import Feed
from stackgan_cli.models.convolutions import arithmetic
from stackgan_cli.models.interface import Generator
from stackgan_cli.objectives.base import Batch
from stackgan_cli.runtime import Noise, cpu_has_bf16, pick_device
from stackgan_cli.training.loop import Trainer

TOLERANCE = 1e-3
ARCHS = ("v1-stage1", "v1-stage2", "v2", "hdgan")


def config_of(arch: str, options: argparse.Namespace) -> Config:
    """The published sizes, except for what the options change."""
    sides = [side for side in (64, 128, 256) if side <= options.resolution]
    kind: type[Config]
    keys: dict[str, Any]
    match arch:
        case "v1-stage1":
            kind, keys = StackGANv1, {"variant": "pytorch", "stage": 1, "resolution": 64}
        case "v1-stage2":
            kind, keys = StackGANv1, {"variant": "pytorch", "stage": 2, "resolution": 256}
        case "v2":
            kind, keys = StackGANv2, {"branches": sides}
        case _:
            kind, keys = HDGAN, {"resolution": sides[-1], "scales": sides}
    sizes = {"gf_dim": options.gf, "df_dim": options.df, "width": options.width, "discriminator_width": options.df}
    return kind.model_validate(keys | {key: size for key, size in sizes.items() if size and key in kind.model_fields})


def random_batch(config: Config, size: int, device: torch.device) -> Batch:
    """Mismatched images are those of the batch, shifted by one, so that both ways of choosing them give the same losses."""
    order = torch.arange(size, device=device).roll(1)
    sides = config.sides if isinstance(config, StackedConfig) else (config.resolution,)
    images = {side: (torch.rand(size, side, side, 3, device=device) * 2 - 1).permute(0, 3, 1, 2) for side in sides}
    wrong = {side: each[order].contiguous(memory_format=torch.channels_last) for side, each in images.items()}
    return Batch(images=images, text=torch.randn(size, config.text_dim, device=device), wrong_images=wrong, wrong_order=order)


# -- the two players -------------------------------------------------------------------------------------------------------------------


class Player(Protocol):
    def run_step(self) -> None: ...

    def losses(self) -> dict[str, float]:
        """Losses of the first step by player; only meaningful if nothing else was run."""
        ...


class Plain:
    def __init__(self, config: Config, networks: Mapping[str, nn.Module], batch: Batch) -> None:
        assert batch.text is not None
        self.step, self.size, self.device = plain_step(config, networks, batch), batch.size, batch.text.device
        self.draw_noise = meta_generator(config).draw_noise
        self.steps, self.latest = 0, dict[str, Tensor]()

    def run_step(self) -> None:
        # The key of the noise in the training loop.
        self.latest = self.step(self.draw_noise(self.size, Noise(0, "noise", self.steps, 0, 0, device=self.device)))
        self.steps += 1

    def losses(self) -> dict[str, float]:
        return {name: float(value) for name, value in self.latest.items()}


@dataclass
class OneBatch:
    """A feed that always gives the same batch."""

    contents: Batch
    batch_size: int
    device: torch.device

    def __len__(self) -> int:
        return self.batch_size

    def batch(self, *_: int) -> Batch:
        return self.contents


class Ours:
    """Our training loop, always with the same batch."""

    def __init__(self, config: Config, networks: Mapping[str, nn.Module], batch: Batch, **settings: Any) -> None:
        assert batch.text is not None
        objective = registry.find(config.arch).objective(config, copy.deepcopy(dict(networks)))
        train, device = TrainConfig(steps=1, batch_size=batch.size, **settings), batch.text.device
        self.trainer = Trainer(objective, cast(Feed, OneBatch(batch, batch.size, device)), train, device=device)

    def run_step(self) -> None:
        self.trainer.run_step()

    def losses(self) -> dict[str, float]:
        return self.trainer.meters.read()


# -- measuring -------------------------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Side:
    """One way to compute the step, and its measurements. `exact`: in float32, so its losses must equal those of the plain step."""

    name: str
    make: Callable[[], Player]
    exact: bool = True
    tf32: bool = False
    flops: int = 0
    resident: int = 0
    peak: int = 0
    seconds: list[float] = field(default_factory=list)

    def start(self, device: torch.device) -> dict[str, float]:
        """Make the player and run its first step; returns the losses, and counts operations and the bytes that stay between steps."""
        before = allocated(device)
        self.player = self.make()
        with FlopCounterMode(display=False) as counter:
            self.run(device)
        self.flops, self.resident = counter.get_total_flops(), allocated(device) - before
        return self.player.losses()

    def run(self, device: torch.device) -> float:
        """Seconds of one step; on a GPU its peak memory is recorded too."""
        torch.backends.cudnn.allow_tf32 = self.tf32
        torch.backends.cudnn.deterministic = isinstance(self.player, Ours)  # as in the training loop
        before = allocated(device)
        started = time.perf_counter()
        self.player.run_step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        took = time.perf_counter() - started
        if device.type == "cuda":
            self.peak = max(self.peak, torch.cuda.max_memory_allocated() - before + self.resident)
        return took


def allocated(device: torch.device) -> int:
    """Bytes in use on a GPU, after waiting for its work; resets its peak. 0 on the CPU."""
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def sides_of(config: Config, size: int, options: argparse.Namespace, device: torch.device) -> list[Side]:
    networks = registry.find(config.arch).build(config)
    batch = random_batch(config, size, device)
    gpu = device.type == "cuda"

    def plain() -> Player:
        return Plain(config, networks, batch)

    def ours(config: Config, precision: str, cuda_graphs: str = "auto") -> Callable[[], Player]:
        return lambda: Ours(config, networks, batch, precision=precision, channels_last=options.channels_last, cuda_graphs=cuda_graphs)

    precisions = ["fp32", "bf16"] if options.bf16 and (gpu or cpu_has_bf16()) else ["fp32"]
    sides = [Side("plain", plain)]
    if gpu:
        sides.append(Side("plain, TF32 convolutions", plain, exact=False, tf32=True))
    ways = {"ours": config}
    if options.wrong_batch and isinstance(config, StackedConfig):
        ways["ours, wrong pairs of the batch"] = config.model_copy(update={"wrong_pairs": "batch"})
    for name, ours_config in ways.items():
        for precision in precisions:
            exact = precision == "fp32"
            sides.append(Side(f"{name}, {precision}", ours(ours_config, precision), exact=exact, tf32=not exact))
            if gpu:
                made = ours(ours_config, precision, "off")
                sides.append(Side(f"{name}, {precision}, without CUDA graphs", made, exact=exact, tf32=not exact))
    return sides


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def start_all(sides: list[Side], device: torch.device) -> None:
    """The first step of every side. Ends the program if a float32 side has other losses than the plain step."""
    expected = sides[0].start(device)
    say("  first losses: " + ", ".join(f"{name} {value:.6f}" for name, value in expected.items()))
    for side in sides[1:]:
        found = side.start(device)
        difference = max(abs(found[name] - value) / abs(value) for name, value in expected.items())
        say(f"  {side.name}: differ by {difference:.1e} at most")
        if side.exact and not difference <= TOLERANCE:
            raise SystemExit(f"{side.name} does not compute the plain step: its losses are { {name: found[name] for name in expected} }")


def meta_generator(config: Config) -> Generator:
    with torch.device("meta"):
        return cast(Generator, registry.find(config.arch).build(config)["generator"])


def generator_flops(config: Config, size: int) -> dict[bool, int]:
    """Operations of the generator's forward on `size` images, with the key True for the plain one."""
    ours = meta_generator(config)
    noise = {name: torch.empty(shape, device="meta") for name, shape in ours.noise_shapes(size).items()}
    text = torch.empty(size, config.text_dim, device="meta")
    found = {}
    for is_plain, network in ((True, plain_generator(config).to("meta")), (False, ours)):
        with torch.no_grad(), arithmetic("fast"), FlopCounterMode(display=False) as counter:
            network(text, noise)
        found[is_plain] = counter.get_total_flops()
    return found


def matmul_rate(side: int = 8192, rounds: int = 20) -> float:
    """Operations per second of a bf16 matrix product on the GPU, the best of `rounds`."""
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(rounds):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(5):
            a @ b
        torch.cuda.synchronize()
        best = max(best, 5 * 2 * side**3 / (time.perf_counter() - started))
    return best


def measure(arch: str, size: int, options: argparse.Namespace, device: torch.device, rate: float | None) -> list[dict[str, str]]:
    """Rows of the table, one per side."""
    torch.manual_seed(0)
    config = config_of(arch, options)
    resolution = config.sides[-1] if isinstance(config, StackedConfig) else config.resolution
    step = f"{arch}, {resolution} px, batch {size}"
    say(step)
    sides = sides_of(config, size, options, device)
    start_all(sides, device)
    for side in sides * (options.warm_up - 1):
        side.run(device)
    for side in sides * options.steps:
        side.seconds.append(side.run(device))
    generator = generator_flops(config, size)

    rows = []
    plain = [side for side in sides if side.name.startswith("plain")]
    for side in sides:
        best = min(side.seconds)
        row = {"step": step, "side": side.name, "best s": f"{best:.3f}", "median s": f"{statistics.median(side.seconds):.3f}"}
        row["images/s"] = f"{size / best:.2f}"
        row |= {f"x {reference.name}": f"{min(reference.seconds) / best:.2f}" for reference in plain}
        row["GFLOP/image, step"] = f"{side.flops / size / 1e9:.1f}"
        row["GFLOP/image, G forward"] = f"{generator[side in plain] / size / 1e9:.2f}"
        if rate is not None:
            row["of matmul rate"] = f"{100 * side.flops / best / rate:.1f} %"
            row["peak GiB"] = f"{side.peak / 2**30:.2f}"
        say("  " + ", ".join(f"{name} {value}" for name, value in row.items() if name not in ("step", "side")) + f": {side.name}")
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", nargs="+", choices=ARCHS, default=ARCHS)
    parser.add_argument("--steps", type=int, default=9, help="number of timed steps per side")
    parser.add_argument("--warm-up", type=int, help="steps before timing (default: 1 on the CPU, 6 on a GPU, where the fourth is recorded)")
    parser.add_argument(
        "--batch", type=int, nargs="+", help="batch sizes (default: 24 and 64 on a GPU; on the CPU 16 for v1-stage1, else 4)"
    )
    parser.add_argument("--wrong-batch", action="store_true", help="v2, hdgan: also our step with mismatched pairs taken from the batch")
    parser.add_argument("--gf", type=int, help="generator width (published: 128 for v1, 64 for v2)")
    parser.add_argument("--df", type=int, help="discriminator width (published: 64; hdgan: 128)")
    parser.add_argument("--width", type=int, help="width of hdgan (published: 128)")
    parser.add_argument("--resolution", type=int, choices=(64, 128, 256), default=256, help="largest resolution of v2 and hdgan")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="number of threads (default: all cores)")
    parser.add_argument("--channels-last", choices=("auto", "on", "off"), default="auto")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    gpu = device.type == "cuda"
    options.warm_up = options.warm_up or (6 if gpu else 1)
    rate = matmul_rate() if gpu else None
    where = (
        torch.cuda.get_device_name(device) if gpu else f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    )
    machine = f"torch {torch.__version__}, {where}" + (f", bf16 matmul {rate / 1e12:.0f} TFLOP/s" if rate else "")
    say(machine)

    rows = []
    for arch in options.arch:
        for size in options.batch or ((24, 64) if gpu else (16,) if arch == "v1-stage1" else (4,)):
            rows += measure(arch, size, options, device, rate)
            gc.collect()
            if gpu:
                torch.cuda.empty_cache()
    print(f"{machine}; best and median of {options.steps} steps\n")
    for line in (rows[0].keys(), ["---"] * len(rows[0]), *(row.values() for row in rows)):
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    main()
