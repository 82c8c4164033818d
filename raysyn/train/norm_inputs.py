"""What a network shows of its images: the inputs of its normalisation layers (DP-ImgSyn 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def norm_inputs(teacher: nn.Module, see: Callable[[Tensor], Tensor] = lambda h: h) -> Iterator[list[Tensor]]:
    """Inside the block, `see` of what went into each normalisation layer, in the order of the last forward pass."""
    seen: list[Tensor] = []
    norms = [module for module in teacher.modules() if isinstance(module, nn.GroupNorm)]
    hooks = [norm.register_forward_pre_hook(lambda _, given: seen.append(see(given[0]))) for norm in norms]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
