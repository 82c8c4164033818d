"""The conditional DCGANs of PIGAN against its tables."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from raysyn.models.dcgan import DCGANConfig, Discriminator, Generator, Layout, PartClassifier
from raysyn.privacy import engines


def size(*networks: nn.Module) -> int:
    """Parameters and running statistics, as Keras counts them."""
    return sum(value.numel() for network in networks for value in network.state_dict().values())


@pytest.mark.parametrize(
    ("layout", "shape", "millions"),
    [("fashion_mnist", (28, 28, 1), (2.24, 2.98, 5.11)), ("cifar10", (32, 32, 3), (1.93, 2.59, 4.39))],
)
def test_sizes_are_the_papers(layout: Layout, shape: tuple[int, int, int], millions: tuple[float, ...]) -> None:
    """PIGAN 5.2.5: GAN, PIGAN with N = 2, PrivGAN with N = 2."""
    config = DCGANConfig(layout=layout)
    gan = size(Generator(config, shape, 10), Discriminator(config, shape, 10))
    classifier = PartClassifier(config, shape, 2)
    pigan = size(Generator(config, shape, 10, 2), Discriminator(config, shape, 10, 2), classifier)
    counts = (gan, pigan, 2 * gan + size(classifier))
    assert tuple(round(count / 1e6, 2) for count in counts) == millions
    assert tuple(int(count / 1e4) / 100 for count in counts) == millions  # cut off instead of rounded: the same


@pytest.mark.parametrize(
    ("layout", "shape"),
    [("fashion_mnist", (28, 28, 1)), ("fashion_mnist", (8, 12, 3)), ("cifar10", (32, 32, 3)), ("cifar10", (8, 8, 1))],
)
@pytest.mark.parametrize("parts", [0, 3])
def test_class_and_code_shape_every_answer(layout: Layout, shape: tuple[int, int, int], parts: int) -> None:
    torch.manual_seed(0)
    config = DCGANConfig(layout=layout, width=0.125, latent=5)
    generator, discriminator = (kind(config, shape, 4, parts) for kind in (Generator, Discriminator))
    z, labels = torch.randn(1, 5).expand(6, 5), torch.tensor([0, 0, 1, 1, 2, 2])
    codes = torch.tensor([0, 1, 0, 1, 2, 2]) if parts else None
    generator.eval()
    images = generator(z, labels, codes)
    assert images.shape == (6, shape[2], *shape[:2]) and images.abs().max() <= 1
    same = images[:1].detach().expand(6, -1, -1, -1)
    logits = discriminator(same, labels, codes)
    assert logits.shape == (6,)
    for answers in (images.flatten(1), logits[:, None]):
        assert torch.allclose(answers[4], answers[5]) and not torch.allclose(answers[0], answers[4])
        assert torch.allclose(answers[0], answers[1]) == (not parts)
    if parts:
        assert PartClassifier(config, shape, parts)(images).shape == (6, parts)


@pytest.mark.parametrize("layout", ["fashion_mnist", "cifar10"])
def test_dp_sgd_can_train_the_discriminator(layout: Layout) -> None:
    engines.refuse_unsupported(Discriminator(DCGANConfig(layout=layout), (32, 32, 3), 10))


@pytest.mark.parametrize("layout", ["fashion_mnist", "cifar10"])
def test_sides_that_cannot_be_halved_are_refused(layout: Layout) -> None:
    with pytest.raises(ValueError, match=r"30x30 pixels cannot be halved [23] times.*--data\.size"):
        Generator(DCGANConfig(layout=layout), (30, 30, 1), 10)


@pytest.mark.parametrize("wrong", [{"layout": "mnist"}, {"width": 0.0}, {"latent": 0}])
def test_settings_are_refused_by_name(wrong: dict) -> None:
    with pytest.raises(ValueError, match=rf"network\.{next(iter(wrong))} "):
        DCGANConfig(**wrong)
