"""GroupNorm as one recorded pass computes it equals torch's in float64, however its tensors lie and are used."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from test_engines import assert_equal_to_reference
from torch import Tensor, nn

from raysyn.privacy.bookkeeping import bookkeeping
from raysyn.privacy.group_norm import GroupNormCall

ROWS = 6
MAPS = [(64, 5, 5), (8, 5, 7), (1, 4, 4), (64, 2, 1)]
CASES = [(shape, last) for shape in MAPS for last in (True, False)] + [((64,), False), ((8, 9), False)]


@pytest.mark.parametrize("expanded", [True, False])
@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize(("shape", "channels_last"), CASES)
def test_answer_slope_and_sums_equal_torchs(
    shape: tuple[int, ...], channels_last: bool, groups: int, expanded: bool
) -> None:
    layer = nn.GroupNorm(min(groups, shape[0]), shape[0])
    for parameter in layer.parameters():
        nn.init.normal_(parameter).requires_grad_(False)
    torch.manual_seed(0)
    x, g = torch.randn(ROWS, *shape), torch.randn(1, *shape).expand(ROWS, *shape)
    if not expanded:
        g = torch.randn(ROWS, *shape)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    exact = nn.GroupNorm(layer.num_groups, shape[0]).double()
    exact.load_state_dict(layer.state_dict())
    exact_x, want = x.double().requires_grad_(), []
    for row in range(ROWS):
        out = exact(exact_x[row : row + 1])
        want.append(torch.autograd.grad(out, [exact.bias, exact.weight], g[row : row + 1].double()))
    slope = torch.autograd.grad(exact(exact_x), exact_x, g.double())[0]

    x.requires_grad_()
    call = GroupNormCall(layer)
    out = call(x)
    found = call.sums(x.detach(), g)
    torch.testing.assert_close(out.double(), exact(exact_x), rtol=1e-4, atol=1e-5)
    for sums_MC, wanted in zip(found, zip(*want, strict=True), strict=True):
        torch.testing.assert_close(sums_MC.double(), torch.stack(wanted), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.autograd.grad(out, x, g)[0].double(), slope, rtol=1e-4, atol=1e-4)


class Awkward(nn.Module):
    """A norm at the start and one without bias; answers changed in place and used twice."""

    def __init__(self, trained: bool) -> None:
        super().__init__()
        self.first, self.conv = nn.GroupNorm(2, 4), nn.Conv2d(4, 8, 3, padding=1)
        self.second, self.head = nn.GroupNorm(4, 8, bias=False), nn.Linear(8, 3)
        if not trained:
            self.conv.requires_grad_(False)
            self.first.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.second(self.conv(F.relu(self.first(x), inplace=True))), inplace=True)
        h = h * h.sigmoid()
        return self.head(h.mean((2, 3)))


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("trained", [True, False])
def test_norms_at_the_start_without_bias_changed_in_place_and_used_twice(trained: bool, channels_last: bool) -> None:
    torch.manual_seed(0)
    model, x = Awkward(trained), torch.randn(3, 2, 4, 6, 6)
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, std=1.0 if "weight" in name else 0.2)
    if channels_last:
        model.to(memory_format=torch.channels_last)
        x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (3, 2))

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        return model(x).square().sum(1)

    assert_equal_to_reference(bookkeeping, (model, loss, [x]), slack=1e-3)


def test_a_slope_that_nobody_wants_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = nn.GroupNorm(2, 4).requires_grad_(False), torch.randn(3, 4, 5, 5)
    call = GroupNormCall(layer)
    call(x)
    call.sums(x, torch.randn_like(x))
    assert call._dx is None
    x.requires_grad_()
    call = GroupNormCall(layer)
    out = call(x)
    call.sums(x.detach(), torch.ones_like(x))
    assert call._dx is not None
    torch.autograd.grad(out.sum(), x)
    assert call._dx is None, "it is not kept longer than until it is asked for"
