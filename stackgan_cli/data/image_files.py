"""The one way to read an image file, for datasets and for measurements alike: any mode that Pillow reads becomes 8-bit RGB.

- Gray, palette, CMYK and YCbCr images are converted; the first frame of an animation is read.
- Transparency is composited on white.
- Of 16 bits the upper 8 are kept (Pillow itself reads 16-bit RGB like this, but clips 16-bit gray).
- 32-bit integers are read as 8 bits if all are at most 255, otherwise as 16 bits; floating-point numbers as 0 to 1 if none is above 1,
  otherwise as 0 to 255. Other values are an error.
- An EXIF orientation tag is ignored, as torch-fidelity, pytorch-fid and clean-fid do, and as the boxes of datasets expect. (The
  orientation of a TIFF file belongs to its format; Pillow applies it for all of them.)
- An image above Pillow's limit against decompression bombs (179 megapixels) is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from stackgan_cli.errors import DataError

# fmt: off
SUFFIXES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".bmp", ".dib", ".tif", ".tiff", ".jp2", ".j2k", ".jpx", ".ppm",
    ".pgm", ".pbm", ".pnm", ".pfm", ".tga", ".pcx", ".qoi",
)
# fmt: on
"""File types that are read where the files of a folder are not listed by name."""
BITS_PER_SAMPLE = 258
"""The TIFF tag."""
WHITE = 255


def read_image(path: Path) -> Image.Image:
    """The whole image in a file, in RGB. Raises DataError when it cannot be decoded completely."""
    with _decoding(path), Image.open(path) as opened:
        opened.load()
        if opened.mode == "RGB" and "transparency" not in opened.info:
            return opened
        return _rgb(opened)


def read_header(path: Path) -> tuple[tuple[int, int], str]:
    """((width, height), Pillow's mode) of an image file, without decoding its pixels. Raises DataError when it is not an image."""
    with _decoding(path), Image.open(path) as opened:
        return opened.size, opened.mode


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    try:
        yield
    except UnidentifiedImageError:
        raise DataError("cannot be decoded: it is not an image of a known kind", where=path, hint="remove it, or save it again") from None
    except Exception as error:  # a damaged file makes Pillow's decoders raise almost anything
        raise DataError(f"cannot be decoded: {error or type(error).__name__}", where=path, hint="remove it, or save it again") from None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return _from_numbers(image)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info or _palette_has_alpha(image):
        if image.mode == "La":  # Pillow converts it to LA only
            image = image.convert("LA")
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (WHITE,) * 4), rgba).convert("RGB")
    return image.convert("RGB")


def _palette_has_alpha(image: Image.Image) -> bool:
    return image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A")


def _from_numbers(image: Image.Image) -> Image.Image:
    """RGB of a gray image whose pixels are integers of 16 or 32 bits, or floating-point numbers."""
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ValueError("some of its pixels are not finite")
    low, high = values.min(), values.max()
    if image.mode == "F":
        if low < 0 or high > 255:
            raise ValueError(f"its pixels are floating-point numbers from {low:g} to {high:g}, instead of 0 to 1 or 0 to 255")
        gray = np.rint(values * (255 if high <= 1 else 1))
    elif low < 0 or high > 65535:
        raise ValueError(f"its pixels are numbers from {low} to {high}, which do not fit in 16 bits")
    elif image.mode == "I" and high <= 255 and image.format == "TIFF":  # other formats use this mode for 16 bits
        gray = values
    else:
        gray = values >> (_bits(image) - 8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray = np.where(values == transparent, WHITE, gray)
    return Image.fromarray(gray.astype(np.uint8)).convert("RGB")


def _bits(image: Image.Image) -> int:
    """Bits per pixel: 16, or 12 in a TIFF file that says so."""
    tags = getattr(image, "tag_v2", {})
    return 12 if 12 in tags.get(BITS_PER_SAMPLE, ()) else 16
