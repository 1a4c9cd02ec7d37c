"""The sizes at which a table can be run: the presets as they are, or the same models made small.

A smaller scale keeps what a table compares (stages, branches and their proportions, heads, losses). It changes widths, resolutions, steps
and batch sizes, and uses a text encoder and a classifier of matching size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SIDES = ("resolution", "stage1_resolution", "branches")
"""Keys of the resolutions of StackGAN models, which a scale divides; HDGAN's cannot be smaller."""


@dataclass(frozen=True)
class Scale:
    """What a scale changes in the presets. `keys` are grouped by architecture; `""` means all of them."""

    summary: str
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    divided_by: dict[str, int] = field(default_factory=dict)
    encoder: dict[str, Any] = field(default_factory=dict)
    """Keys of models that take captions only."""
    ema: float = 0.0
    """`train.ema` of models that average their weights."""
    classifier: str = ""
    similarity: str = ""
    count: int | None = None


SCALES = {
    "full": Scale("the presets as they are"),
    "small": Scale(
        "narrow networks at half the resolution (HDGAN: full resolution), 1,000 steps",
        keys={
            "": {"train.steps": 1000, "train.batch_size": 16, "train.optim.lr": 4e-4},
            "stackgan-v1": {"model.gf_dim": 32, "model.df_dim": 16},
            "stackgan-v2": {"model.gf_dim": 16, "model.df_dim": 16},
            "hdgan": {"model.width": 16, "model.discriminator_width": 16, "train.batch_size": 8},
        },
        divided_by={"stackgan-v1": 2, "stackgan-v2": 2},
        encoder={"requires.text_encoder": "quick-encoder"},
        ema=0.99,
        classifier="quick-classifier",
        similarity="quick-vs",
        count=2000,
    ),
    "tiny": Scale(
        "the narrowest networks at half or a quarter of the resolution (HDGAN: full resolution), 20 steps: images are noise",
        keys={
            "": {
                "train.steps": 20,
                "train.batch_size": 4,
                "train.tick_steps": 10,
                "train.precision": "fp32",
                "model.condition_dim": 16,
                "model.z_dim": 16,
                "samples.rows": 2,
                "samples.columns": 2,
            },
            "stackgan-v1": {"model.gf_dim": 8, "model.df_dim": 8},
            "stackgan-v2": {"model.gf_dim": 4, "model.df_dim": 4},
            "hdgan": {"model.width": 8, "model.discriminator_width": 8},
        },
        divided_by={"stackgan-v1": 2, "stackgan-v2": 4},
        encoder={"requires.text_encoder": "tiny-encoder", "model.text_dim": 64},
        ema=0.9,
        classifier="tiny-classifier",
        similarity="tiny-vs",
        count=100,
    ),
}


def changes(config: dict[str, Any], scale: Scale) -> dict[str, Any]:
    """The keys, and their values, that a scale changes in a resolved preset."""
    if not scale.keys:
        return {}
    model = config["model"]
    divisor = scale.divided_by.get(model["arch"], 1)
    divided = {}
    for key in SIDES if divisor > 1 else ():
        if key in model:
            divided[f"model.{key}"] = [side // divisor for side in model[key]] if isinstance(model[key], list) else model[key] // divisor
    return {
        **scale.keys[""],
        **scale.keys[model["arch"]],
        **divided,
        **({"train.ema": scale.ema} if config["train"]["ema"] else {}),
        **(scale.encoder if config["requires"]["text_encoder"] else {}),
    }
