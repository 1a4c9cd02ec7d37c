"""The operators that an exported network may call, and bounds on what their results may take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

ALLOWED = frozenset(
    """
    _adaptive_avg_pool2d _log_softmax _native_batch_norm_legit_no_training _safe_softmax _softmax _to_copy _unsafe_view
    _upsample_bicubic2d_aa _upsample_bilinear2d_aa abs adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d add add_ addmm alias
    all amax amin any arange argmax avg_pool1d avg_pool2d baddbmm batch_norm bitwise_and bitwise_not bitwise_or bmm cat ceil celu
    channel_shuffle chunk clamp clamp_ clamp_max clamp_min clone constant_pad_nd contiguous conv1d conv2d convolution copy cos cumsum
    detach detach_ div div_ dropout dropout_ einsum elu elu_ empty eq erf exp expand expand_as expm1 eye fill fill_ flatten flip floor
    floor_divide full full_like gather ge gelu glu group_norm gt hardsigmoid hardsigmoid_ hardswish hardswish_ hardtanh hardtanh_ index
    index_select instance_norm isfinite isnan layer_norm le leaky_relu leaky_relu_ lift_fresh lift_fresh_copy linalg_vector_norm linear
    log log1p log2 log_softmax logical_and logical_not logical_or logsumexp lt masked_fill masked_fill_ matmul max max_pool2d
    max_pool2d_with_indices maximum mean min minimum mish mish_ mm movedim mul mul_ native_group_norm native_layer_norm ne neg new_full
    new_ones new_zeros norm numpy_T ones ones_like pad permute pixel_shuffle pixel_unshuffle pow pow_ prod reciprocal reflection_pad2d
    relu relu6 relu6_ relu_ remainder repeat repeat_interleave replication_pad2d reshape rms_norm roll round rsqrt rsqrt_ rsub
    scalar_tensor scaled_dot_product_attention select selu selu_ sigmoid sigmoid_ sign silu silu_ sin slice softmax softplus split
    split_with_sizes sqrt sqrt_ square squeeze stack std sub sub_ sum swapaxes swapdims sym_numel sym_size t tanh tanh_ to transpose tril
    triu type_as unbind unflatten unsqueeze unsqueeze_ upsample_bicubic2d upsample_bilinear2d upsample_nearest2d upsample_nearest_exact2d
    var var_mean view view_as where zero_ zeros zeros_like convert_element_type
    """.split()  # noqa: SIM905 - one name per line would be 180 lines
)
"""Names, without overloads, of operators that compute on tensors: none reads files, takes pointers or has a size that depends on values."""
MOST_ELEMENTS = 1 << 31
"""Of one result."""
MOST_LIVE = 1 << 32
"""Elements of all results that exist at the same time, views included."""
LARGEST_NUMBER = 1 << 63
LARGEST_WINDOW = 1 << 12
"""Of kernels, strides, padding, dilation and repeats."""
_WINDOWED = ("conv", "pool", "pad", "repeat")


class OutOfBounds(RuntimeError):
    """A call would take more than the bounds allow."""


def check_call(name: str, arguments: Any) -> None:
    """Raise OutOfBounds if an operator has numbers that are too large for what it does."""
    if name == "einsum" and any(isinstance(value, (list, tuple)) and len(value) > 2 for value in arguments):
        raise OutOfBounds("einsum of more than two tensors has intermediate results of unknown size")
    numbers = list(_numbers(arguments))
    if any(part in name for part in _WINDOWED) and any(abs(number) > LARGEST_WINDOW for number in numbers):
        raise OutOfBounds(f"{name} has a window or padding of more than {LARGEST_WINDOW:,}")


def _numbers(value: Any) -> list[float]:
    if isinstance(value, (list, tuple)):
        return [number for part in value for number in _numbers(part)]
    return [value] if isinstance(value, int) and not isinstance(value, bool) else []


def size_of(results: Any) -> int:
    """Elements of the results of a call. Raises OutOfBounds when one is too large."""
    if isinstance(results, Tensor):
        if results.numel() > MOST_ELEMENTS:
            raise OutOfBounds(f"a result of shape {tuple(results.shape)} is too large")
        return results.numel()
    if isinstance(results, (list, tuple)):
        return sum(size_of(part) for part in results)
    if isinstance(results, int) and abs(results) >= LARGEST_NUMBER:
        raise OutOfBounds("a number is too large")
    return 0


def on_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, for numbers only: texts and lists could grow without bound, and so could powers."""

    def bounded(*values: Any) -> Any:
        if not all(isinstance(value, (int, float)) and abs(value) < LARGEST_NUMBER for value in values if value == value):
            raise OutOfBounds("arithmetic on something other than numbers, or on too large ones")
        if function.__name__ == "pow" and abs(values[-1]) > 64:
            raise OutOfBounds("a power is too large")
        return function(*values)

    return bounded
