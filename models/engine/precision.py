"""Numbers of half the width, where they do not change the answer.

A forward pass in bfloat16 takes half the time on processors that multiply it (AVX-512 BF16, AMX) and on GPUs, and
rounds to 8 bits of mantissa. Where that rounding decides labels, mostly in the first convolution, a model names the
part (`models.folder.Half`), and it stays in float32; `models.training.evaluation.half` finds out which, and how many
labels stay the same.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from models.folder import Precision


def computing(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context within which a network computes in this precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def keep_full(model: nn.Module, parts: Sequence[str]) -> None:
    """Have parts of a model compute in float32 whatever surrounds them; in place, and without effect in float32.

    Args:
        model: The model.
        parts: Names of modules, `segmenter.stem` for one.

    Raises:
        ValueError: The model has no such part.
    """
    known = dict(model.named_modules())
    for name in parts:
        if name not in known:
            raise ValueError(f"the model has no part {name!r}; parts it has: {', '.join(dict(model.named_children()))}")
        known[name].forward = _full(known[name].forward)


def _full(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the forward pass of a module: tensors come in as float32, and no operation is cast."""

    def full(*args: Any) -> Any:
        first = next(arg for arg in args if isinstance(arg, Tensor))
        with torch.autocast(first.device.type, enabled=False):
            return forward(*(arg.float() if _is_half(arg) else arg for arg in args))

    return full


def _is_half(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bfloat16
