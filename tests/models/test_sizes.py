"""A size that a network does not take is refused with the nearest ones that it does."""

from __future__ import annotations

import pytest

from raysyn.models import biggan
from raysyn.models.dcgan import DCGANConfig
from raysyn.models.sizes import nearest


@pytest.mark.parametrize(
    ("layout", "side", "sizes"),
    [
        ("fashion_mnist", 30, "--data.size 28 or --data.size 32"),
        ("fashion_mnist", 33, "--data.size 32 or --data.size 36"),
        ("cifar10", 100, "--data.size 96 or --data.size 104"),
        ("cifar10", 9, "--data.size 8 or --data.size 16"),
    ],
)
def test_a_gan_of_the_papers_names_sizes_that_it_can_halve(layout: str, side: int, sizes: str) -> None:
    config = DCGANConfig(layout=layout)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=rf"^images of {side}x{side} pixels cannot be halved .*: rescale them with {sizes}$"
    ):
        config.first_map((side, side, 1))
    for size in sizes.replace("--data.size ", "").split(" or "):
        config.first_map((int(size), int(size), 1))


def test_biggan_names_sizes_that_it_can_double_to() -> None:
    with pytest.raises(ValueError, match=r"33x33 pixels cannot be doubled .* with --data\.size 32 or --data\.size 34$"):
        biggan.first_map((33, 33, 3))
    # A size makes squares, so of images that are not square it is as near to their shorter side as can be.
    with pytest.raises(ValueError, match=r"21x15 pixels .* with --data\.size 14 or --data\.size 16$"):
        biggan.first_map((21, 15, 3))
    assert biggan.first_map((32, 32, 3))[2] and biggan.first_map((34, 34, 3))[2]


def test_no_size_is_below_what_is_read() -> None:
    assert nearest((9, 9, 1), lambda side: not side % 16) == "--data.size 16"
    assert nearest((3, 3, 1), lambda side: True) == "--data.size 8"
