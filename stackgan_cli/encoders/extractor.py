"""Feature extractors for the metrics: uint8 images of any size in, features and class probabilities out.

| spec | network | resizing |
|---|---|---|
| `tf-inception-2015[:PATH]` | TensorFlow's Inception of 2015-12-05: FID and IS as originally defined | `tf1-bilinear` |
| `torchvision-inception[:PATH]` | torchvision's Inception-v3 (the "PyTorch FID" of AttnGAN and DM-GAN: `t2i-legacy`) | `pil-bilinear` |
| `finetuned:PATH` | a state dict of Inception-v3 fine-tuned from TF-slim, as StackGAN's authors did | `pil-bilinear` |
| `classifier:PATH` | a weights file or a run folder from `train --preset classifier` | its own |
| `torchscript:PATH`, `export:PATH` | uint8 (N, 3, H, W) to features (N, D), or to features and probabilities (N, C) | its own |

The first of the N + 1 outputs of a fine-tuned network is a background class and is dropped, as in StackGAN's inception score. A network
has this output if a list of class names beside it (NAME.txt, one per line) has one name fewer than it has outputs; without a list, if it
has 21, 51 or 1001 outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stackgan_cli.data.download import Progress
from stackgan_cli.encoders.classifier import load_classifier
from stackgan_cli.encoders.extractor_weights import class_names, file_sha256, find_weights, given_weights
from stackgan_cli.encoders.resize import MODES, resize
from stackgan_cli.errors import MismatchError, UsageError, did_you_mean
from stackgan_cli.interop.published import read_checkpoint
from stackgan_cli.interop.state_dicts import load_official
from stackgan_cli.interop.torch_export import ExportedNetwork
from stackgan_cli.interop.torchscript import CheckedNetwork, load_torchscript
from stackgan_cli.models.classifier import Classifier
from stackgan_cli.models.inception import FEATURE_DIM, MIN_SIDE, InceptionV3
from stackgan_cli.safety import check_torch

Logits = Literal["biased", "unbiased"]
LEGACY = "t2i-legacy"
"""A resizing and normalization method: `pil-bilinear`, then the affine map that torchvision's network expects on ImageNet-normalized
images, applied to images in [0, 1], which reduces their contrast to less than half."""
KINDS = ("tf-inception-2015", "torchvision-inception", "finetuned", "classifier", "torchscript", "export")
UNTRUSTED = "a TorchScript file is a program, which can read and write files with your rights when it is opened"
TRUST_HINT = "export the network (torch.export) and use export:FILE; if you trust its author, --trust also works"
INCEPTION_SIDE = 299
WITH_BACKGROUND = (21, 51, 1001)
"""Numbers of outputs of TF-slim networks for the test classes of Oxford-102 and CUB and for ImageNet."""


@dataclass(frozen=True)
class Extracted:
    """features (N, D) and log-probabilities (N, C), both float32; the latter is None when the network has no classes."""

    features: Tensor
    log_probabilities: Tensor | None


class Extractor(nn.Module):
    """A frozen network with its preprocessing. Computes in float32, even under autocast.

    `prepare` is applied to resized images (float32, 0..255); `network` takes its output and returns features and log-probabilities or None.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        path: Path,
        device: torch.device | str,
        resize: str,
        side: int | None,
        prepare: Callable[[Tensor], Tensor] | None,
        feature_dim: int,
        num_classes: int | None,
        logits: Logits | None = None,
        classes: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__()
        self.network = network.to(device).requires_grad_(False)
        self.name, self.path, self.resize, self.side, self.logits, self.classes = name, path, resize, side, logits, classes
        self.sha256 = file_sha256(path)
        self.device = torch.device(device)
        self._prepare = prepare
        self.feature_dim, self.num_classes = feature_dim, num_classes
        self.train(False)
        if classes is not None and len(classes) != num_classes:
            raise MismatchError(
                f"has {num_classes or 'no'} classes, but the list beside it has {len(classes)}", where=path, hint="correct the list"
            )

    def train(self, mode: bool = True) -> Extractor:
        """Stays in eval mode, whatever `mode` is."""
        super().train(False)
        return self

    @property
    def has_logits(self) -> bool:
        return self.num_classes is not None

    @property
    def label(self) -> str:
        """Name of the extractor in results: its kind and, unless it is a published network, the run or file."""
        run = self.path.parent.parent.name if self.path.parent.name == "weights" else self.path.name
        return self.name if self.name in KINDS[:2] else f"{self.name} {run}"

    @property
    def identity(self) -> dict[str, Any]:
        """What a result depends on, as recorded in its protocol. Equal identities give equal features."""
        identity = {"extractor": self.name, "sha256": self.sha256, "resize": self.resize, "side": self.side}
        return identity if self.logits is None else {**identity, "logits": self.logits}

    @torch.no_grad()
    def forward(self, images: Tensor) -> Extracted:
        """Features of uint8 (N, 3, H, W), on any device. Raises MismatchError when the network does not accept images of this size."""
        assert images.dtype == torch.uint8 and images.ndim == 4 and images.shape[1] == 3, f"{images.dtype} {tuple(images.shape)}"
        images = images.to(self.device)
        with torch.autocast(self.device.type, enabled=False), _float32(self.device):
            if self._prepare is not None:
                images = self._prepare(resize(images, self.side or 0, "pil-bilinear" if self.resize == LEGACY else self.resize))
            features, log_probabilities = self.network(images)
        return Extracted(features.float(), None if log_probabilities is None else log_probabilities.float())


def _float32(device: torch.device) -> AbstractContextManager[None]:
    """Disable TF32 in convolutions, which cuDNN uses by default."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def open_extractor(
    spec: str,
    *,
    weights_folder: Path | None = None,
    device: torch.device | str = "cpu",
    resize: str | None = None,
    logits: Logits | None = None,
    offline: bool | None = None,
    progress: Progress | None = None,
    trust: bool = False,
) -> Extractor:
    """The extractor given by `spec` (see above).

    Published weights are searched in, and downloaded to, `weights_folder`. If `resize` or `logits` is None, the network's default is used:
    TensorFlow's network of 2015 defines the inception score on logits without bias, all others with bias.

    A TorchScript file is a program: without `trust`, it is refused.

    Raises UsageError for an invalid spec, an untrusted program or a resizing method that the network does not support,
    EnvironmentProblem (exit 6) when published weights are not available, MismatchError (exit 5) when a file contains something else.
    """
    kind, _, argument = spec.partition(":")
    if kind not in KINDS:
        raise UsageError(f"unknown extractor {kind!r}{did_you_mean(kind, KINDS)}", where="--extractor", hint=f"one of: {', '.join(KINDS)}")
    if not argument and kind not in KINDS[:2]:
        raise UsageError(f"{kind} needs a file", where="--extractor", hint=f"{kind}:PATH")
    if resize is not None and resize not in (*MODES, LEGACY):
        choices = (*MODES, LEGACY)
        raise UsageError(f"unknown resizing method {resize!r}{did_you_mean(resize, choices)}", where="resize", hint=", ".join(choices))
    if resize == LEGACY and kind != "torchvision-inception":
        raise UsageError(f"{LEGACY} applies to torchvision-inception only, not to {kind}", where="resize")
    if logits == "unbiased" and kind in KINDS[3:]:
        raise UsageError(f"logits without bias are not available from {kind}", where="logits")
    if kind in ("torchscript", "export"):
        if resize not in (None, "none"):
            raise UsageError(f"{kind} networks take images of any size, so there is no size to resize to", where="resize")
        path = given_weights(Path(argument))
        if kind == "torchscript" and not trust:
            raise UsageError(UNTRUSTED, where=path, hint=TRUST_HINT)
        check_torch()
        return _open_foreign(kind, path, torch.device(device))
    if kind == "classifier":
        return _open_classifier(Path(argument), device, resize or "none")
    path = given_weights(Path(argument)) if argument else find_weights(kind, weights_folder, offline=offline, progress=progress)
    return _open_inception(kind, path, device, resize, logits)


# -- Inception --------------------------------------------------------------------------------------------------------------


class _Inception(nn.Module):
    """Features and log-probabilities; with `background`, of all classes except the first."""

    def __init__(self, network: InceptionV3, *, biased: bool, background: bool = False) -> None:
        super().__init__()
        self.network, self.biased, self.background = network, biased, background

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if min(images.shape[-2:]) < MIN_SIDE:
            raise UsageError(f"Inception-v3 takes images of at least {MIN_SIDE} px, not {images.shape[-1]}", where="resize")
        features, logits = self.network(images.contiguous(memory_format=torch.channels_last), biased=self.biased)
        return features, (logits[:, 1:] if self.background else logits).log_softmax(1)


def centred(images: Tensor) -> Tensor:
    """0..255 to [-1, 1), the map inside TensorFlow's graph."""
    return (images - 128) / 128


def symmetric(images: Tensor) -> Tensor:
    """0..255 to [-1, 1], as TF-slim's networks expect."""
    return images / 127.5 - 1


def twice_normalised(images: Tensor) -> Tensor:
    """0..255 to [0, 1], then torchvision's `transform_input`, which is meant for ImageNet-normalized images."""
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return images / 255 * (std / 0.5) + (mean - 0.5) / 0.5


def _open_inception(kind: str, path: Path, device: torch.device | str, resize: str | None, logits: Logits | None) -> Extractor:
    tensorflow = kind == "tf-inception-2015"
    state = _inception_state(path)
    rows = len(state["fc.weight"])
    expected = {"tf-inception-2015": 1008, "torchvision-inception": 1000}.get(kind, rows)
    if rows != expected:
        raise MismatchError(
            f"this Inception-v3 has {rows} classes, but {kind} has {expected}", where=path, hint=f"if fine-tuned, use finetuned:{path}"
        )
    with torch.device("meta"):
        network = InceptionV3(rows, avg_include_pad=not tensorflow, last_pool="max" if tensorflow else "avg")
    network = network.to_empty(device="cpu")
    try:
        load_official(network, state, where=path)
    except MismatchError as error:
        raise MismatchError(error.message, where=path, hint="give a state dict of Inception-v3 with torchvision's names") from None
    names = class_names(path) if kind == "finetuned" else None
    background = kind == "finetuned" and (len(names) + 1 == rows if names is not None else rows in WITH_BACKGROUND)
    logits = logits or ("unbiased" if tensorflow else "biased")
    fused = network.eval().fuse().to(memory_format=torch.channels_last)
    resize = resize or ("tf1-bilinear" if tensorflow else "pil-bilinear")
    return Extractor(
        _Inception(fused, biased=logits == "biased", background=background),
        name=kind,
        path=path,
        device=device,
        resize=resize,
        side=INCEPTION_SIDE,
        prepare=twice_normalised if resize == LEGACY else centred if tensorflow else symmetric,
        feature_dim=FEATURE_DIM,
        num_classes=rows - background,
        logits=logits,
        classes=names,
    )


def _inception_state(path: Path) -> dict[str, Tensor]:
    """The tensors of an Inception-v3 without its auxiliary head, in float32."""
    if path.suffix == ".safetensors":
        try:
            state = load_file(path)
        except (SafetensorError, OSError) as error:
            raise MismatchError(f"not a readable safetensors file ({error})", where=path) from None
    else:
        state = read_checkpoint(path)
    last = state.get("fc.weight")
    if last is None or last.ndim != 2 or last.shape[1] != FEATURE_DIM:
        raise MismatchError(
            f"not the weights of an Inception-v3: no fc.weight with {FEATURE_DIM} columns",
            where=path,
            hint="give the state dict of the network",
        )
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items() if not key.startswith("AuxLogits.")}


# -- our classifiers, and networks from elsewhere ---------------------------------------------------------------------------


class _Classifier(nn.Module):
    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network.features(images.contiguous(memory_format=torch.channels_last))
        return features, self.network.logits(features).log_softmax(1)


def _open_classifier(path: Path, device: torch.device | str, resize: str) -> Extractor:
    path = path.expanduser()
    path = given_weights(path / "weights" / "latest.safetensors" if path.is_dir() else path)
    weights, network = load_classifier(path)
    return Extractor(
        _Classifier(network).to(memory_format=torch.channels_last),
        name="classifier",
        path=path,
        device=device,
        resize=resize,
        side=network.side,
        prepare=symmetric,
        feature_dim=network.num_features,
        num_classes=network(torch.zeros(1, 3, network.side, network.side)).shape[1],
        classes=weights.classes,
    )


def _open_foreign(kind: str, path: Path, device: torch.device) -> Extractor:
    network = CheckedNetwork(load_torchscript(path, device) if kind == "torchscript" else ExportedNetwork(path), path).to(device)
    with torch.no_grad():
        features, log_probabilities = network(torch.zeros(2, 3, 64, 64, dtype=torch.uint8, device=device))
    return Extractor(
        network,
        name=kind,
        path=path,
        device=device,
        resize="none",
        side=None,
        prepare=None,
        feature_dim=features.shape[1],
        num_classes=None if log_probabilities is None else log_probabilities.shape[1],
        classes=class_names(path),
    )
