"""FLD: against one pair at a time, and what it must tell apart."""

import math

import numpy as np
import pytest
import torch

from raysyn.metrics import likelihood
from raysyn.metrics.likelihood import feature_likelihood

FEATURES, N = 16, 200
CENTRES = 3 * torch.randn(4, FEATURES, generator=torch.Generator().manual_seed(7))


def real(seed, classes=4):
    generator = torch.Generator().manual_seed(seed)
    return CENTRES[torch.arange(N) % classes] + torch.randn(N, FEATURES, generator=generator)


def log_p(x, centres, log_variances):
    """Pair by pair, in plain Python numbers."""
    each = []
    for centre, log_variance in zip(centres, log_variances, strict=True):
        squared = sum((a - b) ** 2 for a, b in zip(x.tolist(), centre.tolist(), strict=True))
        each.append(-0.5 * squared / math.exp(log_variance) - len(x) / 2 * (log_variance + math.log(2 * math.pi)))
    return float(np.logaddexp.reduce(each)) - math.log(len(each))


def test_the_mixture_is_what_one_pair_at_a_time_gives():
    made, test, widths = real(1)[:7], real(2)[:5], torch.linspace(-1, 2, 7)
    slow = -np.mean([log_p(x, made, widths.tolist()) for x in test]) / FEATURES
    found = likelihood._surprise(test.double(), made.double(), widths.double())
    assert found == pytest.approx(slow, rel=1e-9)


def test_widths_are_those_that_autograd_finds():
    made, train = real(1)[:20].double(), real(2)[:50].double()
    widths = ((torch.cdist(train, made) ** 2).min(0).values + 1e-3).div(FEATURES).log().requires_grad_()
    background = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([widths, background], lr=0.5)
    far = 0.81 * (train - train.mean(0)).square().sum(1, keepdim=True)
    for _ in range(50):
        each = -0.5 * torch.cdist(train, made) ** 2 / widths.exp() - FEATURES / 2 * (widths + math.log(2 * math.pi))
        beside = -0.5 * far / background.exp() - FEATURES / 2 * (background + math.log(2 * math.pi))
        loss = -torch.cat([each - math.log(20), beside], 1).logsumexp(1).mean() / FEATURES
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            widths.clamp_(-40, 20)
    torch.testing.assert_close(likelihood._fitted(made, train), widths.detach(), atol=2e-3, rtol=2e-3)


def test_real_images_are_about_zero_and_what_is_wrong_with_others_is_more():
    train, test = real(10), real(11)
    good = feature_likelihood(real(12), train, test, 0)
    assert abs(good["fld"]) < 3 and abs(good["fld_gap"] - good["fld_gap_real_halves"]) < 5
    noisy = real(12) + 2 * torch.randn(N, FEATURES, generator=torch.Generator().manual_seed(0))
    for what, made in {"noise": noisy, "alike": real(12)[:8].repeat(25, 1), "missing": real(12, classes=1)}.items():
        assert feature_likelihood(made, train, test, 0)["fld"] > good["fld"] + 5, what


def test_copies_explain_training_images_and_no_others():
    train, test = real(10), real(11)
    for share in (0.5, 1.0):
        copies = torch.cat([train[: int(share * N)], real(12)[int(share * N) :]])
        found = feature_likelihood(copies, train, test, 0)
        assert found["fld_gap"] < found["fld_gap_real_halves"] - 50
    near = train + 0.05 * torch.randn(N, FEATURES, generator=torch.Generator().manual_seed(0))
    assert feature_likelihood(near, train, test, 0)["fld"] > 100


def test_units_of_features_and_a_constant_one_change_nothing():
    sides = [real(seed) for seed in (12, 10, 11)]
    found = feature_likelihood(*sides, 0)
    scaled = feature_likelihood(*(1000 * side + 5 for side in sides), 0)
    assert scaled["fld"] == pytest.approx(found["fld"], rel=1e-2, abs=1e-2)
    wider = feature_likelihood(*(torch.cat([side, torch.ones(N, 1)], 1) for side in sides), 0)
    assert math.isfinite(wider["fld"]) and abs(wider["fld"]) < 3


def test_too_few_images_have_none():
    for made, train, test in ((0, N, N), (N, 1, N), (N, N, 1)):
        found = feature_likelihood(real(1)[:made], real(2)[:train], real(3)[:test], 0)
        assert set(found.values()) == {None}
    assert math.isfinite(feature_likelihood(real(1)[:1], real(2)[:2], real(3)[:2], 0)["fld"])
