"""Each resizing method against its original: a worked example of TensorFlow's, torch-fidelity, and Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from stackgan_cli.encoders.resize import MODES, resize
from stackgan_cli.errors import UsageError

SIZES = [(32, 299), (100, 299), (256, 299), (300, 299), (313, 64), (512, 299), (37, 128), (299, 64)]


def pixels(size: int, count: int = 2) -> Tensor:
    """Images taller than wide that contain the extreme values."""
    return torch.from_numpy(np.random.default_rng(size).choice([0, 0, 7, 128, 200, 255, 255], (count, 3, size + 13, size)).astype(np.uint8))


def test_tensorflows_two_to_four() -> None:
    # src = dst * 2/4: old pixels at new positions 0 and 2, their mean in between, and the edge repeated.
    image = torch.tensor([[0.0, 100.0], [200.0, 40.0]]).expand(1, 3, 2, 2)
    expected = torch.tensor([[0.0, 50, 100, 100], [100, 85, 70, 70], [200, 120, 40, 40], [200, 120, 40, 40]])
    assert torch.equal(resize(image, 4, "tf1-bilinear")[0, 0], expected)


@pytest.mark.parametrize(("size", "side"), SIZES)
def test_tensorflows_is_torch_fidelitys(size: int, side: int) -> None:
    theirs = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow").interpolate_bilinear_2d_like_tensorflow1x
    images = pixels(size)
    assert torch.equal(resize(images, side, "tf1-bilinear"), theirs(images.float(), size=(side, side), align_corners=False))


@pytest.mark.parametrize(("size", "side"), SIZES)
def test_pil_bilinear_is_pillows(size: int, side: int) -> None:
    high = pixels(size)
    for images in (high, high[:, :, :size]):
        for image, ours in zip(images.numpy(), resize(images, side, "pil-bilinear").numpy(), strict=True):
            theirs = Image.fromarray(image.transpose(1, 2, 0))
            if images is high:  # across, then down, which Pillow 13 does in the other order for tall images
                theirs = theirs.resize((side, theirs.height), Image.Resampling.BILINEAR)
            theirs = theirs.resize((side, side), Image.Resampling.BILINEAR)
            assert np.array_equal(ours, np.asarray(theirs).transpose(2, 0, 1))


@pytest.mark.parametrize(("size", "side"), SIZES)
def test_pil_bicubic_is_pillows_on_real_numbers(size: int, side: int) -> None:
    images = pixels(size)
    ours = resize(images, side, "pil-bicubic").numpy()
    theirs = [
        [np.asarray(Image.fromarray(plane.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)) for plane in image]
        for image in images.numpy()
    ]
    assert np.abs(ours - np.clip(theirs, 0, 255)).max() < 1e-3
    assert side < size or (ours.min() == 0 and ours.max() == 255)  # overshoot occurs and is clipped
    assert np.abs(ours - ours.round()).max() > 0.1  # not quantized


def test_area_is_the_mean_of_what_is_covered() -> None:
    images = pixels(128)[:, :, :128]
    expected = images.float().unflatten(2, (32, 4)).unflatten(4, (32, 4)).mean((3, 5))
    assert torch.allclose(resize(images, 32, "area"), expected, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode(mode: str) -> None:
    images = pixels(40, 3)
    found = resize(images, 64, mode)
    assert found.dtype == torch.float32 and found.shape == ((3, 3, 53, 40) if mode == "none" else (3, 3, 64, 64))
    assert found.min() >= 0 and found.max() <= 255
    assert torch.equal(resize(images[1:2], 64, mode), found[1:2])  # an image does not depend on others in its batch
    flat = torch.full((1, 3, 50, 50), 77, dtype=torch.uint8)
    assert torch.allclose(resize(flat, 31, mode), torch.tensor(77.0))
    assert torch.equal(resize(flat, 50, mode), flat.float())


def test_unknown_mode() -> None:
    with pytest.raises(UsageError, match="did you mean 'pil-bicubic'"):
        resize(pixels(8), 4, "pil-bicubik")
