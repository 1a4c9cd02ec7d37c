"""The runtime environment: devices, precision, seeds, torchrun processes, gradient averaging and signals."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn

from stackgan_cli.errors import EnvironmentProblem
from stackgan_cli.processes import place


def key_seed(*key: int | str) -> int:
    """A 63-bit seed that depends only on the parts of `key` (stable across processes and versions)."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Noise:
    """Random numbers keyed by their purpose, so that no generator state has to be stored to resume exactly.

    The first axis of every shape is the batch. Numbers are sampled for the whole batch, and this object returns part `part` of
    `parts`: the noise does not depend on how a batch is split over ranks or accumulated slices. All methods return float32 tensors
    (batch, *rest) on `device`.
    """

    def __init__(self, *key: int | str, device: torch.device | str = "cpu", part: int = 0, parts: int = 1) -> None:
        self.device = torch.device(device)
        self.generator = torch.Generator(self.device).manual_seed(key_seed(*key))
        self.part, self.parts = part, parts

    def _draw(self, make: Callable[..., Tensor], batch: int, rest: tuple[int, ...]) -> Tensor:
        whole = make((batch * self.parts, *rest), generator=self.generator, device=self.device)
        return whole[self.part * batch : (self.part + 1) * batch]

    def normal(self, batch: int, *rest: int) -> Tensor:
        """Standard normal."""
        return self._draw(torch.randn, batch, rest)

    def uniform(self, batch: int, *rest: int) -> Tensor:
        """Uniform in [0, 1)."""
        return self._draw(torch.rand, batch, rest)

    def truncated_normal(self, batch: int, *rest: int) -> Tensor:
        """Standard normal restricted to (-2, 2), by the inverse of the distribution function (no rejection, no device sync)."""
        tail = 0.022750131948179195  # P(x < -2)
        u = self.uniform(batch, *rest).double() * (1 - 2 * tail) + tail
        return torch.special.ndtri(u).clamp_(-2.0, 2.0).float()


def reseed(*key: int | str) -> None:
    """Seed torch's global generators (used by dropout) from `key`."""
    torch.manual_seed(key_seed(*key))


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is the GPU of this rank if there is one, else the CPU. Raises EnvironmentProblem for a device that does not exist."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EnvironmentProblem(f"unknown device {name!r}", hint="use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise EnvironmentProblem(
                f"device {name!r} was requested, but PyTorch {torch.__version__} finds no GPU",
                hint="use --device cpu, or run `stackgan doctor`",
            )
        index = device.index if device.index is not None else World.from_environment().local_rank
        if index >= torch.cuda.device_count():
            raise EnvironmentProblem(f"device cuda:{index} does not exist: this machine has {torch.cuda.device_count()} GPU(s)")
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    return device


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX); without it bfloat16 is many times slower."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "amx"))


def cpu_is_quick_in_bf16() -> bool:
    """Whether bfloat16 is faster than float32 on this CPU: with AMX, or with AVX512-BF16 on AMD.

    On Intel, AVX512-BF16 without AMX has no more throughput than float32, and a StackGAN step takes longer.
    """
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if any(capabilities.get(name, False) for name in ("amx_bf16", "amx")):
        return True
    return cpu_has_bf16() and _cpu_vendor() == "AuthenticAMD"


def _cpu_vendor() -> str:
    """The vendor of the processor as it reports itself; empty if the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")


@dataclass(frozen=True)
class Precision:
    """The arithmetic of the networks; weights, optimizers, EMA and losses are always float32."""

    name: str
    autocast: torch.dtype | None

    @classmethod
    def pick(cls, name: str, device: torch.device) -> Precision:
        """`auto` is bf16 if it is faster than fp32 (GPUs since Ampere, CPUs with AMX, AMD CPUs with AVX512-BF16), else fp32.

        Sets PyTorch's global TF32 switches accordingly. Raises EnvironmentProblem for `bf16` on a CPU without bfloat16 instructions.
        """
        if name == "auto":
            modern = torch.cuda.get_device_capability(device) >= (8, 0) if device.type == "cuda" else cpu_is_quick_in_bf16()
            name = "bf16" if modern else "fp32"
        if name == "bf16" and device.type == "cpu" and not cpu_has_bf16():
            raise EnvironmentProblem(
                "this CPU has no bfloat16 instructions, and emulating them is many times slower than float32",
                where="train.precision",
                hint="use train.precision=fp32",
            )
        torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = name in ("tf32", "bf16")
        torch.backends.cudnn.deterministic = True  # a run that is resumed must end with the same bits
        return cls(name, torch.bfloat16 if name == "bf16" else None)

    @contextmanager
    def __call__(self, device: torch.device) -> Iterator[None]:
        """The autocast context in which networks run on `device`."""
        with torch.autocast(device.type, dtype=self.autocast or torch.bfloat16, enabled=self.autocast is not None):
            yield


@dataclass(frozen=True)
class World:
    """This process among those started by torchrun (without it, the only one)."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> World:
        """By the rule of processes.py. Raises EnvironmentProblem."""
        found = place()
        return cls(found.rank, found.size, found.local_rank)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def start(self, device: torch.device) -> None:
        """Join the process group if there is one."""
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()

    def average_gradients(self, params: Sequence[nn.Parameter]) -> None:
        """Replace every gradient with its mean over the ranks, in one all-reduce."""
        if self.size == 1:
            return
        grads = [p.grad for p in params if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in grads])
        dist.all_reduce(flat)
        flat /= self.size
        for grad, piece in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
            grad.copy_(piece.view(grad.shape))

    def mean(self, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Scalars averaged over the ranks, so that all ranks make the same decisions."""
        if self.size == 1:
            return values
        flat = torch.stack([value.float() for value in values.values()])
        dist.all_reduce(flat)
        return dict(zip(values, flat / self.size, strict=True))

    def gather(self, value: Any) -> list[Any] | None:
        """The values of all ranks, in order, on rank 0; None on the others. (Objects are pickled, but only between our own processes.)"""
        if self.size == 1:
            return [value]
        found: list[Any] | None = [None] * self.size if self.is_main else None
        dist.gather_object(value, found)
        return found

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite the tensors of every rank with those of rank 0."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), 0)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether `flag` is set on any rank."""
        if self.size == 1:
            return flag
        shared = torch.tensor([int(flag)], device=device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return bool(shared.item())


class StopFlag:
    """Records SIGINT or SIGTERM so that the loop can save and stop; a second signal takes effect immediately."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopFlag:
        for number in self.SIGNALS:
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
        self._restore()

    @property
    def exit_code(self) -> int | None:
        """130 after SIGINT, 143 after SIGTERM, None without a signal."""
        return None if self.signal is None else 128 + self.signal


def relaunch(gpus: int, words: Sequence[str]) -> NoReturn:
    """Replace this process with torchrun, which starts `gpus` processes with the same command line. Raises EnvironmentProblem if there are
    too few GPUs."""
    if torch.cuda.device_count() < gpus:
        raise EnvironmentProblem(
            f"{gpus} GPUs were requested, but there are {torch.cuda.device_count()}", where="--gpus", hint="run `stackgan doctor`"
        )
    kept: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--gpus":
            next(left, None)
        elif not word.startswith("--gpus="):
            kept.append(word)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}", "-m", "stackgan_cli"]
    os.execv(sys.executable, [sys.executable, *launcher, *kept])
