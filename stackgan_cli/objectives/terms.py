"""Losses as pure functions of logits and Gaussian parameters, in float32 whatever the networks ran in.

Equation numbers are those of StackGAN++.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor


def bce_real(logits: Tensor) -> Tensor:
    """-log D: the mean over all logits of the cross-entropy with label 1 (Eq. 3 first term; non-saturating generator, Eq. 4)."""
    return F.softplus(-logits.float()).mean()


def bce_fake(logits: Tensor) -> Tensor:
    """-log(1 - D): the mean over all logits of the cross-entropy with label 0 (Eq. 3, second term)."""
    return F.softplus(logits.float()).mean()


def kl_standard_normal(mu: Tensor, logvar: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, I)) of (B, V) parameters (Eq. 2), averaged over the batch.

    `mean` averages over the V dimensions as well, as all released codes do; `sum` is the divergence itself.
    """
    mu, logvar = mu.float(), logvar.float()
    each = 0.5 * (mu.square() + logvar.exp() - 1 - logvar)
    return each.mean() if reduction == "mean" else each.sum(1).mean()
