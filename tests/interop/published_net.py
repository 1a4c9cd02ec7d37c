"""A char-CNN-RNN laid out as in the published .t7 files, and a direct computation of its output as Torch7 defines it (numpy)."""

from __future__ import annotations

from typing import Any

import numpy as np
from t7_writer import Obj

GATED = {"i2h": 1, "i2h_update": 4, "h2h_update": 5, "i2h_reset": 9, "h2h_reset": 10, "h2h": 14}
PLAIN = {"i2h": 1, "h2h": 5}


def draw_weights(gated: bool, conv_dims: tuple[int, int], dim: int, text_dim: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights in Torch7's layouts: TemporalConvolution (out, kernel * in), Linear (out, in)."""
    rng = np.random.default_rng(seed)
    shapes = {"conv1": (conv_dims[0], 4 * 70), "conv2": (conv_dims[1], 4 * conv_dims[0]), "conv3": (dim, 4 * conv_dims[1])}
    shapes |= dict.fromkeys(GATED if gated else PLAIN, (dim, dim)) | {"emb_proj": (text_dim, dim)}
    weights = {}
    for name, shape in shapes.items():
        weights[f"{name}.weight"] = (rng.normal(size=shape) / np.sqrt(shape[1]) * 1.5).astype(np.float32)
        weights[f"{name}.bias"] = (rng.normal(size=shape[0]) * 0.1).astype(np.float32)
    return weights


def document_encoder(weights: dict[str, np.ndarray], gated: bool, averaged: bool = True) -> Obj:
    """`enc_doc` as nngraph saves it: modules at their published positions, with others in between."""

    def layer(class_name: str, name: str) -> Obj:
        return Obj(class_name, {"weight": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]})

    def other(class_name: str, **fields: Any) -> Obj:
        return Obj(class_name, fields)

    stack = [
        layer("nn.TemporalConvolution", "conv1"),
        other("nn.Threshold", threshold=1e-6),
        other("nn.TemporalMaxPooling", kW=3, dW=3),
        layer("nn.TemporalConvolution", "conv2"),
        other("nn.Threshold", threshold=1e-6),
        other("nn.TemporalMaxPooling", kW=3, dW=3),
        layer("nn.TemporalConvolution", "conv3"),
        other("nn.Threshold", threshold=1e-6),
        *([] if gated else [other("nn.TemporalMaxPooling", kW=3, dW=2)]),
    ]
    steps = 18 if gated else 8
    recurrence = [other("nn.Identity") for _ in range(16)]
    for name, place in (GATED if gated else PLAIN).items():
        recurrence[place] = Obj("nn.Sequential", {"modules": [layer("nn.Linear", name)]})
    if gated:
        recurrence[2] = other("nn.Sigmoid")
        recurrence[3] = other("nn.MulConstant", constant_scalar=-1)
    if averaged:
        recurrence.append(other("nn.MulConstant", constant_scalar=1 / steps))
    modules = [
        other("nn.Identity"),
        Obj("nn.Sequential", {"modules": stack}),
        other("nn.SplitTable", dimension=2),
        Obj("nn.gModule", {"modules": recurrence}),
        other("nn.Dropout", p=0),
        layer("nn.Linear", "emb_proj"),
    ]
    return Obj("nn.gModule", {"modules": modules, "train": False, "verbose": False})


def encode(weights: dict[str, np.ndarray], gated: bool, codes: np.ndarray) -> np.ndarray:
    """The embedding of one caption, codes (201,), frame by frame in float64."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    x = np.zeros((201, 70))
    for place, code in enumerate(codes):
        if code:
            x[place, code - 1] = 1

    def conv(x: np.ndarray, name: str) -> np.ndarray:
        out = np.stack([w[f"{name}.weight"] @ x[t : t + 4].reshape(-1) + w[f"{name}.bias"] for t in range(len(x) - 3)])
        return np.where(out > 1e-6, out, 0)

    def pool(x: np.ndarray, stride: int) -> np.ndarray:
        return np.stack([x[t : t + 3].max(0) for t in range(0, len(x) - 2, stride)])

    x = conv(pool(conv(pool(conv(x, "conv1"), 3), "conv2"), 3), "conv3")
    if not gated:
        x = pool(x, 2)

    def linear(name: str, v: np.ndarray) -> np.ndarray:
        return w[f"{name}.weight"] @ v + w[f"{name}.bias"]

    def sigmoid(v: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-v))

    states: list[np.ndarray] = []
    for v in x:
        if not states:
            h = np.tanh(linear("i2h", v)) if gated else np.maximum(linear("i2h", v), 0)
        elif gated:
            update = sigmoid(linear("i2h_update", v) + linear("h2h_update", h))
            reset = sigmoid(linear("i2h_reset", v) + linear("h2h_reset", h))
            h = update * np.tanh(linear("i2h", v) + linear("h2h", reset * h)) + (1 - update) * h
        else:
            h = np.maximum(linear("i2h", v) + linear("h2h", h), 0)
        states.append(h)
    return linear("emb_proj", np.mean(states, 0))
