"""Losses as pure functions of logits and Gaussian parameters, in float32 regardless of the precision of the networks.

Equation numbers are those of StackGAN++.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def bce_real(logits: Tensor) -> Tensor:
    """-log D: the mean over all logits of the cross-entropy with label 1 (Eq. 3, first term; non-saturating generator, Eq. 4)."""
    return F.softplus(-logits.float()).mean()


def bce_fake(logits: Tensor) -> Tensor:
    """-log(1 - D): the mean over all logits of the cross-entropy with label 0 (Eq. 3, second term)."""
    return F.softplus(logits.float()).mean()


def least_squares_real(logits: Tensor) -> Tensor:
    """(D - 1)^2, the mean over all logits (HDGAN Eq. 4)."""
    return (logits.float() - 1).square().mean()


def least_squares_fake(logits: Tensor) -> Tensor:
    """D^2, the mean over all logits (HDGAN Eq. 4)."""
    return logits.float().square().mean()


ADVERSARIAL: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "bce": (bce_real, bce_fake),
    "least-squares": (least_squares_real, least_squares_fake),
}
"""The losses of logits with the label real and with the label fake, by `model.adversarial`."""


def kl_standard_normal(mu: Tensor, logvar: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, I)) of (B, V) parameters (Eq. 2), averaged over the batch.

    `mean` also averages over the V dimensions, as all released codes do, and is the default of every variant; `sum` is the divergence of
    Eq. 2 itself, V times as large.
    """
    mu, logvar = mu.float(), logvar.float()
    each = 0.5 * (mu.square() + logvar.exp() - 1 - logvar)
    return each.mean() if reduction == "mean" else each.sum(1).mean()


def color_consistency(fine: Tensor, coarse: Tensor, norm: Literal["released", "paper"] = "released") -> Tensor:
    """Distance of the colors of images (B, 3, S, S) from those of the next lower scale (B, 3, S', S') (Eq. 13, lambda_1 = 1, lambda_2 = 5).

    Colors are the mean and the (biased) covariance over an image's pixels. `paper`: squared norms, averaged over the batch;
    `released`: averaged over the elements as well (1/3 and 1/9 of the norms), and the lower scale is a target without gradient.
    """
    mean, covariance = _colors(fine)
    target_mean, target_covariance = _colors(coarse.detach() if norm == "released" else coarse)
    means, covariances = (mean - target_mean).square(), (covariance - target_covariance).square()
    if norm == "released":
        return means.mean() + 5 * covariances.mean()
    return means.sum(1).mean() + 5 * covariances.sum((1, 2)).mean()


def _colors(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, 3) and covariance (B, 3, 3) over the pixels."""
    pixels = images.float().flatten(2)
    centered = pixels - pixels.mean(2, keepdim=True)
    return pixels.mean(2), centered @ centered.transpose(1, 2) / pixels.shape[2]


def reconstruction(fine: Tensor, coarse: Tensor) -> Tensor:
    """Mean L1 distance of images (B, 3, 2S, 2S) from those of the frozen stage (B, 3, S, S), enlarged bilinearly (HDGAN draft, 3.5)."""
    target = F.interpolate(coarse.detach().float(), scale_factor=2, mode="bilinear", align_corners=True)
    return torch.abs(fine.float() - target).mean()
