"""BigGAN-deep for small images."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch
from ranks import on_ranks

from raysyn.compute.worker import Worker
from raysyn.models.biggan import BigGANConfig, Discriminator, Generator, first_map
from raysyn.models.norm import LearnedNorm, across_ranks

SMALL = BigGANConfig(channels=4, latent=8, embedding=6)


@pytest.mark.parametrize(
    ("side", "map_", "doublings"), [(32, 4, 3), (28, 7, 2), (8, 4, 1), (64, 4, 4), (24, 6, 2), (10, 5, 1)]
)
def test_images_grow_from_the_smallest_map(side: int, map_: int, doublings: int) -> None:
    assert first_map((side, side, 1)) == (map_, map_, doublings)


def test_a_side_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match=r"25x25 .* --data.size 24 or --data.size 26"):
        first_map((25, 25, 1))


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (8, 8, 1)])
def test_shapes_and_gradients(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    generator, discriminator = Generator(SMALL, shape, 5), Discriminator(SMALL, shape, 5)
    labels = torch.arange(4) % 5
    images = generator(torch.randn(4, 8), labels)
    assert images.shape == (4, shape[2], *shape[:2])
    assert images.min() >= 0 and images.max() <= 1 and images.std() > 0.05
    logits = discriminator(images, labels)
    assert logits.shape == (4,)
    logits.sum().backward()
    for network in (generator, discriminator):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_the_original_s_tanh_gives_images_of_the_same_range() -> None:
    """(1 + tanh x) / 2 is a sigmoid of twice the argument: from the same last map, other images."""
    torch.manual_seed(0)
    ours, theirs = Generator(SMALL, (8, 8, 1), 5), Generator(replace(SMALL, output="tanh"), (8, 8, 1), 5)
    theirs.load_state_dict(ours.state_dict())
    latent, labels = torch.randn(4, 8), torch.arange(4)
    made, again = ours(latent, labels), theirs(latent, labels)
    assert torch.allclose(again, torch.sigmoid(2 * torch.logit(made)), atol=1e-5) and not torch.allclose(made, again)
    assert pickle.loads(pickle.dumps(theirs)).config.output == "tanh"


def test_the_published_arrangement_at_32() -> None:
    """Two blocks at each of three resolutions; the discriminator halves twice; channels 4 ch outside, ch inside."""
    generator, discriminator = Generator(SMALL, (32, 32, 3), 5), Discriminator(SMALL, (32, 32, 3), 5)
    assert [block.doubles for block in generator.blocks] == [False, True] * 3
    assert [block.halves for block in discriminator.blocks] == [True, False, True, False, False, False]
    assert [tuple(conv.weight.shape) for conv in generator.blocks[0].convs] == [
        (4, 16, 1, 1), (4, 4, 3, 3), (4, 4, 3, 3), (16, 4, 1, 1)
    ]  # fmt: skip


def test_every_weight_of_both_is_spectrally_normalised() -> None:
    torch.manual_seed(0)
    for network in (Generator(SMALL, (8, 8, 1), 5), Discriminator(SMALL, (8, 8, 1), 5)):
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name.endswith("original"):
                    parameter.mul_(7)
                # The class embedding of the generator is an input, not a layer.
                assert parameter.ndim == 1 or name.endswith("original") or name == "embedding.weight", name
        checked = 0
        for name, module in network.named_modules():
            if hasattr(module, "parametrizations"):
                for _ in range(30):
                    weight = module.weight
                assert float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2)) == pytest.approx(1, abs=0.02), (
                    name
                )
                checked += 1
        assert checked > 8


def test_the_plain_twin_computes_the_same() -> None:
    torch.manual_seed(0)
    generator = Generator(SMALL, (8, 8, 1), 5)
    latent, labels = torch.randn(16, 8), torch.arange(16) % 5
    for _ in range(20):
        generator(latent, labels)
    twin = Generator(SMALL, (8, 8, 1), 5, spectral=False)
    twin.load_state_dict(generator.plain())
    assert torch.allclose(generator.eval()(latent, labels), twin.eval()(latent, labels), atol=1e-4)


def test_statistics_span_all_ranks() -> None:
    """Two ranks with a third and two thirds of a batch normalise, and differentiate, as one with all of it."""
    torch.manual_seed(0)
    x = torch.randn(6, 3, 4, 4, requires_grad=True)
    whole = LearnedNorm(3)
    whole.mean.fill_(0.3)
    expected, weights = whole(x), torch.randn(6, 3, 4, 4)
    (gradient,) = torch.autograd.grad((expected * weights).sum(), x)

    norms, parts = [LearnedNorm(3) for _ in range(2)], (slice(2), slice(2, 6))

    def rank(worker: Worker) -> tuple[torch.Tensor, torch.Tensor]:
        norm, part = norms[worker.rank], parts[worker.rank]
        norm.mean.fill_(0.3)
        across_ranks(norm, worker.sum_)
        mine = x[part].detach().requires_grad_()
        answer = norm(mine)
        return answer, torch.autograd.grad((answer * weights[part]).sum(), mine)[0]

    found, _ = on_ranks(rank, 2)
    assert torch.allclose(torch.cat([answer for answer, _ in found]), expected, atol=1e-5)
    assert torch.allclose(torch.cat([own for _, own in found]), gradient, atol=1e-5)
    for norm in norms:
        assert torch.allclose(norm.mean, whole.mean, atol=1e-6)
        assert torch.allclose(norm.variance, whole.variance, atol=1e-6)
