"""`doctor`: whether this machine can do the work, in a form that can be pasted into a bug report."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from importlib import metadata

import torch

from stackgan_cli.data.cache import Cache
from stackgan_cli.errors import UserError
from stackgan_cli.runtime import cpu_has_bf16, pick_device
from stackgan_cli.safety import REASON, is_safe
from stackgan_cli.workspace import Workspace

PACKAGES = ("torch", "torchvision", "h5py", "numpy", "pillow", "pydantic", "safetensors", "scipy", "scikit-learn", "typer", "tensorboard")
OPTIONAL = ("tensorboard",)
LEAST_FREE = 2 << 30
"""Bytes: fewer than these do not hold a cache and a run."""


@dataclass(frozen=True)
class Check:
    name: str
    ok: bool
    detail: str
    hint: str = ""


def doctor(*, workspace: Workspace | None = None) -> list[Check]:
    """Check versions, device, disk and caches."""
    workspace = workspace or Workspace.locate()
    return [*_packages(), *_device(), *_workspace(workspace), *_caches(workspace)]


def _packages() -> list[Check]:
    checks = [Check("python", True, f"{platform.python_version()} on {platform.platform()}")]
    for name in PACKAGES:
        try:
            checks.append(Check(name, True, metadata.version(name)))
        except metadata.PackageNotFoundError:
            optional = name in OPTIONAL
            checks.append(Check(name, optional, "not installed" + " (optional)" * optional, "" if optional else f"pip install {name}"))
    return [*checks, _safety()]


def _safety() -> Check:
    """What the installed PyTorch means for files from elsewhere."""
    if is_safe(torch.__version__):
        return Check("safety", True, f"PyTorch {torch.__version__} opens weights from elsewhere without running code")
    return Check("safety", False, f"PyTorch {torch.__version__} is unsafe with files from elsewhere: {REASON}", "pip install 'torch>=2.10'")


def _device() -> list[Check]:
    device = pick_device()
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        modern = torch.cuda.get_device_capability(device) >= (8, 0)
        speed = "bf16 and tf32" if modern else "fp32 only"
        detail = f"{properties.name}, {properties.total_memory / 2**30:.1f} GiB, {speed}, {torch.cuda.device_count()} in all"
    else:
        built = f"PyTorch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "PyTorch is built without CUDA"
        detail = f"cpu, {torch.get_num_threads()} threads, {'bf16' if cpu_has_bf16() else 'no bf16'}; {built}"
    return [Check("device", True, detail)]


def _workspace(workspace: Workspace) -> list[Check]:
    root = workspace.root.resolve()
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    return [
        Check("workspace", os.access(there, os.W_OK), str(root), "choose a folder that can be written with --workspace"),
        Check("disk", free >= LEAST_FREE, f"{free / 2**30:.1f} GiB free", "free some space, or choose another --workspace"),
    ]


def _caches(workspace: Workspace) -> list[Check]:
    checks = []
    for name in workspace.cache_names():
        try:
            cache = Cache.open(workspace.caches / f"{name}.h5")
            detail = f"{cache.num_images:,} images of {cache.image_size} px, {cache.num_captions:,} captions"
            checks.append(Check(f"cache {name}", True, detail))
        except UserError as error:
            checks.append(Check(f"cache {name}", False, error.message, error.hint))
    return checks
