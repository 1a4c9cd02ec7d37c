"""Published state dicts: the PyTorch release of StackGAN-v1 (networks of either stage).

Our networks keep the published names, so importing renames nothing and checks everything. Published files may prefix
every name with `module.` (saved under DataParallel) and lack `num_batches_tracked` (written before PyTorch 0.4.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from stackgan_cli.config.archs import StackGANv1
from stackgan_cli.errors import MismatchError

_SHOWN = 5
"""Maximum number of names of each kind that an error lists."""


def without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict without the `module.` that DataParallel puts before every name."""
    if state and all(key.startswith("module.") for key in state):
        return {key.removeprefix("module."): value for key, value in state.items()}
    return dict(state)


def load_official(network: nn.Module, state: Mapping[str, Tensor], *, where: object = "") -> None:
    """Copy a published state dict into `network`, strictly; only `num_batches_tracked` may be absent.

    `where` names the file in errors. Raises MismatchError that lists missing, unexpected and misshapen tensors by name.
    """
    state = without_prefix(state)
    check_fit(network, state, where=where)
    network.load_state_dict(state, strict=False)


def check_fit(network: nn.Module, state: Mapping[str, Tensor], *, where: object = "") -> None:
    """Raise MismatchError, with names, unless `state` has exactly the tensors of `network`; only `num_batches_tracked` may be absent."""
    ours = network.state_dict()
    missing = [key for key in ours if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in ours]
    shapes = [
        f"{key} {_shape(state[key])}, expected {_shape(ours[key])}" for key in ours if key in state and state[key].shape != ours[key].shape
    ]
    problems = [
        f"{len(names)} {kind}: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("with another shape", shapes))
        if names
    ]
    if problems:
        raise MismatchError(
            f"these weights do not fit the network ({'; '.join(problems)})",
            where=where,
            hint="check the variant, the stage and the widths (gf_dim, df_dim, residual_blocks, text_dim) of the configuration",
        )


def infer_config(generator: Mapping[str, Tensor], discriminator: Mapping[str, Tensor] | None = None, *, where: object = "") -> StackGANv1:
    """The configuration that published generator weights (and, for `df_dim`, discriminator weights) belong to, inferred from their shapes.

    Raises MismatchError when they are not from the PyTorch release of StackGAN-v1.
    """
    state = without_prefix(generator)
    stage = 2 if any(key.startswith("STAGE1_G.") for key in state) else 1
    first = "STAGE1_G." if stage == 2 else ""
    try:
        text_weight, fc_weight = state[f"{first}ca_net.fc.weight"], state[f"{first}fc.0.weight"]
        condition_dim, text_dim = text_weight.shape[0] // 2, text_weight.shape[1]
        fc_units, fc_inputs = fc_weight.shape
        stage1_resolution = 4 * 2 ** count(state, rf"{first}upsample\d+\.1\.weight")
        values = {
            "text_dim": text_dim,
            "condition_dim": condition_dim,
            "z_dim": fc_inputs - condition_dim,
            "gf_dim": fc_units // (16 * 8),
            "resolution": stage1_resolution,
        }
        if stage == 2:
            values["stage1_resolution"] = stage1_resolution
            values["resolution"] = stage1_resolution // 4 * 2 ** count(state, r"upsample\d+\.1\.weight")
            values["residual_blocks"] = count(state, r"residual\.\d+\.block\.0\.weight")
            gf_dim = state["encoder.0.weight"].shape[0]
            if gf_dim != values["gf_dim"]:
                values |= {"gf_dim": gf_dim, "stage1_gf_dim": values["gf_dim"]}
        if discriminator is not None:
            values["df_dim"] = without_prefix(discriminator)["encode_img.0.weight"].shape[0]
        return StackGANv1.model_validate({"variant": "pytorch", "stage": stage, **values})
    except (KeyError, ValueError) as error:
        raise MismatchError(
            f"not the weights of a StackGAN-v1 generator from the PyTorch release ({_reason(error)})",
            where=where,
            hint="give the state dict of the generator, for example netG_epoch_90.pth",
        ) from None


def count(state: Mapping[str, Tensor], pattern: str) -> int:
    """The number of names that fully match `pattern`."""
    return sum(re.fullmatch(pattern, key) is not None for key in state)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _reason(error: Exception) -> str:
    return f"no tensor {error.args[0]!r}" if isinstance(error, KeyError) else "its sizes match no configuration"
