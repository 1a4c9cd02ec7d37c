"""The configuration of a run, from preset to resolved `config.yaml`. Torch-free. Keys are documented here, those of `model` in archs/.

Durations are in optimization steps or in epochs (one epoch = the training images seen once), sizes in pixels. Run-time choices
(device, workspace, when to stop) are options of the command line, not keys.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from stackgan_cli.config.archs import ArchConfig
from stackgan_cli.config.base import Frozen, PositiveInt

Rate = Annotated[float, Field(gt=0)]


def _digits(value: Any) -> Any:
    """A whole number, as the name that its digits are."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class DataConfig(Frozen):
    """Where images and captions come from, and how training images are cropped."""

    cache: Annotated[str, BeforeValidator(_digits)] = "cub"
    """Name of a cache in the `caches/` folder of the workspace, or a path to one. In a file, a name that YAML does not read as text needs
    quotes, for example `"null"`."""
    split: Literal["train", "test", "all"] = "train"
    """The images to train on."""
    flip: bool = True
    """Mirror each image with probability 1/2."""
    random_crop: bool = True
    """Random crops of 64/76 of the side (256 of 304 px); if false, center crops of that size."""
    whole: bool = False
    """Whole images scaled to the training resolution, without cropping."""
    residency: Literal["auto", "device", "ram", "mmap"] = "auto"
    """Where the images are kept during training: GPU memory, host memory, or the file itself. All three give identical batches; `auto`
    chooses for the device and the size of the dataset."""


class OptimConfig(Frozen):
    """One optimizer per training phase, all of the same kind."""

    kind: Literal["adam", "rmsprop"] = "adam"
    lr: Rate = 2e-4
    lr_discriminator: Rate | None = None
    """Learning rate of the discriminators; null: the same as `lr`."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.5, 0.999)
    eps: Rate = 1e-8
    """Added to the square root of the second moment. SGAN's code adds 1e-8 under the root, which corresponds to about 1e-4 outside it."""
    decay_factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    decay_every: Annotated[float, Field(gt=0)] | None = None
    """The learning rate is multiplied by `decay_factor` every this many epochs; null: it stays constant."""
    decay_after: Annotated[float, Field(ge=0)] = 0
    """Number of epochs before the first decay interval begins."""


class TrainConfig(Frozen):
    """Duration, batch size, precision, optimizer, and how often to log and save."""

    steps: PositiveInt | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None
    """Length of the run. Give exactly one of `steps` and `epochs`."""
    batch_size: PositiveInt = 64
    accumulate: PositiveInt = 1
    """Split each batch into this many parts and add up their gradients, which saves memory."""
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    channels_last: Literal["auto", "on", "off"] = "auto"
    cuda_graphs: Literal["auto", "off"] = "auto"
    """`auto`: on a single GPU and without `accumulate`, record the kernels of a step once and launch them with few calls. The results are
    identical bit for bit and take less time, but the memory of a step stays reserved. A run may be continued with either value."""
    optim: OptimConfig = OptimConfig()
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the exponential moving average of the generator, which is what is saved and sampled from, with its own BatchNorm statistics.
    0: no average is kept."""
    ema_snap_every: PositiveInt | None = None
    """Reset the trained generator to its average every this many steps (StackGAN-v2's released code: 2000, by accident); null: never."""
    seed: int = 0
    tick_steps: PositiveInt = 100
    """Length of a tick in steps: a sample grid is written at every tick, and a resumable state at most that often."""
    log_steps: PositiveInt | None = None
    """Write a line to the log every this many steps, and at every tick. null: about 200 lines per run, or one per tick if that is more.
    A run may be continued with another value."""
    weights_every: PositiveInt = 10
    """Write a weights file every this many ticks, and always at the end."""
    keep_weights: PositiveInt = 5
    """Number of weights files to keep; `weights/latest.safetensors` is the newest."""

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("steps: give exactly one of train.steps and train.epochs (set the other to null)")
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate: must divide train.batch_size ({self.batch_size}), not {self.accumulate}")
        return self


class SamplesConfig(Frozen):
    """The grid of samples that is written at every tick: one row per caption, always with the same noise."""

    captions: tuple[str, ...] = ()
    """Captions of the rows; empty: one caption of each of the first held-out images."""
    rows: PositiveInt = 6
    columns: PositiveInt = 6


class RequiresConfig(Frozen):
    """What has to exist before the run: the name of a preset (trained first if necessary), or a path to a run or weights file."""

    text_encoder: str | None = None
    stage1: str | None = None
    extractor: str | None = None
    """`vs-similarity`: the network whose image features are compared with text, a classifier or anything that `evaluate --extractor`
    accepts. `sgan`: the encoder to invert, a classifier with backbone `sgan`."""


class RunConfig(Frozen):
    """Everything that decides what a run computes."""

    name: str = ""
    """Name of the preset that this configuration came from."""
    summary: str = ""
    paper: str = ""
    """The paper, section and table that the preset follows."""
    model: ArchConfig
    data: DataConfig = DataConfig()
    train: TrainConfig
    samples: SamplesConfig = SamplesConfig()
    requires: RequiresConfig = RequiresConfig()
