"""The fast recipe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from raysyn.compute.worker import Alone
from raysyn.data.images import Images
from raysyn.models import fast_net
from raysyn.models.fast_net import FastNet, FastNetConfig
from raysyn.train import fast
from raysyn.train.arrays import as_tensor
from raysyn.train.classifier import accuracy, as_float
from raysyn.train.fast import FastConfig, FastRecipe, fit
from raysyn.train.memory import peak_bytes

RECIPE = FastRecipe(config=FastConfig(epochs=6, widths=(16, 32, 32)))


def trained(images: Images, seed: int, recipe: FastRecipe = RECIPE) -> FastNet:
    torch.manual_seed(seed)
    return fit(Alone(), recipe.network().build(images.shape[2], images.classes), images, recipe, seed)


def noise(size: int, channels: int) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (24, size, size, channels), dtype=np.uint8)
    return Images(pixels, np.arange(24) % 3, ("a", "b", "c"))


def test_a_few_epochs_learn_digits_far_better_than_chance() -> None:
    data = load_digits()
    names, labels = tuple(map(str, range(10))), data.target.astype(np.int64)
    pixels = np.minimum(data.images * 16, 255).astype(np.uint8)[..., None]
    model = trained(Images(pixels[:600], labels[:600], names), 0)
    assert accuracy(model, Images(pixels[1000:], labels[1000:], names)) > 0.6


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (8, 3), (28, 1), (32, 3), (64, 1), (64, 3)])
def test_grey_and_colour_of_every_size_are_trained_by_the_seed_alone(size: int, channels: int) -> None:
    recipe = FastRecipe(config=FastConfig(epochs=1, widths=(2, 2, 2)), flip=True, shift=1)
    images = noise(size, channels)
    first, again, other = (trained(images, seed, recipe).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["patches.bias"], other["patches.bias"])
    assert all(bool(torch.isfinite(value).all()) for value in first.values())


def floats(images: Images) -> torch.Tensor:
    return as_float(as_tensor(images.images_NHWC))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("at_once", [fast_net.AT_ONCE, 300, 1])
def test_the_first_filters_whiten_the_patches_of_the_images(
    channels: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their answers vary by 1 and not together, and the other half are the negatives; in whatever portions."""
    monkeypatch.setattr(fast_net, "AT_ONCE", at_once)
    images, net = floats(noise(12, channels)), FastNetConfig(widths=(2, 2, 2)).build(channels, 3)
    images = images + 2 * images.roll(1, -1)
    net.whiten(images)
    with torch.no_grad():
        answers = net.patches((images - net.centre) / net.spread).transpose(0, 1).flatten(1)
    half = len(answers) // 2
    torch.testing.assert_close(answers[:half] @ answers[:half].T / answers.shape[1], torch.eye(half), atol=5e-3, rtol=0)
    assert torch.equal(answers[:half], -answers[half:])


def test_whitening_holds_little_more_than_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not all of their patches, which are 4 times as many numbers, in double precision."""
    monkeypatch.setattr(fast_net, "AT_ONCE", 2**12)
    images, net = torch.rand(300, 3, 32, 32), FastNetConfig(widths=(2, 2, 2)).build(3, 3)
    assert peak_bytes(lambda: net.whiten(images)) < 3 * images.nbytes


@pytest.mark.parametrize("total", [3, 10, 12])
def test_slow_weights_follow_and_the_fast_ones_go_on_from_there(total: int) -> None:
    weight = nn.Linear(1, 1, bias=False)
    ahead, here = fast._Ahead(weight, total), weight.weight.item()
    slow = here
    for done in range(1, total + 1):
        here += done
        with torch.no_grad():
            weight.weight += done
        ahead.look(done)
        if done % min(5, total) == 0:
            keep = 0.95**5 * (done / total) ** 3
            slow = keep * slow + (1 - keep) * here
        if done % min(5, total) == 0 or done == total:
            here = slow
        assert weight.weight.item() == pytest.approx(here, rel=1e-5)


def test_biases_of_normalisation_learn_64_times_as_fast_and_what_is_fixed_not_at_all() -> None:
    net = FastNetConfig(widths=(2, 2, 2)).build(1, 3)
    biases, others = fast._optimizer(net, 11.5, 256).param_groups
    norms = [one for one in net.modules() if isinstance(one, nn.BatchNorm2d)]
    assert {id(one) for one in biases["params"]} == {id(one.bias) for one in norms}
    fixed = {id(net.patches.weight), *(id(one.weight) for one in norms)}
    both = [id(one) for group in (biases, others) for one in group["params"]]
    assert len(both) == len(set(both)) and set(both) == {id(one) for one in net.parameters()} - fixed
    rate = 11.5 / 1024 / (1 + 1 / 0.15)
    assert others["lr"] == pytest.approx(rate) and biases["lr"] == pytest.approx(64 * rate)
    # Decay per step is rate times decay, the same for all.
    assert others["weight_decay"] == pytest.approx(0.0153 * 256 / 11.5)
    assert biases["weight_decay"] * 64 == pytest.approx(others["weight_decay"])


def test_a_training_has_all_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whitened first, looking ahead after every step, with smoothed labels and the rates of its groups."""
    images, recipe, smoothed, looked, made = noise(8, 1), replace(RECIPE, flip=True), [], [], []
    optimizer, loss, look = fast._optimizer, F.cross_entropy, fast._Ahead.look

    def told(*given: Any, **how: Any) -> torch.Tensor:
        smoothed.append(how["label_smoothing"])
        return loss(*given, **how)

    def looking(self: Any, done: int) -> None:
        looked.append(done)
        look(self, done)

    monkeypatch.setattr(F, "cross_entropy", told)
    monkeypatch.setattr(fast._Ahead, "look", looking)
    monkeypatch.setattr(fast, "_optimizer", lambda *given: made.append(optimizer(*given)) or made[0])
    net, fresh = trained(images, 0, recipe), recipe.network().build(1, 3)
    fresh.whiten(floats(images))
    torch.testing.assert_close(net.patches.weight, fresh.patches.weight, atol=1e-3, rtol=1e-3)
    assert net.mirrored
    assert looked == list(range(1, 7)) and smoothed == 6 * [0.2]
    biases, others = made[0].param_groups
    last = fast.triangle(5 / 6) * recipe.config.rate(24) / 1024 / (1 + 1 / 0.15)
    assert others["lr"] == pytest.approx(last) and biases["lr"] == pytest.approx(64 * last)


@pytest.mark.parametrize("flip", [True, False])
def test_every_two_epochs_show_an_image_and_its_mirror_image_once(flip: bool) -> None:
    images, seen = noise(8, 3), list[torch.Tensor]()
    recipe = replace(RECIPE, config=replace(RECIPE.config, epochs=4), flip=flip)
    net = recipe.network().build(3, 3)
    net.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    fit(Alone(), net, images, recipe, 0)
    shown, own = [{one.numpy().tobytes() for one in batch.contiguous()} for batch in seen], floats(images).contiguous()
    mirrored = own.flip(-1).contiguous()
    for one, other in zip(own.numpy(), mirrored.numpy(), strict=True):
        for first in (0, 2):
            times = [[one.tobytes() in shown[epoch], other.tobytes() in shown[epoch]] for epoch in (first, first + 1)]
            assert sorted(times) == ([[False, True], [True, False]] if flip else [[True, False], [True, False]])
    assert len(seen) == 4
    turned = sum(other.tobytes() in shown[0] for other in mirrored.numpy())
    assert 0 < turned < len(images) or not flip, "half of them in the first"
