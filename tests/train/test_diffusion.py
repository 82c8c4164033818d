"""EDM's preconditioning and the task: what an example draws depends on its seed and on nothing else."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from raysyn.train.diffusion import SIGMA_DATA, DiffusionTask, denoise, no_class, to_images, to_network

TASK = DiffusionTask(classes=3)


def _images(n: int, side: int = 8, channels: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, side, side, channels), dtype=torch.uint8, generator=generator)
    return images, torch.arange(n) % 3


class Fixed(nn.Module):
    """Answers a constant and remembers what it was asked."""

    def __init__(self, answer: float) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor, c_noise: Tensor, labels: Tensor) -> Tensor:
        self.asked = x, c_noise, labels
        return torch.full_like(x, self.answer)


def test_pixels_survive_the_way_to_the_network_and_back() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1)
    x = to_network(images)
    assert x.shape == (1, 1, 16, 16) and x.min() == -1 and x.max() == 1
    assert torch.equal(to_images(x), images)
    assert to_images(torch.full((1, 3, 8, 8), 7.0)).max() == 255


def test_preconditioning_follows_karras_table_1() -> None:
    x, sigma = torch.randn(4, 1, 8, 8), torch.tensor([0.002, 0.5, 3.0, 80.0])
    model = Fixed(0.3)
    d = denoise(model, x, sigma, torch.zeros(4, dtype=torch.long))
    for i, s in enumerate(sigma.tolist()):
        total = s**2 + SIGMA_DATA**2
        expected = SIGMA_DATA**2 / total * x[i] + s * SIGMA_DATA / math.sqrt(total) * 0.3
        torch.testing.assert_close(d[i], expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(model.asked[0][i], x[i] / math.sqrt(total))
        assert model.asked[1][i].item() == pytest.approx(math.log(s) / 4, abs=1e-6)


def test_loss_is_unit_scale_at_every_noise_level() -> None:
    """With data of variance sigma_data**2 and F = 0 the weighted loss is 1 at any sigma: EDM's point."""
    clean = SIGMA_DATA * torch.randn(40, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    for s in (0.01, 0.3, 20.0):
        sigma = torch.full((40,), s)
        noisy = clean + s * torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))
        losses = TASK.loss(Fixed(0.0), noisy, clean, sigma, torch.zeros(40, dtype=torch.long))
        assert losses.shape == (40,)
        assert losses.mean().item() == pytest.approx(1, abs=0.05)


def test_draws_have_the_promised_shapes_and_laws() -> None:
    images, labels = _images(600)
    noisy, clean, sigma, kept = TASK.draw(images, labels, range(600), 8)
    assert noisy.shape == clean.shape == (600, 8, 1, 8, 8) and sigma.shape == kept.shape == (600, 8)
    log = sigma.log()
    assert log.mean().item() == pytest.approx(-1.2, abs=0.08)
    assert log.std().item() == pytest.approx(1.2, abs=0.08)
    noise = (noisy - clean) / sigma[:, :, None, None, None]
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.std().item() == pytest.approx(1, abs=0.01)
    # Copies and examples have noise of their own.
    flat = noise.flatten(2)
    assert abs((flat[:, 0] * flat[:, 1]).mean()) < 0.03 and abs((flat[:-1, 0] * flat[1:, 0]).mean()) < 0.03


def test_an_example_depends_on_its_seed_alone() -> None:
    """Micro-batches and ranks cut the batch anywhere; what each example draws must not move."""
    images, labels = _images(6, channels=3)
    seeds = [5, 2**63 - 1, 0, 2**40, 7, 8]
    whole = TASK.draw(images, labels, seeds, 4)
    for cut in ([4, 1], [0], [5, 3, 2]):
        part = TASK.draw(images[cut], labels[cut], [seeds[i] for i in cut], 4)
        for a, b in zip(whole, part, strict=True):
            assert torch.equal(a[cut], b)
    assert all(len(value) == 0 for value in TASK.draw(images[:0], labels[:0], [], 4))


def test_labels_are_dropped_once_per_example() -> None:
    images, labels = _images(2000)
    kept = DiffusionTask(classes=3, label_dropout=0.1).draw(images, labels, range(2000), 4)[3]
    assert (kept == kept[:, :1]).all()  # shared by the copies
    dropped = kept[:, 0] == no_class(3)
    assert torch.equal(kept[~dropped, 0], labels[~dropped])
    assert dropped.float().mean().item() == pytest.approx(0.1, abs=0.03)
    for share, all_gone in ((0.0, False), (1.0, True)):
        kept = DiffusionTask(classes=3, label_dropout=share).draw(images, labels, range(2000), 1)[3]
        assert bool((kept == 3).all()) is all_gone and bool((kept == 3).any()) is all_gone
