"""char-CNN-RNN text encoder in its three published variants (Reed et al., CVPR 2016; weights released with ICML 2016).

A caption of 201 characters passes through three convolutions and poolings, then a recurrence whose mean hidden state is projected to the
text embedding. The published variants, by name; their sizes are the defaults:

    variant         conv3    pool3          recurrence                parameters
    cvpr            512->256 3, stride 2    ReLU RNN, 8 steps         1,814,144
    icml-flowers    512->512 3, stride 2    ReLU RNN, 8 steps         2,994,560
    icml-cub        512->512 none           gated (GRU-like), 18      4,045,184

Both recurrences differ from torch.nn.RNN and torch.nn.GRU, so they are written out. State-dict keys are those of the PyTorch port.
The image encoders are in image_encoders.py.

Shapes: B batch, L characters (201), C channels, S time steps, T text embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ALPHABET_SIZE = 70
LENGTH = 201
KERNEL = 4
PUBLISHED_DIMS = (384, 512)
"""Channels of the first two convolutions."""
THRESHOLD = 1e-6
"""Torch7's nn.Threshold() keeps values above this and sets the others to zero."""


@dataclass(frozen=True)
class Variant:
    """What distinguishes the published networks. `third_pool` reduces the 18 time steps to 8; `gated` selects the recurrence."""

    rnn_dim: int
    third_pool: bool
    gated: bool


VARIANTS = {
    "cvpr": Variant(rnn_dim=256, third_pool=True, gated=False),
    "icml-flowers": Variant(rnn_dim=512, third_pool=True, gated=False),
    "icml-cub": Variant(rnn_dim=512, third_pool=False, gated=True),
}


class ReLURecurrence(nn.Module):
    """h_1 = relu(W x_1 + b); h_t = relu(W x_t + b + U h_{t-1} + c). As published, the first step has no bias c."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.i2h = nn.Linear(dim, dim)
        self.h2h = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, C) to the mean hidden state (B, C)."""
        inputs = self.i2h(x).unbind(1)
        hidden = F.relu(inputs[0])
        total = hidden
        for step in inputs[1:]:
            hidden = F.relu(step + self.h2h(hidden))
            total = total + hidden
        return total / len(inputs)


class GatedRecurrence(nn.Module):
    """h_1 = tanh(W x_1 + b) without gates; then h_t = u * c + (1 - u) * h_{t-1}.

    u (update) and r (reset) are sigmoids of x_t and h_{t-1}, and c = tanh(W x_t + b + U (r * h_{t-1}) + d). Unlike in torch.nn.GRU, u
    weighs the candidate and r is applied before the matrix U. (The PyTorch port agrees for one caption at a time; in a batch its
    broadcasting mixes the captions, which neither the published Lua network nor this one does.)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.i2h_update = nn.Linear(dim, dim)
        self.h2h_update = nn.Linear(dim, dim)
        self.i2h_reset = nn.Linear(dim, dim)
        self.h2h_reset = nn.Linear(dim, dim)
        self.i2h = nn.Linear(dim, dim)
        self.h2h = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, C) to the mean hidden state (B, C)."""
        updates, resets, candidates = self.i2h_update(x).unbind(1), self.i2h_reset(x).unbind(1), self.i2h(x).unbind(1)
        hidden = torch.tanh(candidates[0])
        total = hidden
        for update_in, reset_in, candidate_in in zip(updates[1:], resets[1:], candidates[1:], strict=True):
            update = torch.sigmoid(update_in + self.h2h_update(hidden))
            reset = torch.sigmoid(reset_in + self.h2h_reset(hidden))
            candidate = torch.tanh(candidate_in + self.h2h(reset * hidden))
            hidden = torch.lerp(hidden, candidate, update)
            total = total + hidden
        return total / len(candidates)


def _repeat_last(x: Tensor, columns: int) -> Tensor:
    """(B, C, P) to (B, C, columns) by repeating the last column; unchanged if there are enough columns already."""
    missing = columns - x.shape[-1]
    return x if missing <= 0 else torch.cat([x, x[..., -1:].expand(-1, -1, missing)], -1)


def _cover(x: Tensor, length: int, kernel: int, stride: int) -> Tensor:
    """As many columns as a convolution or pooling needs to compute every distinct column of its output.

    `x` (B, C, P) represents (B, C, length): all columns from P - 1 on are equal.
    """
    first_equal_output = -(-(x.shape[-1] - 1) // stride)
    return _repeat_last(x, min(first_equal_output * stride + kernel, length))


class CharCNNRNN(nn.Module):
    """Character codes to text embeddings.

    `rnn_dim` is the width of conv3 and of the recurrence; None: the published width of `variant`.
    """

    def __init__(
        self, variant: str = "icml-cub", text_dim: int = 1024, conv_dims: tuple[int, int] = PUBLISHED_DIMS, rnn_dim: int | None = None
    ) -> None:
        super().__init__()
        spec = VARIANTS[variant]
        dim = rnn_dim or spec.rnn_dim
        self.third_pool = spec.third_pool
        self.conv1 = nn.Conv1d(ALPHABET_SIZE, conv_dims[0], KERNEL)
        self.conv2 = nn.Conv1d(conv_dims[0], conv_dims[1], KERNEL)
        self.conv3 = nn.Conv1d(conv_dims[1], dim, KERNEL)
        self.rnn = GatedRecurrence(dim) if spec.gated else ReLURecurrence(dim)
        self.emb_proj = nn.Linear(dim, text_dim)
        self._initialize(spec)

    def _initialize(self, spec: Variant) -> None:
        """uniform(-0.08, 0.08) as published; a narrower network gets a wider interval, so that activations keep their variance."""
        published_inputs: dict[nn.Module, int] = {self.conv1: ALPHABET_SIZE, self.conv2: PUBLISHED_DIMS[0], self.conv3: PUBLISHED_DIMS[1]}
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Linear):
                ratio = published_inputs.get(module, spec.rnn_dim) / module.weight.shape[1]
                nn.init.uniform_(module.weight, -0.08 * ratio**0.5, 0.08 * ratio**0.5)
                if module.bias is not None:
                    nn.init.uniform_(module.bias, -0.08, 0.08)

    def forward(self, codes: Tensor) -> Tensor:
        """(B, 201) integer codes in [0, 70], 0 for an all-zero row, to (B, T)."""
        vector: Tensor = self.emb_proj(self.rnn(self.convolve(codes)))
        return vector

    def convolve(self, codes: Tensor) -> Tensor:
        """(B, 201) codes to the inputs of the recurrence, (B, S, C).

        All columns after the last character of the longest caption are equal, so on a CPU they are computed once and repeated where a
        layer needs them: exact, and for real captions nearly half the work. (On a GPU, finding that position would stall the queue.)
        """
        length = codes.shape[1]
        if codes.device.type == "cpu":
            used = codes.any(0).nonzero()[-1:].sum() + 1  # position of the last character, from 1; 1 if there is none
            codes = codes[:, : int(used) + KERNEL]
        x, length = self._first_conv(codes), length - KERNEL + 1
        # pooling first: the threshold is monotone, so the result is the same for a third of the work
        x, length = F.threshold(F.max_pool1d(_cover(x, length, 3, 3), 3), THRESHOLD, 0.0), length // 3
        x, length = self.conv2(_cover(x, length, KERNEL, 1)), length - KERNEL + 1
        x, length = F.threshold(F.max_pool1d(_cover(x, length, 3, 3), 3), THRESHOLD, 0.0), length // 3
        x, length = self.conv3(_cover(x, length, KERNEL, 1)), length - KERNEL + 1
        if self.third_pool:
            x, length = F.max_pool1d(_cover(x, length, 3, 2), 3, 2), (length - 3) // 2 + 1
        return F.threshold(_repeat_last(x, length), THRESHOLD, 0.0).transpose(1, 2)

    def _first_conv(self, codes: Tensor) -> Tensor:
        """conv1 over the one-hot codes, (B, L) to (B, C, L - 3), as a sum of four rows of its weights per position.

        Exact, and on a CPU several times as fast as the dense convolution. Row 0 of the table of each offset is zero.
        """
        weight, bias = self.conv1.weight, self.conv1.bias
        assert bias is not None
        table = F.pad(weight.permute(2, 1, 0), (0, 0, 1, 0)).reshape(-1, weight.shape[0])
        offsets = torch.arange(KERNEL, device=codes.device) * (ALPHABET_SIZE + 1)
        rows = codes.long().unfold(1, KERNEL, 1) + offsets
        out = F.embedding_bag(rows.reshape(-1, KERNEL), table, mode="sum") + bias
        return out.view(codes.shape[0], -1, weight.shape[0]).transpose(1, 2)
