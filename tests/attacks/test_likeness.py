"""Do target and shadow models know their images alike: counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from raysyn.attacks import likeness
from raysyn.attacks.verdict import clopper_pearson
from raysyn.attacks.whose import IMAGES, Whose
from raysyn.data.images import Images


def test_right_is_what_the_network_says_of_the_images_as_they_are() -> None:
    pixels = np.array([0, 255, 255, 0], np.uint8).reshape(4, 1, 1, 1).repeat(8, 1).repeat(8, 2)
    images = Images(pixels, np.array([0, 1, 0, 1]), ("dark", "bright"))
    bright = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False))
    with torch.no_grad():
        bright[1].weight[0], bright[1].weight[1] = -1, 1
    assert likeness.right(bright, images).tolist() == [True, True, False, False]


def test_each_side_is_counted_where_it_was_trained_and_where_it_was_not() -> None:
    """Four members, then three others; two shadow models, of which the second lays the last image aside."""
    members_N = np.array([1, 1, 1, 1, 0, 0, 0], bool)
    target_N = np.array([1, 1, 1, 0, 1, 0, 0], bool)
    inside_MN = np.array([[1, 1, 0, 0, 1, 0, 0], [0, 0, 1, 1, 0, 1, 0]], bool)
    right_MN = np.array([[1, 0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 0, 0, 1]], bool)
    shadow_MNQ = np.zeros((2, 7, 1))
    shadow_MNQ[1, 6] = np.nan
    found = likeness.figures(target_N, right_MN, shadow_MNQ, inside_MN, members_N, IMAGES)
    assert found["target"]["seen"] == {**clopper_pearson(3, 4).as_dict(), "images": 4}
    assert found["target"]["unseen"] == {**clopper_pearson(1, 3).as_dict(), "images": 3}
    # Members that they were trained on: 1 of 2 and 2 of 2. Others that they were not: 0 of 1, and 2 of 2.
    seen = {**clopper_pearson(1, 2).as_dict(), "images": 2, "lowest": 0.5, "highest": 1.0}
    unseen = {**clopper_pearson(0, 1).as_dict(), "images": 1, "lowest": 0.0, "highest": 1.0}
    assert found["shadow_models"] == {"seen": seen, "unseen": unseen}


def test_a_shadow_model_that_learned_nothing_does_not_move_the_median() -> None:
    right_MN = np.ones((5, 20), bool)
    right_MN[3] = False
    inside_MN = np.arange(20) % 2 == np.arange(5)[:, None] % 2
    members_N = np.arange(20) < 10
    found = likeness.figures(members_N, right_MN, np.zeros((5, 20, 1)), inside_MN, members_N, IMAGES)
    assert found["shadow_models"]["seen"]["value"] == 1 and found["shadow_models"]["seen"]["lowest"] == 0


@pytest.mark.parametrize(("sizes", "persons"), [((3,) * 20, 20), ((1,) * 20, 20), ((20, *(1,) * 20), 3)])
def test_intervals_of_persons_are_of_as_many_trials_as_tell_as_much(sizes: tuple[int, ...], persons: int) -> None:
    """All images of one are right or wrong together: 20 persons tell what 20 images would, of one with half less."""
    whose_N = np.repeat(np.arange(2 * len(sizes)), 2 * sizes)
    members_N, right_N = whose_N < len(sizes), np.ones(len(whose_N), bool)
    found = likeness.figures(
        right_N, right_N[None], np.zeros((1, len(whose_N), 1)), members_N[None], members_N, Whose(whose_N)
    )
    for side in (*found["target"].values(), *found["shadow_models"].values()):
        assert (side["value"], side["images"]) == (1, sum(sizes))
        assert (side["low"], side["high"]) == (clopper_pearson(persons, persons).low, 1)


def rates(right: int, of: int) -> dict[str, Any]:
    return clopper_pearson(right, of).as_dict()


@pytest.mark.parametrize(
    ("target", "shadows", "apart"),
    [
        ((45, 100), (970, 1000), -0.52),
        ((97, 100), (450, 1000), 0.52),
        ((88, 100), (970, 1000), 0.0),  # by less than 10 points
        ((7, 10), (970, 1000), -0.27),
        ((7, 10), (9, 10), 0.0),  # by chance
        ((100, 100), (1000, 1000), 0.0),
    ],
)
def test_far_apart_is_more_than_ten_points_outside_both_intervals(
    target: tuple[int, int], shadows: tuple[int, int], apart: float
) -> None:
    found = {"target": {"seen": rates(*target)}, "shadow_models": {"seen": rates(*shadows)}}
    assert likeness.apart(found) == pytest.approx(apart)
