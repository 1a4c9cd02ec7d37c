"""StackGAN-v2 and HDGAN against the published networks: outputs, losses and gradient norms, through our importer and our objective."""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import oracles
import pytest
import torch
from oracles import KEYS, CaseNoise, strided
from torch import Tensor, nn

from stackgan_cli import registry
from stackgan_cli.__main__ import main
from stackgan_cli.config.archs import HDGAN, CharCNNRNN, StackedConfig, StackGANv2
from stackgan_cli.encoders.text_encoder import TextEncoder
from stackgan_cli.interop.state_dicts import load_official
from stackgan_cli.models.convolutions import arithmetic
from stackgan_cli.models.interface import Generator
from stackgan_cli.objectives.base import Batch
from stackgan_cli.objectives.stacked import StackedObjective
from stackgan_cli.sampling import Sampler, render

CASES = [*oracles.cases("stackgan-v2"), *oracles.cases("hdgan")]


def config_of(case: dict[str, Any]) -> StackedConfig:
    sizes = {"text_dim": case["text_dim"], "condition_dim": case["embedding_dim"], "z_dim": case["z_dim"]}
    if case["arch"].startswith("hdgan"):
        return HDGAN(width=case["hid_dim"], residual_blocks=case["residual_blocks"], **sizes)
    branches = (64, 128, 256, 512)[: case["branches"]]
    game = {} if case["conditional"] else {"condition": "none", "wrong_pairs": "none", "color_weight": case["color"]}
    return StackGANv2(branches=branches, gf_dim=case["ngf"], df_dim=case["ndf"], **game, **sizes)


def published_states(case: dict[str, Any], networks: dict[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    """The weights of every network of ours; HDGAN's published discriminator holds those of all scales."""
    states = {"generator": oracles.state_dict(case["G"], case["seed"])}
    for i, name in enumerate(name for name in networks if name != "generator"):
        whole = oracles.state_dict(case["D"], case["seed"] + 1) if "D" in case else oracles.state_dict(case[f"D{i}"], case["seed"] + 1 + i)
        states[name] = {key: value for key, value in whole.items() if key in networks[name].state_dict()} if "D" in case else whole
    return states


def objective_of(case: dict[str, Any]) -> StackedObjective:
    config = config_of(case)
    with torch.device("meta"):  # initial weights take longer than the test
        networks = registry.find(config.arch).build(config)  # type: ignore[attr-defined]
    networks = {name: network.to_empty(device="cpu") for name, network in networks.items()}
    states = published_states(case, networks)
    for name, network in networks.items():
        load_official(network, states[name])
    if "D" in case:
        assert set().union(*(states[name] for name in networks if name != "generator")) == set(case["D"])
    return StackedObjective(config, networks)


def inputs(case: dict[str, Any], objective: StackedObjective) -> Batch:
    size, seed = case["batch"], case["seed"]

    def images(kind: str) -> dict[int, Tensor]:
        return {side: torch.tanh(oracles.draw(f"{kind}{side}", (size, 3, side, side), seed).double()) for side in objective.config.sides}

    text = oracles.draw("text", (size, case["text_dim"]), seed).double() if objective.config.conditioning == "text" else None
    return Batch(images=images("real"), wrong_images=images("wrong"), text=text)


def in_float64(case: dict[str, Any], seed: int) -> tuple[StackedObjective, Batch]:
    """The networks of a case and their batch in float64, every weight changed by a float32 rounding unless `seed` is 0."""
    objective = objective_of(case)
    for network in objective.modules.values():
        oracles.in_double_precision(network, seed)
    return objective, inputs(case, objective)


@cache
def numbers(path: Path, seed: int) -> oracles.Numbers:
    """All numbers that a case compares."""
    case = oracles.describe(path)
    objective, batch = in_float64(case, seed)
    with arithmetic("plain"):
        outputs = evaluated(case, objective, batch)
        for network in objective.modules.values():
            network.train()
        draw = objective.draw(batch, CaseNoise(case, objective.generator))
        outputs |= {f"train_fake_{side}": strided(images).detach() for side, images in draw.output.by_side.items()}
        letters = {"generator": "G"} | {
            f"discriminator{d}": "D" if "D" in case else f"D{i}" for i, d in enumerate(objective.discriminators)
        }
        parts, norms = oracles.losses_and_norms(objective, draw, letters)
    of_generator = parts.pop("g")
    losses = {f"D{i}": loss["total"] for i, loss in enumerate(parts.values())}
    losses |= {"G": of_generator["total"], "adversarial": of_generator["adversarial"]}
    for name, weight in (("kl", objective.config.kl_weight), ("color", objective.config.color_weight)):
        if name in of_generator:
            losses[name] = weight * of_generator[name]
    return {"outputs": outputs, "losses": losses, "norms": norms}


@torch.no_grad()
def evaluated(case: dict[str, Any], objective: StackedObjective, batch: Batch) -> dict[str, Tensor]:
    """The outputs in evaluation mode, by published name."""
    for network in objective.modules.values():
        network.eval()
    draw, hdgan = objective.draw(batch, CaseNoise(case, objective.generator)), "D" in case
    output = draw.output
    outputs = {f"eval_fake_{side}": strided(images) for side, images in output.by_side.items()}
    if output.mu is not None and output.logvar is not None:
        outputs["mu"] = output.mu
        outputs["logsigma" if hdgan else "logvar"] = output.logvar / 2 if hdgan else output.logvar
    for i, (side, d) in enumerate(objective.discriminators.items()):
        features = d.features(batch.images[int(side)])
        alone = d.unconditional_logits(features)
        assert alone is not None
        outputs[f"eval_D{side}_local" if hdgan else f"eval_D{i}_uncond_logit"] = alone.flatten()
        if draw.condition is not None:
            pair = d.condition_logits(features, draw.condition)
            outputs[f"eval_D{side}_pair" if hdgan else f"eval_D{i}_cond_logit"] = pair.flatten()
    return outputs


@pytest.mark.parametrize("path", CASES)
def test_case(path: Path) -> None:
    oracles.assert_published(partial(numbers, path), oracles.published_numbers(path))


@pytest.mark.parametrize("path", CASES)
def test_short_arithmetic_is_the_same_function(path: Path) -> None:
    """In evaluation mode; gradients of the short forms are compared layer by layer in tests/models."""
    case = oracles.describe(path)
    objective, batch = in_float64(case, seed=0)
    with arithmetic("fast"):
        oracles.assert_same_function({"outputs": evaluated(case, objective, batch)}, numbers(path, 0))


@pytest.mark.parametrize("path", CASES)
def test_sampling_from_the_imported_file(path: Path, tmp_path: Path) -> None:
    """From a `.pth` as published, through `stackgan import` and the sampler, to the published images (in 256 levels)."""
    case, published = oracles.describe(path), oracles.arrays(path)
    torch.save(oracles.state_dict(case["G"], case["seed"]), tmp_path / "netG_1.pth")
    words = ["import", str(tmp_path / "netG_1.pth"), "--output", str(tmp_path / "ours.safetensors")]
    text = None
    if config_of(case).conditioning == "text":
        text = oracles.draw("text", (case["batch"], case["text_dim"]), case["seed"]).double()
        encoder = CharCNNRNN(text_dim=case["text_dim"], conv_dims=(8, 8), rnn_dim=8)
        TextEncoder.from_state(encoder, registry.find("char-cnn-rnn").build(encoder)["text_encoder"].state_dict()).save(
            tmp_path / "encoder.safetensors"
        )
        words += ["--text-encoder", str(tmp_path / "encoder.safetensors")]
    assert main(words) == 0
    sampler = Sampler.load(tmp_path / "ours.safetensors")
    sampler.generator.double()
    noise = sampler.generator.draw_noise(case["batch"], CaseNoise(case, sampler.generator))
    drawn = render(sampler.generator, text, range(case["batch"]), device="cpu", noise=noise)
    for side, images in drawn.items():
        levels = (published[f"eval_fake_{side}"] + 1) * 127.5
        ours = strided(torch.from_numpy(images).permute(0, 3, 1, 2)).float()
        # Half a level for rounding to 256 levels; the rest, 4e-4 of the range of an image, for the float32 of the published run.
        assert (ours - levels).abs().max() <= 0.55, f"{side} px"


# -- full size ----------------------------------------------------------------------------------------------------------------

COUNTS = {
    "birds": {"generator": 21_239_696, "discriminator64": 5_723_906, "discriminator128": 18_834_178, "discriminator256": 71_269_122},
    "uncond": {"generator": 16_472_208, "discriminator64": 2_765_569, "discriminator128": 15_875_841, "discriminator256": 68_310_785},
}


def published_shapes(name: str) -> dict[str, tuple[int, ...]]:
    path = KEYS / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no {path} (set STACKGAN_SHARED)")
    found = json.loads(path.read_text())
    entries = found.items() if isinstance(found, dict) else ((entry["key"], entry["shape"]) for entry in found)
    return {key.removeprefix("module."): tuple(value["shape"] if isinstance(value, dict) else value) for key, value in entries}


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def count(network: nn.Module) -> int:
    return sum(param.numel() for param in network.parameters())


@pytest.mark.parametrize("kind", ["birds", "uncond"])
def test_published_v2_state_dicts_fit_at_full_size(kind: str) -> None:
    config = StackGANv2() if kind == "birds" else StackGANv2(condition="none", wrong_pairs="none", color_weight=50)
    with torch.device("meta"):
        networks = registry.find("stackgan-v2").build(config)
    assert {name: count(network) for name, network in networks.items()} == COUNTS[kind]
    for name, letter in zip(networks, ("G", "D0_64", "D1_128", "D2_256"), strict=True):
        assert shapes_of(networks[name]) == published_shapes(f"keys_v2_{letter}_{kind}_3stages")


def test_published_hdgan_state_dicts_fit_at_full_size() -> None:
    with torch.device("meta"):
        networks, continued = (registry.find("hdgan").build(HDGAN(stage=stage)) for stage in (1, 2))
    generator, *discriminators = networks.values()
    assert isinstance(generator, Generator)
    assert shapes_of(generator) == published_shapes("keys_hdgan_G256") and count(generator) == 41_378_496
    together = {key: shape for network in discriminators for key, shape in shapes_of(network).items()}
    assert together == published_shapes("keys_hdgan_D256") and sum(map(count, discriminators)) == 25_693_606
    assert shapes_of(continued["generator"]) == published_shapes("keys_hdgan_G512")
    assert count(continued["generator"]) - count(generator) == 167_328
