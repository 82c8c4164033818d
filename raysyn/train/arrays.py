"""Arrays as tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def as_tensor(array: np.ndarray) -> Tensor:
    """`array` as a tensor that must not be written to: both see the same memory, which is shared between workers, or is
    that of a file. What NumPy cannot lend is copied."""
    try:
        # Not from_numpy, which warns of every array that is read-only.
        return torch.from_dlpack(array)
    except (AttributeError, BufferError, RuntimeError):
        return torch.tensor(array)
