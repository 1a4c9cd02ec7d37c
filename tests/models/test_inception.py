"""Inception-v3 against the two networks whose weights it reads: torch-fidelity's (TensorFlow's graph of 2015) and torchvision's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stackgan_cli.models.inception import MIN_SIDE, InceptionV3


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and statistics at which activations neither vanish nor grow from layer to layer."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
            elif isinstance(module, nn.Linear):
                module.bias.normal_()
    return network.eval()


def tensorflows() -> InceptionV3:
    return InceptionV3(1008, avg_include_pad=False, last_pool="max")


def images(count: int = 2, side: int = 299) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@torch.no_grad()
def test_it_is_torch_fidelitys_network(tmp_path: Path) -> None:
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    ours = lively(tensorflows())
    torch.save(ours.state_dict(), tmp_path / "random.pth")  # its constructor loads weights from a file, which must be complete
    names = ["2048", "logits_unbiased", "logits"]
    theirs = fidelity.FeatureExtractorInceptionV3("random", names, feature_extractor_weights_path=str(tmp_path / "random.pth"))
    pixels = torch.randint(0, 256, (2, 3, 299, 299), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features, unbiased, biased = theirs(pixels)
    x = (pixels.float() - 128) / 128
    assert relative(ours.features(x), features) < 1e-4 and features.std() > 0.1
    assert relative(ours(x)[1], biased) < 1e-4
    assert relative(ours(x, biased=False)[1], unbiased) < 1e-4
    assert (biased - unbiased).abs().max() > 0.1


@torch.no_grad()
def test_it_is_torchvisions_network() -> None:
    torchvision = pytest.importorskip("torchvision.models.inception")
    theirs = lively(torchvision.Inception3(transform_input=False, init_weights=False))
    state = {key: value for key, value in theirs.state_dict().items() if not key.startswith("AuxLogits.")}
    with torch.device("meta"):
        ours = InceptionV3()
    ours.to_empty(device="cpu").load_state_dict(state)  # strict
    x = images()
    logits = theirs(x)
    assert relative(ours.eval()(x)[1], logits) < 1e-4 and logits.std() > 0.1


@torch.no_grad()
def test_both_switches_change_the_features() -> None:
    state = lively(InceptionV3(3)).state_dict()
    found = []
    for padded in (True, False):
        for pool in ("avg", "max"):
            network = InceptionV3(3, avg_include_pad=padded, last_pool=pool).eval()
            network.load_state_dict(state)
            found.append(network.features(images(1, 139)))
    assert all(relative(a, b) > 1e-3 for i, a in enumerate(found) for b in found[:i])


@pytest.mark.parametrize(("classes", "millions"), [(1008, 23.850960), (1000, 23.834568)])
def test_parameters(classes: int, millions: float) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in InceptionV3(classes).parameters()) == round(millions * 1e6)


@torch.no_grad()
def test_folding_the_normalization_changes_nothing() -> None:
    network = lively(tensorflows())
    x = images(1, 107)
    before = network.features(x)
    assert relative(network.fuse().features(x), before) < 1e-4
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@torch.no_grad()
def test_the_smallest_image() -> None:
    network = InceptionV3(2).eval()
    assert network.features(images(1, MIN_SIDE)).shape == (1, 2048)
    with pytest.raises(RuntimeError):
        network.features(images(1, MIN_SIDE - 1))
