"""StackGAN-v1 against the published PyTorch networks: outputs, losses and gradient norms, through our importer and our objective."""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import oracles
import pytest
import torch
from oracles import KEYS, CaseNoise, strided
from torch import Tensor

from stackgan_cli.config.archs import StackGANv1
from stackgan_cli.interop.state_dicts import infer_config, load_official
from stackgan_cli.models.convolutions import Arithmetic, arithmetic
from stackgan_cli.models.interface import Generator
from stackgan_cli.models.stackgan_v1 import Discriminator, build_networks
from stackgan_cli.objectives.base import Batch
from stackgan_cli.objectives.matching import MatchingDraw, MatchingObjective
from stackgan_cli.registry import ARCHS

CASES = oracles.cases("stackgan-v1")


def networks(case: dict[str, Any]) -> tuple[StackGANv1, Generator, Discriminator]:
    """The networks of a case with its weights, found from the shapes alone."""
    weights_g = oracles.state_dict(case["G"], case["seed"])
    weights_d = oracles.state_dict(case["D"], case["seed"] + 1)
    config = infer_config(weights_g, weights_d)
    built = build_networks(config)
    generator, discriminator = built["generator"], built["discriminator"]
    assert isinstance(generator, Generator) and isinstance(discriminator, Discriminator)
    load_official(generator, weights_g)
    load_official(discriminator, weights_d)
    return config, generator, discriminator


def inputs(case: dict[str, Any], config: StackGANv1) -> Batch:
    size, side = case["batch"], config.resolution
    real = torch.tanh(oracles.draw(f"real{side}", (size, 3, side, side), case["seed"]).double())
    return Batch(images={side: real}, text=oracles.draw("text", (size, config.text_dim), case["seed"]).double())


@cache
def numbers(path: Path, mode: Arithmetic, seed: int = 0) -> oracles.Numbers:
    """Our results for a case in float64; the weights are changed by a float32 rounding unless `seed` is 0."""
    case = oracles.describe(path)
    config, generator, discriminator = networks(case)
    for network in (generator, discriminator):
        oracles.in_double_precision(network, seed)
    objective = MatchingObjective(config, {"generator": generator, "discriminator": discriminator})
    batch, side = inputs(case, config), config.resolution
    with arithmetic(mode):
        for network in objective.modules.values():
            network.eval()
        with torch.no_grad():
            draw = objective.draw(batch, CaseNoise(case, generator))
            outputs = evaluated(discriminator, draw, batch.images[side], config)
        for network in objective.modules.values():
            network.train()
        draw = objective.draw(batch, CaseNoise(case, generator))
        outputs[f"train_fake_{side}"] = strided(draw.output.by_side[side]).detach()
        parts, norms = oracles.losses_and_norms(objective, draw, {"generator": "G", "discriminator": "D"})
    losses = {"D": parts["d"]["total"], "G": parts["g"]["total"], "adversarial": parts["g"]["adversarial"]}
    losses["kl"] = config.kl_weight * parts["g"]["kl"]
    return {"outputs": outputs, "losses": losses, "norms": norms}


def evaluated(discriminator: Discriminator, draw: MatchingDraw, real: Tensor, config: StackGANv1) -> dict[str, Tensor]:
    """The outputs of networks in evaluation mode, by published name."""
    output, features = draw.output, discriminator.features(real)
    assert draw.condition is not None and output.mu is not None and output.logvar is not None
    outputs = {"mu": output.mu, "logvar": output.logvar}
    outputs[f"eval_fake_{config.resolution}"] = strided(output.by_side[config.resolution])
    if config.stage == 2:
        outputs["eval_stage1"] = strided(output.by_side[config.stage1_resolution])
    outputs["eval_D_cond_logit"] = discriminator.condition_logits(features, draw.condition).flatten()
    unconditional = discriminator.unconditional_logits(features)
    if unconditional is not None:
        outputs["eval_D_uncond_logit"] = unconditional.flatten()
    return outputs


@pytest.mark.parametrize("path", CASES)
def test_sizes_are_found_from_the_shapes(path: Path) -> None:
    case = oracles.describe(path)
    config = networks(case)[0]
    assert (config.text_dim, config.condition_dim, config.z_dim) == (case["text_dim"], case["condition_dim"], case["z_dim"])
    assert (config.gf_dim, config.df_dim) == (case["gf"], case["df"])


@pytest.mark.parametrize("path", CASES)
def test_case(path: Path) -> None:
    oracles.assert_published(partial(numbers, path, "plain"), oracles.published_numbers(path))


@pytest.mark.parametrize("path", CASES)
def test_short_arithmetic_is_the_same_function(path: Path) -> None:
    oracles.assert_same_function(numbers(path, "fast"), numbers(path, "plain"))


@pytest.mark.filterwarnings("ignore:.*num_batches_tracked:UserWarning")
@pytest.mark.parametrize(("sizes", "gf", "df", "blocks"), [("paperdims_gf128_df64_r4", 128, 64, 4), ("coco_gf192_df96_r2", 192, 96, 2)])
@pytest.mark.parametrize("stage", [1, 2])
def test_published_state_dicts_fit_at_full_size(stage: int, sizes: str, gf: int, df: int, blocks: int) -> None:
    config = StackGANv1(variant="pytorch", stage=stage, resolution=64 if stage == 1 else 256, gf_dim=gf, df_dim=df, residual_blocks=blocks)
    states = {}
    for letter, network in (("G", "generator"), ("D", "discriminator")):
        states[network] = published_state(f"keys_v1pt_STAGE{stage}_{letter}_{sizes}.json")
        with torch.device("meta"):
            built = build_networks(config)[network]
        assert {key: value.shape for key, value in built.state_dict().items()} == {k: v.shape for k, v in states[network].items()}
        old = {f"module.{key}": value for key, value in states[network].items() if not key.endswith("num_batches_tracked")}
        load_official(built, old)
    inferred = infer_config(states["generator"], states["discriminator"])
    assert inferred == config if stage == 2 else inferred.model_copy(update={"residual_blocks": blocks}) == config


def published_state(name: str) -> dict[str, Tensor]:
    path = Path(KEYS / name)
    if not path.exists():
        pytest.skip(f"no {path} (set STACKGAN_SHARED)")
    return {entry["key"]: torch.empty(entry["shape"], device="meta") for entry in json.loads(path.read_text())}


BUILT = {spec.name for spec in ARCHS} | {"char-cnn-rnn"}


@pytest.mark.parametrize("path", oracles.cases())
def test_architecture_of_case_is_built(path: Path) -> None:
    arch = oracles.describe(path)["arch"]
    if not any(arch.startswith(built) for built in BUILT):
        pytest.skip(f"{path}: the architecture {arch!r} is not built yet")
