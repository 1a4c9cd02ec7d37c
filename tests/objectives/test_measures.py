"""Training of the classifier and the similarity: losses and scores against closed forms and loops, and which parameters change."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stackgan_cli.config.archs import Classifier as ClassifierConfig
from stackgan_cli.config.archs import VSSimilarity as VSSimilarityConfig
from stackgan_cli.encoders.similarity import build_networks, build_similarity
from stackgan_cli.models.classifier import build_classifier
from stackgan_cli.objectives.base import Batch
from stackgan_cli.objectives.classification import ClassificationDraw, ClassificationObjective
from stackgan_cli.objectives.similarity import SimilarityObjective, ranking_scores, similarity_loss
from stackgan_cli.runtime import Noise

TINY = ClassifierConfig(resolution=32, width=4, label="body", num_classes=3)


def objective_of(config: ClassifierConfig) -> ClassificationObjective:
    return ClassificationObjective(config, {"classifier": build_classifier(config)})


def test_cross_entropy_in_closed_form() -> None:
    loss = objective_of(TINY).phase("classifier").loss
    uniform = loss(ClassificationDraw(torch.zeros(4, 7), torch.tensor([0, 3, 6, 6])))
    assert uniform["total"].item() == pytest.approx(math.log(7))
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    found = loss(ClassificationDraw(logits, torch.tensor([0, 0])))
    assert found["total"].item() == pytest.approx((math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2)
    assert found["accuracy"].item() == 0.5


def test_a_classifier_learns_a_batch() -> None:
    torch.manual_seed(0)
    objective = objective_of(TINY)
    (phase,) = objective.phases
    batch = Batch(images={32: torch.rand(12, 3, 32, 32) * 2 - 1}, labels=torch.arange(12) % 3)
    optimizer = torch.optim.Adam(phase.params, 1e-2)
    for _ in range(60):
        losses = objective.phase("classifier").loss(objective.draw(batch, Noise(0)))
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
    assert losses["total"].item() < 0.05 and losses["accuracy"].item() == 1


@pytest.mark.parametrize("resolution", [32, 64, 128, 256])
def test_a_classifier_takes_images_of_any_side(resolution: int) -> None:
    config = TINY.model_copy(update={"resolution": resolution, "width": 8})
    network = build_classifier(config).eval()
    own, other = torch.rand(2, 3, resolution, resolution), torch.rand(2, 3, 96, 80)
    assert network.features(own).shape == (2, network.num_features)
    assert network(own).shape == network(other).shape == (2, 3)
    torch.testing.assert_close(network(own), network.logits(network.features(own)))
    resized = F.interpolate(other, (resolution, resolution), mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(network(other), network(resized))


def direct_similarity_loss(v: torch.Tensor, t: torch.Tensor, classes: list[int], margin: float) -> float:
    total = 0.0
    for i, j in itertools.permutations(range(len(v)), 2):
        if classes[i] != classes[j] or classes[i] < 0:
            own = float(v[i] @ t[i])
            total += max(0.0, margin - own + float(v[i] @ t[j])) + max(0.0, margin - own + float(v[j] @ t[i]))
    return total


@pytest.mark.parametrize("classes", [[0, 1, 2, 3, 4, 5], [0, 1, 0, 2, 2, 2], [-1, -1, -1, -1, -1, -1], [3, 3, 3, 3, 3, 3]])
def test_similarity_loss_is_the_direct_loop(classes: list[int]) -> None:
    """Negatives are the items of other classes; without classes, all other items."""
    torch.manual_seed(0)
    v, t = F.normalize(torch.randn(2, 6, 5), dim=2)
    found = similarity_loss(v, t, torch.tensor(classes), margin=0.3)
    assert found["total"].item() == pytest.approx(direct_similarity_loss(v, t, classes, 0.3), rel=1e-5, abs=1e-6)
    assert found["matched"].item() == pytest.approx(float((v * t).sum(1).mean()), rel=1e-5)


def test_similarity_loss_in_closed_form() -> None:
    """Orthogonal pairs: the loss is zero. All vectors equal: every hinge is the margin."""
    eye = torch.eye(5)
    assert similarity_loss(eye, eye, torch.arange(5))["total"].item() == 0
    ones = torch.ones(5, 4) / 2
    assert similarity_loss(ones, ones, torch.arange(5), margin=0.2)["total"].item() == pytest.approx(2 * 5 * 4 * 0.2)


@pytest.mark.parametrize("candidates", [2, 4, 100])
def test_ranking_scores_are_the_means_over_all_samples(candidates: int) -> None:
    """`top1` against enumerating every set of candidates."""
    rng = np.random.default_rng(0)
    classes = np.array([0, 0, 1, 2, 2, 3, 4, 5])
    v, t = rng.normal(size=(2, 8, 3))
    own, rates, mismatched = [], [], []
    for i in range(8):
        others = [j for j in range(8) if classes[j] != classes[i]]
        draws = list(itertools.combinations(others, min(candidates - 1, len(others))))
        rates.append(np.mean([all(v[i] @ t[j] < v[i] @ t[i] for j in draw) for draw in draws]))
        own.append(v[i] @ t[i])
        mismatched += [v[i] @ t[j] for j in others]
    found = ranking_scores(v, t, classes, candidates)
    assert found == pytest.approx({"matched": np.mean(own), "mismatched": np.mean(mismatched), "top1": np.mean(rates)})


def test_ranking_scores_of_perfect_and_of_constant_vectors() -> None:
    eye, classes = np.eye(120), np.arange(120)
    assert ranking_scores(eye, eye, classes) == {"matched": 1.0, "mismatched": 0.0, "top1": 1.0}
    assert ranking_scores(np.ones((120, 2)), np.ones((120, 2)), classes)["top1"] == 0


def test_only_the_maps_of_a_similarity_learn() -> None:
    torch.manual_seed(0)
    config = VSSimilarityConfig(resolution=32, text_dim=6, joint_dim=8, extractor=TINY)
    objective = SimilarityObjective(config, build_networks(config))
    network = objective.network.train()
    (phase,) = objective.phases
    assert len(phase.params) == 4 and not network.extractor.training
    before = {key: value.clone() for key, value in network.extractor.state_dict().items()}
    text = torch.randn(8, 6)
    batch = Batch(images={32: torch.rand(8, 3, 32, 32) * 2 - 1}, text=text, class_ids=torch.arange(8))
    optimizer, losses = torch.optim.Adam(phase.params, 1e-2), []
    for _ in range(80):
        loss = objective.phase("vs").loss(objective.draw(batch, Noise(0)))["total"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert all(torch.equal(value, before[key]) for key, value in network.extractor.state_dict().items())
    assert all(param.grad is None for param in network.extractor.parameters())
    images, texts = network.image_vectors(batch.images[32]), network.text_vectors(text)
    assert images.shape == texts.shape == (8, 8)
    torch.testing.assert_close(images.norm(dim=1), torch.ones(8))
    torch.testing.assert_close(network(batch.images[32], text), F.cosine_similarity(images, texts))


def test_the_maps_begin_as_released() -> None:
    """N(0, 6 / (in + out)) for weights, zero for biases."""
    network = build_similarity(VSSimilarityConfig(text_dim=1024, extractor=TINY))
    assert network.linear_sent.weight.std().item() == pytest.approx(math.sqrt(6 / (1024 + 512)), rel=0.02)
    assert not network.linear_sent.bias.any() and not network.linear_img.bias.any()
