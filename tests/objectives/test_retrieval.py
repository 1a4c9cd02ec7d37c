"""The structured joint embedding and its scores against loops; the image encoders that it is trained with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stackgan_cli.config.archs import CharCNNRNN
from stackgan_cli.encoders.char_cnn_rnn import build_networks
from stackgan_cli.errors import UserError
from stackgan_cli.models.image_encoders import FrozenGoogLeNet
from stackgan_cli.objectives.base import Batch
from stackgan_cli.objectives.retrieval import RetrievalObjective, joint_embedding_loss, zero_shot
from stackgan_cli.runtime import Noise

TINY = {"variant": "cvpr", "text_dim": 12, "conv_dims": (6, 8), "rnn_dim": 8, "image_resolution": 32, "image_width": 4}


def direct_loss(v: torch.Tensor, t: torch.Tensor, margin: float) -> tuple[float, float]:
    """The released double loops."""
    size, first, second = len(v), 0.0, 0.0
    for i in range(size):
        for j in range(size):
            if i != j:
                own = float(v[i] @ t[i])
                first += max(0.0, float(v[i] @ t[j]) - own + margin)
                second += max(0.0, float(v[j] @ t[i]) - own + margin)
    return first / size**2, second / size**2


@pytest.mark.parametrize("margin", [1.0, 0.3])
def test_loss_is_the_published_double_loop(margin: float) -> None:
    torch.manual_seed(0)
    v, t = torch.randn(2, 7, 5, dtype=torch.float64).float()
    first, second = direct_loss(v, t, margin)
    losses = joint_embedding_loss(v, t, margin=margin)
    assert losses["image_to_text"].item() == pytest.approx(first, rel=1e-5)
    assert losses["text_to_image"].item() == pytest.approx(second, rel=1e-5)
    assert losses["total"].item() == pytest.approx(first + second, rel=1e-5)
    one_sided = joint_embedding_loss(v, t, margin=margin, symmetric=False)
    assert one_sided["total"].item() == pytest.approx(first, rel=1e-5)


def test_loss_vanishes_when_pairs_are_separated() -> None:
    eye = torch.eye(4) * 2
    assert joint_embedding_loss(eye, eye)["total"].item() == 0
    assert joint_embedding_loss(eye, eye)["top1"].item() == 1


def test_zero_shot_is_the_direct_computation() -> None:
    rng = np.random.default_rng(0)
    classes = np.array([3, 7, 8, 20])
    caption_class, image_class = rng.choice(classes, 60), rng.choice(classes, 30)
    caption_class[:4] = classes
    text, image = rng.normal(size=(60, 6)).astype(np.float32), rng.normal(size=(30, 6)).astype(np.float32)
    prototypes = {c: text[caption_class == c].mean(0) for c in classes}
    right = sum(max(prototypes, key=lambda c: float(x @ prototypes[c])) == y for x, y in zip(image, image_class, strict=True))
    precision = []
    for c in classes:
        ranked = sorted(range(30), key=lambda i: -float(image[i] @ prototypes[c]))[:5]
        precision.append(sum(image_class[i] == c for i in ranked) / 5)
    found = zero_shot(text, image, caption_class, image_class, k=5)
    assert found["top1"] == pytest.approx(right / 30)
    assert found["ap@5"] == pytest.approx(np.mean(precision))


def test_zero_shot_of_perfect_features() -> None:
    labels = np.repeat(np.arange(5), 8)
    features = np.eye(5, dtype=np.float32)[labels]
    assert zero_shot(features, features, labels, labels, k=8) == {"top1": 1.0, "ap@8": 1.0}


def one_batch(size: int = 6) -> Batch:
    torch.manual_seed(1)
    return Batch(
        images={32: torch.rand(size, 3, 32, 32) * 2 - 1},
        characters=torch.randint(0, 71, (size, 201), dtype=torch.uint8),
        rows=torch.arange(size),
    )


def test_both_sides_learn_a_batch() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    objective = RetrievalObjective(config := CharCNNRNN(**TINY), build_networks(config))
    (phase,) = objective.phases
    assert objective.needs.distinct_classes and objective.needs.characters and not objective.needs.text
    optimizer = torch.optim.Adam(phase.params, 5e-3)
    batch, losses = one_batch(), []
    for _ in range(40):
        loss = objective.phase("sje").loss(objective.draw(batch, Noise(0)))["total"]
        optimizer.zero_grad()
        loss.backward()
        assert all(param.grad is not None for param in phase.params)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_stored_features_give_a_view_chosen_by_the_noise(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(9, 4, 12)).astype(np.float32)
    np.save(tmp_path / "features.npy", features)
    config = CharCNNRNN(**TINY, image_encoder="features", image_weights=str(tmp_path / "features.npy"))
    objective = RetrievalObjective(config, build_networks(config))
    assert objective.needs.images == ()
    batch = Batch(characters=one_batch().characters, rows=torch.tensor([8, 0, 3, 3, 5, 1]))
    seen = set()
    for seed in range(40):
        drawn = objective.draw(batch, Noise(seed)).image_features.numpy()
        for row, vector in zip(batch.rows.tolist(), drawn, strict=True):
            (view,) = np.flatnonzero((features[row] == vector).all(1))
            seen.add(int(view))
    assert seen == {0, 1, 2, 3}
    assert all(not key.startswith("features") for key in objective.modules["image_encoder"].state_dict())
    np.testing.assert_array_equal(objective.image_encoder(batch.rows), features[batch.rows, 0])


def test_googlenet_is_frozen_and_gets_no_gradient(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    torch.save({**FrozenGoogLeNet().network.state_dict(), "fc.weight": torch.zeros(1000, 1024)}, tmp_path / "googlenet.pth")
    config = CharCNNRNN(**{**TINY, "text_dim": 1024}, image_encoder="googlenet", image_weights=str(tmp_path / "googlenet.pth"))
    objective = RetrievalObjective(config, build_networks(config))
    for module in objective.modules.values():
        module.train()
    before = {key: value.clone() for key, value in objective.image_encoder.state_dict().items()}
    draw = objective.draw(one_batch(2), Noise(0))
    assert draw.image_features.shape == (2, 1024) and not draw.image_features.requires_grad
    objective.phase("sje").loss(draw)["total"].backward()
    assert objective.phases[0].modules == (objective.text_encoder,)
    assert all(torch.equal(value, before[key]) for key, value in objective.image_encoder.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"image_encoder": "googlenet"}, "image_weights"),
        ({"image_encoder": "features", "image_weights": "nowhere.npy"}, "no such feature file"),
        ({"image_encoder": "googlenet", "image_weights": "nowhere.pth"}, "no such file"),
    ],
)
def test_image_side_without_its_file(changes: dict[str, str], word: str) -> None:
    with pytest.raises(UserError) as caught:
        build_networks(CharCNNRNN(**{**TINY, **changes}))
    assert word in f"{caught.value} {caught.value.where}"


def test_features_of_another_width_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", np.zeros((4, 13), np.float32))
    with pytest.raises(UserError, match="have 13 dimensions"):
        build_networks(CharCNNRNN(**TINY, image_encoder="features", image_weights=str(tmp_path / "features.npy")))
