"""Networks supplied by the user: TorchScript files, and the check of the outputs of any such network.

A TorchScript file is a program: loading it may run its code, though never Python code. Beyond arithmetic, a program can write and map
files (`torch.save`, `torch.from_file`) and use classes and operators that PyTorch registers for other purposes. A file whose code names
any of them is rejected before it is loaded.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stackgan_cli.errors import MismatchError, UsageError

_REFUSED = re.compile(
    r"\b(save|from_file)\b|\bclasses\s*\.\s*(?!quantized\b)\w+|\bops\s*\.\s*(?!(aten|prim|prims|quantized|torchvision)\b)\w+"
)
_WHAT = "write one with torch.jit.script(network).save('NAME.pt'); for a torch.export file, use export:PATH"


def load_torchscript(path: Path, device: torch.device) -> nn.Module:
    """The network on `device`, in eval mode. Raises UsageError when there is no such file, MismatchError when it is anything else."""
    if not path.is_file():
        raise UsageError("no such file", where=path)
    try:
        with zipfile.ZipFile(path) as archive:
            code = [name for name in archive.namelist() if "/code/" in name]
            for name in code:
                if not name.endswith(".debug_pkl") and (found := _REFUSED.search(archive.read(name).decode("utf-8", "replace"))):
                    raise MismatchError(f"this TorchScript program uses {found[0]!r}, which is not allowed", where=path)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError):
        raise MismatchError("not a TorchScript file", where=path, hint=_WHAT) from None
    if not code:
        raise MismatchError("not a TorchScript file: it contains no code", where=path, hint=_WHAT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about TorchScript's deprecation, which the user saw when writing the file
            module: nn.Module = torch.jit.load(str(path), map_location=device)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()
        raise MismatchError(f"this TorchScript file cannot be loaded ({reason[0] if reason else 'no reason given'})", where=path) from None
    return module.eval()


class CheckedNetwork(nn.Module):
    """Features (N, D), and log-probabilities (N, C) or None, of uint8 images.

    Every output is checked, because it may depend on the size of the input.
    """

    def __init__(self, network: nn.Module, path: Path) -> None:
        super().__init__()
        self.network, self.path = network, path

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        try:
            found = self.network(images)
        except torch.cuda.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AssertionError, ArithmeticError, MemoryError) as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise self._wrong(
                f"fails on uint8 images of shape {tuple(images.shape)}: {lines[-1].strip() if lines else type(error).__name__}"
            ) from None
        parts = [found] if isinstance(found, Tensor) else list(found) if isinstance(found, (tuple, list)) else []
        if len(parts) not in (1, 2) or not all(isinstance(part, Tensor) for part in parts):
            raise self._wrong(f"returns {_described(found)}")
        for part in parts:
            if part.ndim != 2 or len(part) != len(images) or not part.is_floating_point():
                raise self._wrong(f"returns {', '.join(map(_described, parts))} for {len(images)} images")
        features, probabilities = parts[0].float(), parts[1].float() if len(parts) == 2 else None
        if probabilities is None:
            return features, None
        if not bool((((probabilities.sum(1) - 1).abs() <= 0.01) & (probabilities.amin(1) >= 0)).all()):
            raise self._wrong("returns a second tensor whose rows are not probabilities, which are positive and sum to 1")
        return features, probabilities.clamp_min(torch.finfo(torch.float32).tiny).log()

    def _wrong(self, what: str) -> MismatchError:
        return MismatchError(
            f"this network {what}",
            where=self.path,
            hint="it must map uint8 (N, 3, H, W) to features (N, D), or to a pair of features (N, D) and probabilities (N, C)",
        )


def _described(value: Any) -> str:
    return f"{value.dtype} {tuple(value.shape)}".removeprefix("torch.") if isinstance(value, Tensor) else type(value).__name__
