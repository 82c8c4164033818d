"""Numbers and texts of NumPy that stand beside weights, such as best_acc, read without NumPy's own unpickling."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np


class _Kind:
    """What a pickle has for the dtype of a boolean, whole, real or complex number or a text, and no other."""

    def __init__(self, code: str, *_: Any) -> None:
        if not re.fullmatch(r"[biufc]\d{1,2}|U\d{1,6}", code):
            raise ValueError(f"{code!r} is the dtype of no number or text")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(">" if state[1] == ">" else "<")


def _number(kind: _Kind, data: bytes) -> Any:
    if len(data) != kind.dtype.itemsize:
        raise ValueError(f"{len(data)} bytes are no {kind.dtype}")
    return np.frombuffer(data, kind.dtype)[0].item()


NUMBERS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_Kind, "numpy.dtype"),
    (_number, "numpy._core.multiarray.scalar"),
    (_number, "numpy.core.multiarray.scalar"),  # until NumPy 1
]
"""For torch.serialization.safe_globals: both names stand for the functions here, which make plain values."""
