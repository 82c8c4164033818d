"""Tests of all methods borrow the tiny runs of each: `import test_pigan`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import manifold

sys.path[:0] = [str(path) for path in Path(__file__).parent.iterdir() if path.is_dir()]


class Flat:
    """In place of t-SNE, the first two coordinates."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def fit_transform(self, seen: np.ndarray) -> np.ndarray:
        return seen[:, :2]


@pytest.fixture(autouse=True, scope="module")
def flat_pictures() -> Iterator[None]:
    """Pictures that nobody looks at: one takes seconds of every run of PrivImage, whose own test makes it as it is
    made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifold, "TSNE", Flat)
        yield
