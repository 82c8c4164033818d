"""A micro-batch of a private step as one program: traced once, compiled, and replayed without Python.

The book-keeping engine launches thousands of small kernels, which a GPU runs faster than Python can launch them. Here
its whole pass - forward, backward, layer rules, clip and sum - is recorded for one fixed shape (`make_fx`), compiled
(`torch.compile`) and replayed as a CUDA graph. Poisson batches have no fixed shape: they are filled up with images
that take no part.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from raysyn.compute.worker import full_float32
from raysyn.privacy.bookkeeping import bookkeeping
from raysyn.privacy.engines import Loss
from raysyn.privacy.group_norm import gpu_norms

WARM_UPS = 3
"""Runs before a graph is captured, in which the libraries below choose their kernels."""


class Answer(NamedTuple):
    """What a program says of a micro-batch; overwritten by its next call."""

    sum_P: Tensor
    """Sum over the images of their clipped gradients; zero where `plain` is false."""
    loss: Tensor
    """Their mean loss, a scalar."""
    plain: Tensor
    """Bool scalar: false where an image's norm is not finite or hardly known, so that `engines.clipped_sum` must be
    asked. It stays on the device: to read it is to wait for it."""
    plain_B: Tensor
    """The same of each image, (B,); those that fill up repeat the first one."""


class Program:
    """`bookkeeping` for micro-batches of one shape. It reads the model's weights where they lie, so they may change."""

    def __init__(
        self, model: nn.Module, loss: Loss, example_BK: Sequence[Tensor], max_grad_norm: float, *, bf16: bool,
        compiled: bool = True,
    ) -> None:  # fmt: skip
        """
        Args:
            example_BK: made-up inputs of the shape, (B, K, ...); at most B images can be asked for.
            bf16: run forward and backward pass in bfloat16; clip and sum stay in float32.
            compiled: or only repeat, operation by operation, what the engine does.

        Raises what tracing or compiling raises for a network that does not bear it.
        """
        device = example_BK[0].device
        self._device = device
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs_BK = [x.clone(memory_format=torch.contiguous_format) for x in example_BK]
        self._valid_B = torch.ones(len(example_BK[0]), dtype=torch.bool, device=device)

        def program(valid_B: Tensor, *inputs_BK: Tensor) -> Answer:
            # The first image always takes part; what lies in rows that do not must not reach the arithmetic.
            inputs = [torch.where(valid_B.view(-1, *[1] * (x.ndim - 1)), x, x[:1]) for x in inputs_BK]
            with torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext():
                answer = bookkeeping(model, loss, inputs, max_grad_norm, valid_B)
            assert answer.doubtful_B is not None
            # Rows that take no part repeat the first image, whose gradient must be finite too: zero times it is added.
            plain_B = torch.isfinite(answer.norms_B) & ~answer.doubtful_B
            plain = plain_B.all()
            return Answer(torch.where(plain, answer.sum_P, 0.0), answer.loss, plain, plain_B)

        # In one thread: what is recorded belongs to the thread that records.
        with torch.autograd.set_multithreading_enabled(False), full_float32(device):
            # Of shapes alone: with real numbers everything ever computed would stay in memory until the end.
            traced = make_fx(program, tracing_mode="fake", _allow_non_fake_inputs=True)(self._valid_B, *self._inputs_BK)
        if any("raysyn.group_norm" in str(node.target) for node in traced.graph.nodes):
            gpu_norms().join_silu(traced.graph)
            traced.recompile()
        self._run: Callable[..., Answer] = torch.compile(traced, fullgraph=True, dynamic=False) if compiled else traced
        if device.type == "cuda":
            self._capture()

    def _capture(self) -> None:
        side = torch.cuda.Stream(self._device)
        side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(side), warnings.catch_warnings():
            # The compiler advises TF32, which is switched off on purpose, and warns of its own parts.
            warnings.filterwarnings("ignore", module="torch|triton")
            for _ in range(WARM_UPS):
                self._answer()
        torch.cuda.current_stream(self._device).wait_stream(side)
        torch.cuda.empty_cache()  # the graph has memory of its own
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._out = self._answer()
        self._graph = graph

    def _answer(self) -> Answer:
        # Products of float32 numbers are the layer rules' sums, which nothing may round.
        with torch.no_grad(), full_float32(self._device):
            return Answer(*self._run(self._valid_B, *self._inputs_BK))

    def __call__(self, inputs_BK: Sequence[Tensor]) -> Answer:
        """The answer for 1 to B images, (at most B, K, ...)."""
        images = len(inputs_BK[0])
        for mine, x in zip(self._inputs_BK, inputs_BK, strict=True):
            mine[:images].copy_(x)
        self._valid_B[:images] = True
        self._valid_B[images:] = False
        if self._graph is None:
            return self._answer()
        self._graph.replay()
        return self._out
