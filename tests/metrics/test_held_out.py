"""Scores at the end of a run, with networks whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stackgan_cli.config.presets import load_config
from stackgan_cli.data.cache import Cache
from stackgan_cli.data.labels import read_labels
from stackgan_cli.data.pixels import reduce_images
from stackgan_cli.metrics.held_out import Trained, final_score
from stackgan_cli.workspace import Workspace


class Known(nn.Module):
    """A classifier with given logits (N, K), which records the images it receives."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits, self.images = logits, torch.empty(0, 3, 32, 32)

    def forward(self, images: Tensor) -> Tensor:
        start = len(self.images)
        self.images = torch.cat([self.images, images])
        return self.logits[start : start + len(images)]


def test_accuracy_counts_held_out_images_that_get_their_label(workspace: Workspace) -> None:
    cache = Cache.open(workspace.cache_path("demo"))
    labels = read_labels(cache, "background", "train")
    right = labels.ids[labels.held_out]
    wrong = len(right) // 3
    found = right.copy()
    found[:wrong] = (found[:wrong] + 1) % len(labels.names)
    network = Known(nn.functional.one_hot(torch.from_numpy(found), len(labels.names)).float())
    config = load_config("tiny-classifier", ["model.resolution=32", "data.whole=true"])
    trained = Trained(config, {"classifier": network.train()}, cache, torch.device("cpu"), labels)
    line = final_score("accuracy", trained)
    assert list(line) == ["metric", "split", "held_out", "classes", "accuracy"] and line["metric"] == "accuracy"
    assert line["accuracy"] == pytest.approx(1 - wrong / len(right)) and line["held_out"] == len(right)
    assert not network.training
    pixels = reduce_images(cache.images[labels.held_out], 32).transpose(0, 3, 1, 2)
    assert np.allclose((network.images.numpy() + 1) * 127.5, pixels, atol=1e-3), "whole images, in the order of the labels"

    assert final_score("accuracy", replace(trained, labels=replace(labels, held_out=np.array([], int)))) == {}
    assert final_score("accuracy", replace(trained, labels=None)) == {}
