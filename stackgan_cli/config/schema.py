"""The configuration of a run, from preset to resolved `config.yaml`. Torch-free; every key is documented here once.

Lengths of time are in optimisation steps or in epochs (one epoch = the training images seen once), learning rates per step,
sizes in pixels. Run-time concerns (device, workspace, when to stop) are flags of the command line, not keys.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stackgan_cli.config.archs import ArchConfig
from stackgan_cli.config.base import Frozen, PositiveInt

Rate = Annotated[float, Field(gt=0)]


class DataConfig(Frozen):
    """Where images and captions come from, and how an item is drawn."""

    cache: str = "cub"
    """Name of a cache under `caches/` of the workspace, or a path to one."""
    split: Literal["train", "test", "all"] = "train"
    """The images that are trained on."""
    flip: bool = True
    """Mirror each image with probability 1/2."""
    random_crop: bool = True
    """Random crop of 64/76 of the side (256 of 304 px), else the centre."""
    whole: bool = False
    """Whole images at the resolution that is trained at, and no crops of them."""
    residency: Literal["auto", "device", "ram", "mmap"] = "auto"
    """Where the images wait: GPU memory, host memory, or the file itself. All three give identical batches."""


class OptimConfig(Frozen):
    """One optimizer per phase, all of the same kind."""

    kind: Literal["adam", "rmsprop"] = "adam"
    lr: Rate = 2e-4
    lr_discriminator: Rate | None = None
    """Learning rate of discriminators; None takes `lr`."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.5, 0.999)
    eps: Rate = 1e-8
    """Added to the root of the second moment. SGAN's code adds 1e-8 under the root, which is about 1e-4 beside it."""
    decay_factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    decay_every: Annotated[float, Field(gt=0)] | None = None
    """Epochs between two multiplications of the learning rate by `decay_factor`; None keeps it constant."""
    decay_after: Annotated[float, Field(ge=0)] = 0
    """Epochs before the first decay interval begins."""


class TrainConfig(Frozen):
    """How long, how large and in which arithmetic."""

    steps: PositiveInt | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None
    """Give exactly one of `steps` and `epochs`."""
    batch_size: PositiveInt = 64
    accumulate: PositiveInt = 1
    """Split each batch into this many parts whose gradients are added up, to save memory."""
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    channels_last: Literal["auto", "on", "off"] = "auto"
    cuda_graphs: Literal["auto", "off"] = "auto"
    """On one GPU, without `accumulate`: record the pieces of a step once and launch each with one call. The same bits in less time; what
    a step needs of memory then stays its own. A run may be continued with either."""
    optim: OptimConfig = OptimConfig()
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the averaged generator that is saved and sampled from, with BatchNorm statistics of its own; 0 keeps none."""
    ema_snap_every: PositiveInt | None = None
    """Steps between two resets of the trained generator to its average (StackGAN-v2's released code: 2000, by accident); None: never."""
    seed: int = 0
    tick_steps: PositiveInt = 100
    """Steps between two sample grids and resumable states."""
    log_steps: PositiveInt | None = None
    """Steps between two lines of the log; every tick has one too. None chooses a number that gives a whole run about 200 lines, or one
    at every tick where that is more. A run may be continued with another number."""
    weights_every: PositiveInt = 10
    """Ticks between two weights files; the last one is always written."""
    keep_weights: PositiveInt = 5
    """How many weights files to keep; the newest is `weights/latest.safetensors`."""

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("steps: give exactly one of train.steps and train.epochs (set the other to null)")
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate: must divide train.batch_size ({self.batch_size}), not {self.accumulate}")
        return self


class SamplesConfig(Frozen):
    """The grid that is drawn at every tick: a row a caption, fixed noise."""

    captions: tuple[str, ...] = ()
    """Empty takes one caption of each of the first held-out images."""
    rows: PositiveInt = 6
    columns: PositiveInt = 6


class RequiresConfig(Frozen):
    """What has to exist before: the name of a preset (made when absent), or a path to a run or weights file."""

    text_encoder: str | None = None
    stage1: str | None = None
    extractor: str | None = None
    """`vs-similarity`: whose features are compared with text, a classifier or any extractor as `evaluate --extractor` takes it.
    `sgan`: the encoder that is inverted, a classifier with backbone `sgan`."""


class RunConfig(Frozen):
    """Everything that decides what a run computes."""

    name: str = ""
    """Name of the preset this came from."""
    summary: str = ""
    paper: str = ""
    """Paper, section and table that the preset follows."""
    model: ArchConfig
    data: DataConfig = DataConfig()
    train: TrainConfig
    samples: SamplesConfig = SamplesConfig()
    requires: RequiresConfig = RequiresConfig()
