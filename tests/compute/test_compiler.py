"""A process that trains does without torch's compiler, to the same weights, and has it when it is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# What raysyn trains with; it prints every weight.
TRAINING = """
import torch
torch.manual_seed(0)
network = torch.nn.Linear(5, 3)
points = torch.linspace(-1, 1, 35).view(7, 5)
for make in (
    lambda weights: torch.optim.Adam(weights),
    lambda weights: torch.optim.Adam(weights, fused=True),
    lambda weights: torch.optim.AdamW(weights),
    lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9, nesterov=True),
):
    optimizer = make(network.parameters())
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    for _ in range(3):
        optimizer.zero_grad(set_to_none=True)
        network(points).square().sum().backward()
        optimizer.step()
        falling.step()
    optimizer.load_state_dict(optimizer.state_dict())
weights = [value.item() for one in network.parameters() for value in one.flatten()]
"""
PUT_OFF = f"""
import sys
from raysyn.compute.compiler import put_off_compiler
put_off_compiler()
{TRAINING}
assert not [name for name in ("torch._dynamo.utils", "torch._inductor", "sympy") if name in sys.modules]
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item() == 2
import torch._dynamo.utils
assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1, "it was compiled"
put_off_compiler()
assert torch._dynamo.config is sys.modules["torch._dynamo.config"], "what is there stays"
print(repr(weights))
"""


@pytest.mark.slow
def test_optimizers_do_without_the_compiler_which_comes_when_it_is_called() -> None:
    known: dict[str, object] = {}
    exec(TRAINING, known)
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", PUT_OFF], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == repr(known["weights"])


INSPECTED = """
import inspect, sys
from raysyn.compute.compiler import put_off_compiler
put_off_compiler()
inspect.getmodule(inspect.currentframe())
assert "torch._dynamo.utils" not in sys.modules
import torch.distributed.tensor
"""


def test_whoever_looks_through_all_modules_does_not_fetch_it() -> None:
    """torch does, while it imports what the compiler imports, too."""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", INSPECTED], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
