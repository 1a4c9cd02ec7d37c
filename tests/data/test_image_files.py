from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stackgan_cli.data.crop import fitted_size, image_extent, load_image, render
from stackgan_cli.data.image_files import read_header, read_image
from stackgan_cli.errors import DataError
from stackgan_cli.metrics.image_sets import read_picture

RAMP = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))


def read(path: Path) -> np.ndarray:
    """The pixels, which `prepare` and `evaluate` must see alike."""
    seen = np.asarray(load_image(path))
    assert np.array_equal(seen, read_picture(path)) and read_image(path).mode == "RGB"
    assert read_header(path)[0] == image_extent(path) == seen.shape[1::-1]
    return seen


def gray(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[..., None], 3, 2)


@pytest.mark.parametrize("suffix", ["png", "tif", "jp2"])
@pytest.mark.parametrize("low", [0, 1, 255])
def test_of_16_bits_the_upper_8_are_kept(tmp_path, suffix, low):
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(RAMP.astype(np.uint16) * 256 + low).save(path)
    assert np.array_equal(read(path), gray(RAMP))


def test_big_endian_16_bits(tmp_path):
    Image.frombytes("I;16B", (64, 48), (RAMP.astype(np.uint16) * 256).astype(">u2").tobytes()).save(tmp_path / "x.tif")
    assert np.array_equal(read(tmp_path / "x.tif"), gray(RAMP))


def test_a_pgm_of_16_bits_stays_dark(tmp_path):
    values = np.full((4, 4), 200, ">u2")
    (tmp_path / "x.pgm").write_bytes(b"P5 4 4 65535\n" + values.tobytes())
    assert (read(tmp_path / "x.pgm") == 0).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (RAMP.astype(np.int32), RAMP),
        (RAMP.astype(np.int32) * 257, RAMP),
        (RAMP.astype(np.float32), RAMP),
        (RAMP.astype(np.float32) / 255, RAMP),
    ],
)
def test_integers_and_floating_point_numbers_of_32_bits(tmp_path, values, expected):
    Image.fromarray(values).save(tmp_path / "x.tif")
    assert np.array_equal(read(tmp_path / "x.tif"), gray(expected))


@pytest.mark.parametrize("value", [-1, 65536, 2**31 - 1, -0.5, 255.5, np.nan, np.inf])
def test_other_numbers_are_an_error_and_not_clipped(tmp_path, value):
    values = np.full((4, 4), 7, np.int32 if isinstance(value, int) else np.float32)
    values[2, 2] = value
    Image.fromarray(values).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match=r"numbers|not finite"):
        load_image(tmp_path / "x.tif")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB", "I;16", "palette with alpha"])
def test_transparency_is_white(tmp_path, mode):
    """The left half is transparent, the right half has the gray value 120."""
    path = tmp_path / "x.png"
    values = np.zeros((8, 8), np.uint8)
    values[:, 4:] = 120
    opaque = (values > 0).astype(np.uint8) * 255
    if mode == "RGBA":
        Image.fromarray(np.dstack([values] * 3 + [opaque])).save(path)
    elif mode == "LA":
        Image.merge("LA", [Image.fromarray(values), Image.fromarray(opaque)]).save(path)
    elif mode == "I;16":
        Image.fromarray(values.astype(np.uint16) * 256).save(path, transparency=0)
    elif mode in ("P", "palette with alpha"):
        image = Image.fromarray((values > 0).astype(np.uint8))
        image.putpalette([0, 0, 0, 120, 120, 120])
        image.save(path, transparency=0 if mode == "P" else bytes([0, 255]))
    else:
        image = Image.fromarray(values).convert(mode)
        image.save(path, transparency=0 if mode == "L" else (0, 0, 0))
    seen = read(path)
    assert (seen[:, :4] == 255).all() and (seen[:, 4:] == 120).all()


@pytest.mark.parametrize("alpha", [0, 1, 64, 128, 200, 255])
def test_half_transparent_pixels_are_mixed_with_white(tmp_path, alpha):
    pixels = np.zeros((256, 1, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = np.arange(256)[:, None, None], alpha
    Image.fromarray(pixels).save(tmp_path / "x.png")
    expected = 255 + (np.arange(256) - 255) * (alpha / 255)
    assert np.abs(read(tmp_path / "x.png")[:, 0, 0] - expected).max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr"])
def test_ordinary_files_are_what_pillow_converts(tmp_path, mode):
    Image.fromarray(np.dstack([RAMP, RAMP[:, ::-1], RAMP // 2])).convert(mode).save(tmp_path / "x.jpg", quality=95)
    with Image.open(tmp_path / "x.jpg") as opened:
        assert np.array_equal(read(tmp_path / "x.jpg"), np.asarray(opened.convert("RGB")))


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert (read(tmp_path / "x.gif") == (255, 0, 0)).all()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_ignored(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(gray(RAMP)).save(tmp_path / f"x.{suffix}", exif=exif)
    seen = read(tmp_path / f"x.{suffix}").astype(int)
    assert seen.shape == (48, 64, 3) and np.abs(seen - gray(RAMP)).max() < 16


def test_a_broken_exif_block_does_no_harm(tmp_path):
    path = tmp_path / "x.jpg"
    Image.fromarray(gray(RAMP)).save(path)
    expected = read(path)
    raw = path.read_bytes()
    path.write_bytes(raw[:2] + b"\xff\xe1\x00\x10Exif\x00\x00garbage!" + raw[2:])
    assert np.array_equal(read(path), expected)


@pytest.mark.parametrize(
    "content", [b"", b"<html>quota exceeded</html>", b"\x89PNG\r\n\x1a\n", b"version https://git-lfs.github.com/spec/v1"]
)
def test_what_is_not_an_image(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    for reader in (load_image, image_extent, read_picture):
        with pytest.raises(DataError, match="cannot be decoded") as caught:
            reader(tmp_path / "x.png")
        assert caught.value.where == str(tmp_path / "x.png") and str(tmp_path) not in caught.value.message


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "gif", "bmp", "webp", "ppm", "jp2"])
def test_damaged_files_are_images_or_data_errors(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (24, 24, 3)).astype(np.uint8)).save(path)
    whole = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(whole[: random.integers(1, len(whole) + 1)])
        for place in random.integers(0, len(damaged), 4):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            assert read_image(path).mode == "RGB"
        except DataError as error:
            assert error.where == str(path)


def test_a_decompression_bomb_is_an_error(tmp_path, monkeypatch):
    Image.fromarray(RAMP).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 48 // 2 - 1)
    for reader in (load_image, image_extent):
        with pytest.raises(DataError, match="decompression bomb"):
            reader(tmp_path / "x.png")


def test_an_absurd_aspect_ratio_cannot_be_kept():
    assert fitted_size(100, 2000, 76, "keep") == (76, 1520) and fitted_size(1, 3000, 76, "squash") == (76, 76)
    for width, height in ((1, 3000), (3000, 1), (100, 2001)):
        with pytest.raises(DataError, match="too narrow"):
            render(Image.new("RGB", (width, height)), None, image_size=76, fit="keep", crop="none")
