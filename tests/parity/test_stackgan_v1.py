"""StackGAN-v1 against the published PyTorch networks: outputs, losses and gradient norms, through our importer and our objective."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import oracles
import pytest
import torch
from oracles import KEYS, CaseNoise, assert_defined_norms, strided
from torch import Tensor

from stackgan_cli.config.archs import StackGANv1
from stackgan_cli.interop.state_dicts import infer_config, load_official
from stackgan_cli.models.convolutions import Arithmetic, arithmetic
from stackgan_cli.models.interface import Generator
from stackgan_cli.models.stackgan_v1 import Discriminator, build_networks
from stackgan_cli.objectives.base import Batch
from stackgan_cli.objectives.matching import MatchingDraw, MatchingObjective
from stackgan_cli.registry import ARCHS


@pytest.fixture(autouse=True)
def threads_of_the_oracles() -> Iterator[None]:
    """With as many threads as the oracles were computed with, oneDNN adds up in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


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
    real = torch.tanh(oracles.draw(f"real{side}", (size, 3, side, side), case["seed"]))
    return Batch(images={side: real}, text=oracles.draw("text", (size, config.text_dim), case["seed"]))


@pytest.mark.parametrize("mode", ["plain", "fast"])
@pytest.mark.parametrize("name", oracles.cases(arch="stackgan-v1"))
def test_case(name: str, mode: Arithmetic) -> None:
    case, published = oracles.load(name)
    config, generator, discriminator = networks(case)
    assert (config.text_dim, config.condition_dim, config.z_dim) == (case["text_dim"], case["condition_dim"], case["z_dim"])
    assert (config.gf_dim, config.df_dim) == (case["gf"], case["df"])
    objective = MatchingObjective(config, {"generator": generator, "discriminator": discriminator})
    batch, side = inputs(case, config), config.resolution

    with arithmetic(mode):
        for network in (generator, discriminator):
            network.eval()
        with torch.no_grad():
            draw = objective.draw(batch, CaseNoise(case, generator))
            features = discriminator.features(batch.images[side])
            assert draw.condition is not None and draw.output.mu is not None and draw.output.logvar is not None
            oracles.assert_close(draw.output.mu, published["mu"], what="mu")
            oracles.assert_close(draw.output.logvar, published["logvar"], what="logvar")
            oracles.assert_close(strided(draw.output.by_side[side]), published[f"eval_fake_{side}"], what="eval fake")
            if config.stage == 2:
                oracles.assert_close(strided(draw.output.by_side[config.stage1_resolution]), published["eval_stage1"], what="eval stage 1")
            logits = discriminator.condition_logits(features, draw.condition)
            oracles.assert_close(logits, published["eval_D_cond_logit"], what="conditional logits")
            unconditional = discriminator.unconditional_logits(features)
            assert (unconditional is None) == ("eval_D_uncond_logit" not in published)
            if unconditional is not None:
                oracles.assert_close(unconditional, published["eval_D_uncond_logit"], what="unconditional logits")

        generator.train()
        discriminator.train()
        draw = objective.draw(batch, CaseNoise(case, generator))
        oracles.assert_close(strided(draw.output.by_side[side]), published[f"train_fake_{side}"], what="train fake")
        losses, norms = losses_and_norms(objective, draw)
    for letter in "DG":
        assert losses[letter] == pytest.approx(case[f"loss_{letter}"], rel=1e-4)
        published_norms = case[f"gradnorm_{letter}"]
        assert_defined_norms(norms[letter], published_norms, partial(largest_movement, name, published_norms))
    assert losses["adversarial"] == pytest.approx(case["loss_G_parts"]["adv"], rel=1e-4)
    assert config.kl_weight * losses["kl"] == pytest.approx(case["loss_G_parts"]["kl"], rel=1e-4)


def losses_and_norms(objective: MatchingObjective, draw: MatchingDraw) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Both turns of a step as the loop makes them: only the weights of the turn's phase have gradients."""
    losses: dict[str, float] = {}
    norms: dict[str, dict[str, float]] = {}
    players = {phase.name: phase.params for phase in objective.phases}
    for letter, network in (("D", objective.discriminator), ("G", objective.generator)):
        for name, params in players.items():
            for param in params:
                param.grad = None
                param.requires_grad_(name == letter.lower())
        parts = objective.phase(letter.lower()).loss(draw)
        parts["total"].backward()
        losses |= {name: value.item() for name, value in parts.items()} | {letter: parts["total"].item()}
        norms[letter] = {f"{letter}.{key}": p.grad.norm().item() for key, p in network.named_parameters() if p.grad is not None}
    return losses, norms


def largest_movement(name: str, published: dict[str, float]) -> float:
    """By which part a gradient norm of a case moves at most, in float64, when its weights are changed by a rounding error of float32."""
    exact, *moved = (in_double_precision(name, "plain", seed) for seed in range(3))
    return max(abs(one[key] - exact[key]) / exact[key] for one in moved for key, norm in published.items() if norm > 1e-4)


@lru_cache
def in_double_precision(name: str, mode: Arithmetic, seed: int = 0) -> dict[str, float]:
    """All losses and gradient norms of a case in float64, its weights changed by a float32 rounding unless `seed` is 0."""
    torch.set_num_threads(1)
    case = oracles.describe(name)
    config, generator, discriminator = networks(case)
    source = torch.Generator().manual_seed(seed)
    for network in (generator.double(), discriminator.double()):
        for param in network.parameters():
            if seed:
                param.data *= 1 + oracles.ULP * torch.randn(param.shape, dtype=param.dtype, generator=source)
    objective, batch = MatchingObjective(config, {"generator": generator, "discriminator": discriminator}), inputs(case, config)
    assert batch.text is not None
    batch = Batch(images={side: image.double() for side, image in batch.images.items()}, text=batch.text.double())
    with arithmetic(mode):
        losses, norms = losses_and_norms(objective, objective.draw(batch, CaseNoise(case, generator)))
    return losses | norms["D"] | norms["G"]


@pytest.mark.parametrize("name", oracles.cases(arch="stackgan-v1"))
def test_short_arithmetic_is_the_same_function(name: str) -> None:
    """In float64, where rounding is negligible, every norm agrees."""
    # Gradients that a following BatchNorm makes zero are noise in both.
    assert in_double_precision(name, "fast") == pytest.approx(in_double_precision(name, "plain"), rel=1e-6, abs=1e-9)


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
        pytest.skip(f"no {path} (set STACKGAN_ORACLES)")
    return {entry["key"]: torch.empty(entry["shape"], device="meta") for entry in json.loads(path.read_text())}


BUILT = {spec.name for spec in ARCHS} | {"char-cnn-rnn"}


@pytest.mark.parametrize("name", oracles.cases())
def test_architecture_of_case_is_built(name: str) -> None:
    arch = oracles.describe(name)["arch"]
    if not any(arch.startswith(built) for built in BUILT):
        pytest.skip(f"{name}: the architecture {arch!r} is not built yet")
