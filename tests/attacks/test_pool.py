"""Members and non-members that can be compared: one mix of classes, no image on both sides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysyn.attacks.pool import COPIES, LONELY, SHARED, make_pool, matched
from raysyn.attacks.shadows import AttackConfig, check_enough
from raysyn.data.images import Dataset, Images
from raysyn.methods.knowledge_recycling import pipeline as knowledge_recycling
from raysyn.methods.knowledge_recycling.presets import PRESETS as KNOWLEDGE_RECYCLING
from raysyn.methods.lira import pipeline as lira
from raysyn.methods.lira.presets import PRESETS as LIRA

COUNTS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=6)


def images(counts: Any, seed: int) -> Images:
    """So many different images of each class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 8, 8, 1), dtype=np.uint8)
    return Images(pixels, labels.astype(np.int64), tuple(map(str, range(len(counts)))))


@settings(deadline=None)
@given(COUNTS, st.none() | st.integers(2, 200))
def test_sides_have_one_mix_up_to_an_image_per_class(counts: list[tuple[int, int]], most: int | None) -> None:
    members, others = np.array(counts).T
    kept = matched(members, others, most)
    assert (kept[0] <= members).all() and (kept[1] <= others).all()
    assert ((kept[0] > 0) == (kept[1] > 0)).all()
    if most is not None:
        assert kept[0].sum() <= most and kept[1].sum() <= most
    both = int(((members > 0) & (others > 0)).sum())
    assert int((kept[0] > 0).sum()) == (both if most is None else min(both, most)), "rounding drops no class"
    if kept[0].sum():
        ratio = kept[0].sum() / kept[1].sum()
        # Rounding moves each side by less than an image per class, the total by less than one for each class left.
        slack = (1 + ratio) * (1 + len(counts) * kept[1] / kept[1].sum())
        assert (np.abs(kept[0] - ratio * kept[1]) <= slack).all(), kept


@pytest.mark.parametrize(
    ("members", "others", "kept"),
    [
        ([150, 150], [40, 40], ([150, 150], [40, 40])),
        ([285, 15], [150, 150], ([285, 13], [150, 7])),
        ([10, 5], [0, 5], ([0, 5], [0, 5])),
        ([10, 0], [0, 5], ([0, 0], [0, 0])),
        # Either mix is as certain: more non-members resolve lower rates.
        ([900, 100], [100, 900], ([11, 100], [99, 900])),
    ],
)
def test_as_much_is_kept_as_one_mix_allows(members: list[int], others: list[int], kept: Any) -> None:
    found = matched(np.array(members), np.array(others))
    assert [side.tolist() for side in found] == list(kept)


def test_few_images_of_opposite_mixes_keep_both_classes() -> None:
    kept = matched(np.array([900, 100]), np.array([10, 90]), 50)
    assert min(map(min, kept)) >= 1 and max(map(sum, kept)) <= 50


@settings(deadline=None)
@given(COUNTS, st.none() | st.integers(2, 200))
def test_where_either_mix_is_as_certain_the_one_with_more_non_members_is_taken(
    counts: list[tuple[int, int]], most: int | None
) -> None:
    """Sides that are each other's mirror: exchanging them exchanges nothing, so that members cannot be more."""
    one, other = np.array(counts).T
    first, second = matched(np.r_[one, other], np.r_[other, one], most)
    assert first.sum() <= second.sum()


@settings(deadline=None, max_examples=30)
@given(COUNTS, st.none() | st.integers(2, 100), st.integers(0, 3))
def test_a_pool_adds_up_and_follows_from_its_seed(counts: list[tuple[int, int]], most: int | None, seed: int) -> None:
    sides = [images(side, index) for index, side in enumerate(np.array(counts).T)]
    try:
        pool = make_pool(*sides, most, seed)
    except ValueError as error:
        assert "can be compared" in str(error)
        return
    for name, side, mask in zip(("members", "others"), sides, (pool.members_N, ~pool.members_N), strict=True):
        assert int(mask.sum()) + sum(pool.left_out[name].values()) == len(side)
        there = {image.tobytes() for image in side.images_NHWC}
        assert all(image.tobytes() in there for image in pool.images.images_NHWC[mask])
    assert pool.images.fingerprint() == make_pool(*sides, most, seed).images.fingerprint()


def test_no_image_is_on_both_sides_or_twice_on_one() -> None:
    members, others = images([20, 20], 0), images([20, 20], 1)
    pixels, labels = others.images_NHWC.copy(), others.labels_N.copy()
    pixels[0], pixels[39] = members.images_NHWC[3], members.images_NHWC[3]
    labels[0] = 1  # under another label too
    pixels[8:10] = pixels[7]
    pool = make_pool(members, Images(pixels, labels, others.class_names), None, 0)
    assert pool.left_out["members"][SHARED] == 1 and pool.left_out["others"][SHARED] == 2
    assert pool.left_out["others"][COPIES] == 2
    kept = [image.tobytes() for image in pool.images.images_NHWC]
    assert len(set(kept)) == len(kept) and members.images_NHWC[3].tobytes() not in kept


def test_a_class_of_one_side_alone_is_left_out_and_said() -> None:
    pool = make_pool(images([10, 10, 7], 0), images([10, 10, 0], 1), None, 0)
    assert pool.left_out["members"][LONELY] == 7 and set(pool.images.labels_N) == {0, 1}


@pytest.mark.parametrize(
    ("method", "presets"),
    [(lira, LIRA), (knowledge_recycling, KNOWLEDGE_RECYCLING)],
    ids=["lira", "knowledge_recycling"],
)
def test_sides_that_cannot_be_compared_are_refused_in_prepare(
    method: Any, presets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test images that are all training images; and none of the classes that were trained on."""
    train, attack = images([40, 40], 0), AttackConfig(shadow_models=4, design="half")
    stranger = images([0, 0, 40], 1)
    for test in (train, Images(stranger.images_NHWC, stranger.labels_N, (*train.class_names, "2"))):
        whole = Images(train.images_NHWC, train.labels_N, test.class_names)
        monkeypatch.setattr(method, "load", lambda config, whole=whole, test=test: Dataset("made", whole, test, None))
        with pytest.raises(ValueError, match=r"attack: .* test images only 0 of a side can be compared"):
            method.prepare(replace(presets["quick"], attack=attack))


def test_models_are_counted_on_what_is_compared() -> None:
    """Ten models split 50/10/40 suffice for a few images and not for thousands; all but a few are left out here."""
    config, lonely = AttackConfig(shadow_models=12, design="split"), images([2, 2, 3000], 0)
    check_enough(config, lonely, images([2, 2, 0], 1), 0)
    with pytest.raises(ValueError, match="2 are needed"):
        check_enough(config, lonely, images([2, 2, 3000], 1), 0)


def test_one_class_in_common_is_refused() -> None:
    config = AttackConfig(shadow_models=4, design="half")
    with pytest.raises(ValueError, match="have 1 class in common"):
        check_enough(config, images([20, 9, 0], 0), images([20, 0, 9], 1), 0)
    check_enough(config, images([20, 9, 0], 0), images([20, 1, 9], 1), 0)
