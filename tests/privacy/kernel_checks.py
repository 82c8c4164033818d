"""What `test_gpu_kernels.py` runs in another process, under Triton's interpreter or on a GPU: python FILE NAME..."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import product

import torch
import torch.nn.functional as F
from test_engines import CLIP, unet
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.grad import conv2d_weight

from raysyn.privacy import engines, gpu_kernels, group_norm
from raysyn.privacy.bookkeeping import bookkeeping
from raysyn.privacy.fused import Program
from raysyn.privacy.gpu_kernels import conv_grads
from raysyn.privacy.gpu_norms import join_silu
from raysyn.train import philox, philox_on_gpu

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HALVES = torch.bfloat16 if DEVICE == "cuda" else torch.float16  # whose products the interpreter knows
CONVOLUTIONS = [  # images, copies, channels in and out, height, width, kernel, stride, margin, dilation
    (2, 3, 16, 20, 7, 6, (3, 3), (1, 1), (1, 1), (1, 1)),
    (2, 1, 3, 8, 9, 9, (3, 3), (2, 2), (1, 1), (1, 1)),
    (1, 2, 64, 64, 5, 5, (3, 3), (1, 1), (1, 1), (1, 1)),
    (2, 1, 32, 70, 5, 7, (2, 3), (2, 1), (0, 2), (1, 2)),
    (2, 2, 1, 16, 8, 8, (5, 3), (1, 2), (2, 0), (1, 2)),
    (2, 2, 24, 40, 6, 6, (4, 4), (2, 2), (1, 1), (1, 1)),
    (2, 2, 128, 70, 4, 4, (1, 1), (1, 1), (0, 0), (1, 1)),
    (2, 3, 16, 16, 9, 9, (3, 3), (1, 1), (1, 1), (1, 1)),
    (2, 1, 70, 68, 5, 5, (3, 3), (1, 1), (1, 1), (1, 1)),
]


def error(got: Tensor, want: Tensor) -> float:
    return float((got.detach().double() - want.detach()).norm() / want.detach().norm())


def convolutions() -> None:
    """Gradients of single images, their positions in one piece and in several."""
    rounded = 2e-3 if DEVICE == "cuda" else 2e-6  # float32 to TF32; products of half as many bits are exact
    for dtype, case, shortest in product((torch.float32, HALVES), CONVOLUTIONS, (1024, 32)):
        gpu_kernels.SHORTEST = shortest
        b, k, c, o, h, w, kernel, stride, margin, dilation = case
        x, weight = torch.randn(b * k, c, h, w, device=DEVICE), torch.randn(o, c, *kernel, device=DEVICE)
        g = torch.randn_like(F.conv2d(x, weight, None, stride, margin, dilation))
        x, g = x.to(dtype), g.to(dtype)
        want = torch.stack(
            [
                conv2d_weight(xs.double(), weight.shape, gs.double(), stride, margin, dilation)
                for xs, gs in zip(x.split(k), g.split(k), strict=True)
            ]
        )
        rows = [y.permute(0, 2, 3, 1).contiguous() for y in (x, g)]
        got, bias = conv_grads(*rows, b, list(kernel), list(stride), list(margin), list(dilation))
        assert got.dtype == bias.dtype == torch.float32
        wrong = error(got.view(b, o, *kernel, c).permute(0, 1, 4, 2, 3), want)
        assert wrong < (rounded if dtype == torch.float32 else 2e-6), (dtype, case, wrong)
        wrong = error(bias, g.double().view(b, k, o, -1).sum((1, 3)))
        assert wrong < 2e-6, (dtype, case, wrong)


def norms() -> None:
    """GroupNorm, with and without SiLU, and its slopes and sums, against autograd in float64."""
    from raysyn.privacy.gpu_norms import group_norm, group_norm_backward

    shapes = [
        (3, 12, 5, 7, 3),
        (2, 64, 4, 4, 16),
        (2, 96, 9, 8, 24),
        (1, 24, 3, 3, 4),
        (2, 8, 1, 1, 1),
        (2, 70, 4, 3, 70),
    ]
    for dtype, (m, c, h, w, groups), silu in product((torch.float32, HALVES), shapes, (False, True)):
        x = (torch.randn(m, c, h, w, device=DEVICE) * 2 + 1).to(dtype).to(memory_format=torch.channels_last)
        g, weight, bias = torch.randn_like(x), torch.randn(c, device=DEVICE), torch.randn(c, device=DEVICE)
        y, mean, inverse = group_norm(x, weight, bias, groups, 1e-5, silu)
        dx, g_MC, normal_MC = group_norm_backward(g, x, weight, bias, mean, inverse, silu)
        exact = x.double().requires_grad_()
        normal = F.group_norm(exact, groups, eps=1e-5)
        shifted = normal * weight[:, None, None] + bias[:, None, None]
        shifted.retain_grad()
        want = F.silu(shifted) if silu else shifted
        (want * g.double()).sum().backward()
        close = 1e-5 if dtype == torch.float32 else 5e-4 if dtype == torch.float16 else 4e-3
        assert y.dtype == dx.dtype == dtype and y.is_contiguous(memory_format=torch.channels_last)
        assert error(y, want) < close and error(dx, exact.grad) < close, (dtype, c, silu)
        assert error(g_MC, shifted.grad.sum((2, 3))) < 1e-5, (dtype, c, silu)
        assert error(normal_MC, (shifted.grad * normal).sum((2, 3))) < 1e-5, (dtype, c, silu)


def engine() -> None:
    """The engine with these norms, and recorded and with SiLU joined to them, against the ordinary gradients."""
    group_norm.served_on_gpu = lambda x, groups: True  # of few rows too
    model, loss, inputs = unet(2, multipliers=(1,))
    # Two images of two copies, one level: enough to mistake one for another, and all costs the interpreter seconds.
    model, inputs = model.to(DEVICE).to(memory_format=torch.channels_last), [x[:2].to(DEVICE) for x in inputs]

    def channels_last(model: torch.nn.Module, noisy: Tensor, *more: Tensor) -> Tensor:
        return loss(model, noisy.contiguous(memory_format=torch.channels_last), *more)

    def asked(*inputs_BK: Tensor) -> tuple[Tensor, Tensor]:
        answer = bookkeeping(model, channels_last, inputs_BK, CLIP)
        return answer.sum_P, answer.norms_B

    want = engines.loop(model, loss, inputs, CLIP)
    with torch.autograd.set_multithreading_enabled(False):
        recorded = make_fx(asked, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)

    def calls(of: torch._ops.OpOverload) -> list[Node]:
        return [node for node in recorded.graph.nodes if node.target is of]

    silus = calls(torch.ops.aten.silu.default)
    join_silu(recorded.graph)
    recorded.graph.lint()
    recorded.recompile()
    norms = calls(torch.ops.raysyn.group_norm.default)
    joined = [node for node in norms if node.args[-1]]
    left = calls(torch.ops.aten.silu.default)
    # The attention's norm has none, and of the others' SiLUs two are of the noise level.
    assert len(joined) == len(norms) - 1 > 8 and len(left) == len(silus) - len(joined) == 2, (
        len(norms),
        len(joined),
        len(left),
    )
    with torch.no_grad():
        again = recorded(*inputs)
    for sum_P, norms_B in (asked(*inputs), again):
        assert error(sum_P, want.sum_P.double()) < (5e-3 if DEVICE == "cuda" else 1e-4)
        assert error(norms_B, want.norms_B.double()) < (5e-3 if DEVICE == "cuda" else 1e-4)


def program() -> None:
    """What is recorded, with the kernels and SiLU joined to them: no image adds more than the clip, what fills up adds
    nothing, and an image without numbers spoils no other's."""
    group_norm.served_on_gpu = lambda x, groups: True
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 8, 3, padding=1)
    )  # fmt: skip
    model = model.to(DEVICE).to(memory_format=torch.channels_last)

    def loss(model: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
        return (model(x.contiguous(memory_format=torch.channels_last)) * weight).sum((1, 2, 3))

    def drawn(images: int, size: float = 1.0) -> list[Tensor]:
        return [size * torch.randn(images, 2, c, 6, 5, device=DEVICE) for c in (3, 8)]

    run = Program(model, loss, drawn(4), CLIP, bf16=False, compiled=DEVICE == "cuda")
    close = 5e-3 if DEVICE == "cuda" else 1e-5
    for size in (1e-3, 1.0, 1e3):
        inputs = drawn(3, size)
        run._inputs_BK[0].fill_(torch.nan)
        got, want = run(inputs), engines.loop(model, loss, inputs, CLIP)
        assert bool(got.plain) and error(got.sum_P, want.sum_P) < close, size
        one = run([x[:1] for x in inputs])
        assert float(one.sum_P.double().norm()) <= CLIP * (1 + 1e-5), size
    inputs = drawn(3)
    inputs[0][1] = torch.nan
    told = run(inputs)
    assert not bool(told.plain) and told.plain_B.tolist() == [True, False, True, True] and not told.sum_P.any()


def numbers() -> None:
    """Random numbers, against the same in tensor arithmetic."""
    keys_B = torch.tensor([5, 123456789012345, (1 << 62) + 77, (1 << 63) - 1, 0], device=DEVICE)
    for length in (1, 7, 1000, 1025, 5000):
        want, got = philox.normals(keys_B, length), philox_on_gpu.normals(keys_B, length)
        torch.testing.assert_close(got, want, rtol=2e-5, atol=2e-6)


CHECKS: dict[str, Callable[[], None]] = {
    "convolutions": convolutions, "norms": norms, "engine": engine, "program": program, "numbers": numbers
}  # fmt: skip

if __name__ == "__main__":
    for name in sys.argv[1:]:
        torch.manual_seed(0)
        CHECKS[name]()
        print(name)
