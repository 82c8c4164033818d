"""A normalisation before a network: in the units that users know."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from raysyn.models.normalised import Normalised
from raysyn.train.classifier import as_float


class Kept:
    """An architecture that answers with what its networks are shown."""

    def build(self, channels: int, classes: int) -> nn.Module:
        return nn.Identity()


@pytest.mark.parametrize(
    ("mean", "std"), [((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.5,), (0.25,)), ((0.0,), (1.0,))]
)
def test_networks_are_shown_pixel_values_less_the_mean_by_the_deviation(
    mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    pixels_NHWC = torch.randint(0, 256, (4, 6, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    of_01 = pixels_NHWC.double().permute(0, 3, 1, 2) / 255
    wanted = (of_01 - torch.tensor(mean).double()[:, None, None]) / torch.tensor(std).double()[:, None, None]
    shown = Normalised(Kept(), mean, std).build(3, 10)(as_float(pixels_NHWC))
    assert shown.dtype == torch.float32
    torch.testing.assert_close(shown.double(), wanted, rtol=1e-5, atol=1e-5)


def test_the_default_units_are_a_half_and_a_half() -> None:
    images = torch.rand(2, 3, 4, 4) * 2 - 1
    assert torch.equal(Normalised(Kept(), (0.5,), (0.5,)).build(3, 10)(images), images)


def test_another_normalisation_is_another_state_and_another_name() -> None:
    one, other = (Normalised(Kept(), (mean,), (0.2,)) for mean in (0.4, 0.5))
    assert repr(one) != repr(other)
    assert not torch.equal(one.build(1, 2).state_dict()["shift"], other.build(1, 2).state_dict()["shift"])


@pytest.mark.parametrize("channels", [1, 4])
def test_one_value_per_channel_or_one_for_all(channels: int) -> None:
    with pytest.raises(ValueError, match=rf"target\.mean has 3 values, but the images have {channels} channels"):
        Normalised(Kept(), (0.4, 0.5, 0.6), (0.2,)).build(channels, 2)
