"""The GPU's kernels, run by Triton's interpreter on a CPU, against the ordinary gradient image by image."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

pytest.importorskip("triton", reason="no Triton here, and so no kernels")


def test_what_the_kernels_cannot_count_is_refused() -> None:
    from raysyn.privacy.gpu_kernels import conv_grads

    one = torch.zeros(1)
    for images, rows, high in ((1, 1, 1 << 16), (1 << 16, 1 << 16, 1)):
        x = one.expand(rows, high, 1 << 15 if high > 1 else 1, 1)  # no memory is taken
        with pytest.raises(ValueError, match=f"{images} images of"):
            conv_grads(x, x[:1, :1, :1], images, [1, 1], [1, 1], [0, 0], [1, 1])


@pytest.mark.parametrize(
    "names", [["norms", "program", "numbers"], pytest.param(["convolutions", "engine"], marks=pytest.mark.slow)]
)
def test_kernels_give_what_the_slow_way_gives(names: list[str]) -> None:
    # The interpreter is chosen when Triton is imported.
    environment = os.environ | {"TRITON_INTERPRET": "0" if torch.cuda.is_available() else "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, Path(__file__).with_name("kernel_checks.py"), *names]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert run.returncode == 0 and run.stdout.split() == names, run.stderr[-2000:]


@pytest.mark.parametrize(
    ("read", "joined"),
    [
        ("silu", True),
        ("alias", True),
        ("y elsewhere", False),
        ("slope elsewhere", False),
        ("changed in place", False),
        ("y is the gradient", False),
    ],
)
def test_a_silu_is_joined_to_a_norm_only_where_nobody_else_reads_what_it_answers(read: str, joined: bool) -> None:
    from raysyn.privacy.gpu_norms import join_silu

    aten = torch.ops.aten

    def ask(x: torch.Tensor, g: torch.Tensor) -> tuple[torch.Tensor, ...]:
        weight = torch.ones(4)
        y, mean, inverse = torch.ops.raysyn.group_norm(x, weight, weight, 2, 1e-5, False)
        out = aten.silu_(y) if read == "changed in place" else aten.silu(y)
        slope = aten.silu_backward(y, g) if read == "y is the gradient" else aten.silu_backward(g, y)
        given = aten.alias(aten.detach(slope)) if read == "alias" else slope
        back = torch.ops.raysyn.group_norm_backward(given, x, weight, weight, mean, inverse, False)
        if read.endswith("elsewhere"):
            return (out, *back, (y if read == "y elsewhere" else slope) * 2)
        return (out, *back)

    graph = make_fx(ask, tracing_mode="fake")(*torch.zeros(2, 3, 4, 5, 5)).graph
    join_silu(graph)
    graph.lint()
    asked = [node.args[-1] for node in graph.nodes if "raysyn.group_norm" in str(node.target)]
    silus = [node for node in graph.nodes if "silu" in str(node.target)]
    assert asked == [joined] * 2 and len(silus) == (0 if joined else 2)
