"""An attack on the released images alone: copies are found, images of the same source are not told apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raysyn.attacks import nearest as attacked
from raysyn.attacks.nearest import attack, flat, nearest
from raysyn.data.images import Images

CLASSES = ("a", "b")


def blobs(count: int, seed: int, persons: int = 0, side: int = 6) -> Images:
    """Noise around a pattern of each class; persons have images of both."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = 100 + 60 * labels[:, None, None, None] + rng.normal(0, 25, (count, side, side, 1))
    persons_N = np.arange(count) // 3 % persons if persons else None
    return Images(pixels.clip(0, 255).astype(np.uint8), labels.astype(np.int64), CLASSES, persons_N)


@pytest.fixture
def by_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacked, "FEWEST", 10**9)


@pytest.mark.parametrize("persons", [0, 60])
def test_strangers_are_not_told_apart_and_copies_are(by_pixels: None, persons: int) -> None:
    members, others = blobs(240, 0, persons), blobs(180, 1, persons)
    for released, copies in ((blobs(300, 2), False), (members.select(np.arange(120)), True)):
        told = attack(released, members, others, 1000, 0, 1e-5)
        record, near = told["found"], told["closer"]["pixels"]
        assert record["sees"] == "released images" and record["epsilon"]["delta"] == 1e-5
        assert record["unit"] == ("person" if persons else "image")
        assert (record["epsilon"]["value"] > 0) == copies and (record["advantage"]["low"] > 0) == copies
        assert (near["low"] > 0.5) == copies and near["high"] >= 0.45
        assert f"{100 * near['value']:.1f} %" in record["note"] and told["released"] == len(released)


def test_the_cnn_learns_from_released_images_and_adds_its_features() -> None:
    members, others = blobs(80, 0, side=8), blobs(80, 1, side=8)
    told = attack(members.select(np.arange(60)), members, others, 60, 0)
    assert set(told["closer"]) == {"pixels", "features"} and "features of a CNN" in told["found"]["note"]
    assert told["found"]["members"] == 60 and told["found"]["auc"]["low"] > 0.7
    assert told == attack(members.select(np.arange(60)), members, others, 60, 0)


@pytest.mark.parametrize("what", ["no common class", "the same images", "one image"])
def test_where_too_few_can_be_compared_the_reason_is_told(by_pixels: None, what: str) -> None:
    members, others = blobs(40, 0), blobs(40, 1)
    released = blobs(20, 2)
    if what == "no common class":
        others = others.select(np.flatnonzero(others.labels_N == 1))
        released = released.select(np.flatnonzero(released.labels_N == 0))
    elif what == "the same images":
        others = members
    else:
        others = others.select([0])
    told = attack(released, members, others, 100, 0)
    assert told["found"] is None and told["reason"].startswith("attack: of ")


def test_classes_without_a_released_image_are_left_out_on_both_sides(by_pixels: None) -> None:
    members, others = blobs(40, 0), blobs(40, 1)
    told = attack(blobs(20, 2).select(np.arange(0, 20, 2)), members, others, 100, 0)
    assert (told["found"]["members"], told["found"]["others"]) == (20, 20)


def test_one_image_that_is_near_to_all_is_one_coin(by_pixels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty released images whose nearest is the same member prove as much as one."""
    members, others = blobs(40, 0), blobs(40, 1)
    copies = members.select(np.zeros(50, np.int64))
    near = attack(copies, members, others, 100, 0)["closer"]["pixels"]
    assert near == pytest.approx({"value": 1.0, "low": 0.025, "high": 1.0})


def test_the_nearest_is_the_nearest_however_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    queries, among = (
        Images(rng.integers(0, 256, (n, 4, 5, 3), np.uint8), np.zeros(n, np.int64), ("a",)) for n in (103, 40)
    )
    apart = torch.cdist(flat(queries), flat(among), compute_mode="donot_use_mm_for_euclid_dist")
    own = torch.cdist(flat(queries), flat(queries), compute_mode="donot_use_mm_for_euclid_dist")
    units = np.arange(103) // 2
    own[torch.from_numpy(units[:, None] == units)] = torch.inf
    for block in (7, 40, 1000):
        monkeypatch.setattr(attacked, "BLOCK", block * 4 * 5 * 3)
        for found, wanted in ((nearest(queries, among, flat), apart), (nearest(queries, queries, flat, units), own)):
            assert torch.allclose(found.far, wanted.min(1).values, atol=1e-5)
            assert torch.equal(found.who, wanted.argmin(1))
    alone = nearest(queries.select([0]), queries.select([0]), flat, np.zeros(1, np.int64))
    assert alone.far.tolist() == [np.inf]


def test_large_images_are_averaged_down() -> None:
    large = blobs(3, 0, side=70)
    assert flat(large).shape == (3, 24 * 24) and flat(blobs(3, 0)).shape == (3, 36)
