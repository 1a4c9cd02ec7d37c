"""Headers of weights files that are incomplete, or of another version, each give an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stackgan_cli.config.presets import load_config
from stackgan_cli.errors import MismatchError
from stackgan_cli.runs import WEIGHTS_FORMAT, Weights


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": "another"}, f"not a {WEIGHTS_FORMAT} file"),
        ({"step": None, "text_encoder": None}, "its header lacks step, text_encoder"),
        ({"config": {"model": {"arch": "stackgan-v1"}, "train": {"steps": 1, "new_key": 2}}}, "not valid in this version (train.new_key"),
    ],
)
def test_a_header_that_cannot_be_used(tmp_path: Path, change: dict[str, object], expected: str) -> None:
    whole = {"format": WEIGHTS_FORMAT, "config": load_config("tiny-stage1").model_dump(mode="json"), "step": 3, "text_encoder": None}

    def opened(header: dict[str, object]) -> Weights:
        path = tmp_path / "weights.safetensors"
        save_file({"generator.weight": torch.zeros(1)}, path, {"stackgan": json.dumps(header)})
        return Weights.open(path)

    assert opened(whole).step == 3
    changed = {key: value for key, value in (whole | change).items() if value is not None or key not in change}
    with pytest.raises(MismatchError) as caught:
        opened(changed)
    assert expected in str(caught.value)
