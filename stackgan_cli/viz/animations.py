"""Animations: GIF with Pillow, MP4 with the optional extra `video`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from stackgan_cli.errors import EnvironmentProblem
from stackgan_cli.files import replacing

FPS = 12
"""Frames per second."""
LEAST_SIDE = 192
"""Smaller frames are enlarged by an integer factor, without interpolation."""


def enlarged(frames: np.ndarray, least: int = LEAST_SIDE) -> np.ndarray:
    """uint8 (N, S, S, 3) with each side multiplied by the smallest integer factor that makes it at least `least`."""
    factor = -(-least // frames.shape[1])
    return frames.repeat(factor, axis=1).repeat(factor, axis=2)


def save_gif(path: Path, frames: np.ndarray) -> None:
    """Atomically write uint8 (N, S, S, 3) as a GIF that loops. Each frame has its own palette of 256 colors."""
    pictures = [Image.fromarray(frame).quantize(256, dither=Image.Dither.NONE) for frame in enlarged(frames)]
    with replacing(path) as temporary:
        pictures[0].save(temporary, format="GIF", save_all=True, append_images=pictures[1:], duration=round(1000 / FPS), loop=0)


def require_video() -> None:
    """Raise EnvironmentProblem (exit 6) when the package that writes MP4 is not installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise EnvironmentProblem(
            "PyAV, which writes MP4, is not installed", where="--video", hint="pip install 'stackgan[video]'"
        ) from None


def save_mp4(path: Path, frames: np.ndarray) -> None:
    """Atomically write uint8 (N, S, S, 3) as H.264, enlarged as for a GIF, and doubled if a side is odd. Raises as `require_video`."""
    require_video()
    import av

    frames = enlarged(frames)
    frames = frames.repeat(1 + frames.shape[1] % 2, axis=1).repeat(1 + frames.shape[2] % 2, axis=2)
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "18"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
