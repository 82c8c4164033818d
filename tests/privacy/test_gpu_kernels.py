"""The GPU's kernels, run by Triton's interpreter on a CPU, against the ordinary gradient image by image."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("triton", reason="no Triton here, and so no kernels")

CHECK = """
from itertools import product
import torch
from torch.nn.grad import conv2d_weight
from raysyn.privacy.gpu_kernels import conv_grads
torch.manual_seed(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
halves = torch.bfloat16 if device == "cuda" else torch.float16  # whose products the interpreter knows
cases = [  # images, copies, channels in and out, height, width, kernel, stride, margin, dilation
    (2, 3, 16, 20, 7, 6, (3, 3), (1, 1), (1, 1), (1, 1)),
    (2, 1, 3, 8, 9, 9, (3, 3), (2, 2), (1, 1), (1, 1)),
    (1, 2, 64, 64, 5, 5, (3, 3), (1, 1), (1, 1), (1, 1)),
    (2, 1, 32, 70, 5, 7, (2, 3), (2, 1), (0, 2), (1, 2)),
    (2, 2, 1, 16, 8, 8, (5, 3), (1, 2), (2, 0), (1, 2)),
    (2, 2, 24, 40, 6, 6, (4, 4), (2, 2), (1, 1), (1, 1)),
    (2, 2, 128, 70, 4, 4, (1, 1), (1, 1), (0, 0), (1, 1)),
]
for dtype, (b, k, c, o, h, w, kernel, stride, margin, dilation) in product((torch.float32, halves), cases):
    x, weight = torch.randn(b * k, c, h, w, device=device), torch.randn(o, c, *kernel, device=device)
    g = torch.randn_like(torch.nn.functional.conv2d(x, weight, None, stride, margin, dilation))
    x, g = x.to(dtype), g.to(dtype)
    want = torch.stack([
        conv2d_weight(xs.double(), weight.shape, gs.double(), stride, margin, dilation)
        for xs, gs in zip(x.split(k), g.split(k))
    ])
    rows = [y.permute(0, 2, 3, 1).contiguous() for y in (x, g)]
    got = conv_grads(*rows, b, list(kernel), list(stride), list(margin), list(dilation))
    got = got.view(b, o, *kernel, c).permute(0, 1, 4, 2, 3)
    error = float((got - want).norm() / want.norm())
    rounded = device == "cuda" and dtype == torch.float32  # to TF32; products of half as many bits are exact
    assert got.dtype == torch.float32 and error < (2e-3 if rounded else 2e-6), (dtype, kernel, error)
print("equal")
"""


def test_what_the_kernels_cannot_count_is_refused() -> None:
    from raysyn.privacy.gpu_kernels import conv_grads

    one = torch.zeros(1)
    for images, rows, high in ((1, 1, 1 << 16), (1 << 16, 1 << 16, 1)):
        x = one.expand(rows, high, 1 << 15 if high > 1 else 1, 1)  # no memory is taken
        with pytest.raises(ValueError, match=f"{images} images of"):
            conv_grads(x, x[:1, :1, :1], images, [1, 1], [1, 1], [0, 0], [1, 1])


@pytest.mark.slow
def test_gradients_of_convolutions_equal_the_ordinary_ones() -> None:
    # The interpreter is chosen when Triton is imported.
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", CHECK], env=environment, capture_output=True, text=True, timeout=200)
    assert run.returncode == 0 and run.stdout.strip() == "equal", run.stderr[-2000:]
