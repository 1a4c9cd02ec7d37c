"""Every preset can be built, and a step costs no more than in the published codes."""

from __future__ import annotations

import pytest

from stackgan_cli.config.presets import load_config, preset_names
from stackgan_cli.training.cost import estimate


def distinct_models() -> list[str]:
    """The first preset of each model configuration: presets for several datasets share one."""
    seen: dict[str, str] = {}
    for name in preset_names():
        seen.setdefault(load_config(name).model.model_dump_json(), name)
    return list(seen.values())


@pytest.mark.parametrize("preset", distinct_models())
def test_a_step_of_every_preset_can_be_counted(preset: str) -> None:
    config = load_config(preset, ["train.batch_size=2", "train.accumulate=1"])
    found = estimate(config)
    assert all(count > 0 for count in found.parameters.values())
    assert found.flops > 1e6 and found.memory > 4 * 4 * sum(found.parameters.values())


@pytest.mark.parametrize(("preset", "published"), [("v1-stage1-pytorch", 10.2e9), ("v1-stage2-pytorch", 128.6e9)])
def test_a_step_costs_less_than_the_released_one(preset: str, published: float) -> None:
    """The released trainers use `published` FLOPs per image; the same losses cost less here, but not implausibly little."""
    config = load_config(preset, ["train.batch_size=8"])
    assert 0.5 * published < estimate(config).flops / 8 < 0.95 * published


def test_accumulation_costs_the_same_and_keeps_less() -> None:
    """About the same: kernels are folded once per part, and small parts use other short forms."""
    whole, parts = (estimate(load_config("tiny-stage1", ["train.batch_size=8", f"train.accumulate={parts}"])) for parts in (1, 4))
    assert whole.flops == pytest.approx(parts.flops, rel=0.25) and parts.memory < whole.memory
