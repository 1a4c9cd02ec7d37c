"""Losses against those of torch and against closed forms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from stackgan_cli.objectives.terms import bce_fake, bce_real, kl_standard_normal


def test_cross_entropies() -> None:
    logits = torch.linspace(-30, 30, 61, dtype=torch.float64).float()
    torch.testing.assert_close(bce_real(logits), F.binary_cross_entropy_with_logits(logits, torch.ones(61)))
    torch.testing.assert_close(bce_fake(logits), F.binary_cross_entropy_with_logits(logits, torch.zeros(61)))


@pytest.mark.parametrize(("loss", "slope"), [(bce_real, -1.0), (bce_fake, 1.0)])
def test_no_dead_zone(loss: object, slope: float) -> None:
    """The gradient does not vanish where the discriminator is confident and wrong, as it would with a sigmoid before the logarithm."""
    logits = torch.tensor([-60.0 if slope < 0 else 60.0], requires_grad=True)
    loss(logits).backward()  # type: ignore[operator]
    assert logits.grad is not None and logits.grad.item() == pytest.approx(slope)


def test_losses_are_float32_for_low_precision_logits() -> None:
    logits = torch.tensor([0.5, -2.0], dtype=torch.bfloat16)
    assert bce_real(logits).dtype == bce_fake(logits).dtype == torch.float32
    assert kl_standard_normal(logits[None], logits[None]).dtype == torch.float32


def test_divergence_from_the_standard_normal() -> None:
    torch.manual_seed(0)
    mu, logvar = torch.randn(5, 7), torch.randn(5, 7)
    each = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_standard_normal(mu, logvar), each.mean())
    torch.testing.assert_close(kl_standard_normal(mu, logvar, "sum"), each.sum(1).mean())
    assert kl_standard_normal(torch.zeros(2, 3), torch.zeros(2, 3)).item() == 0


def test_tensorflow_form_of_the_divergence() -> None:
    """The TensorFlow code writes it with log sigma: -s + (-1 + exp(2 s) + mu^2) / 2."""
    torch.manual_seed(0)
    mu, s = torch.randn(4, 3), torch.randn(4, 3)
    torch.testing.assert_close(kl_standard_normal(mu, 2 * s), (-s + 0.5 * (-1 + torch.exp(2 * s) + mu**2)).mean())
