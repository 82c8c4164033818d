"""At most so many images of each person: which ones is nobody else's business."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raysyn.data.by_person import first_of_each, in_order, side_by_side
from raysyn.data.images import DataConfig, Images, bounded, facts_and_units, load

SIZES = (1, 12, 3, 2, 1, 20, 7)


def people(seed: int = 0) -> Images:
    rng = np.random.default_rng(seed)
    whose_N = rng.permutation(np.repeat(np.arange(len(SIZES)), SIZES))
    pixels = rng.integers(0, 256, (len(whose_N), 8, 8, 1), dtype=np.uint8)
    return Images(pixels, rng.integers(0, 3, len(whose_N)), ("a", "b", "c"), whose_N)


def albums(images: Images) -> list[set[bytes]]:
    """The images of each person."""
    assert images.persons_N is not None
    return [{one.tobytes() for one in images.images_NHWC[images.persons_N == person]} for person in range(images.units)]


def written(folder: Path, images: Images, tests: Images) -> DataConfig:
    arrays = {}
    for split, part in (("train", images), ("test", tests)):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = part.images_NHWC, part.labels_N
        assert part.persons_N is not None
        arrays[f"{split}_persons"] = np.array([f"{split}{person}" for person in part.persons_N])
    folder.mkdir(exist_ok=True)
    np.savez(folder / "set.npz", class_names=np.array(images.class_names), **arrays)
    return DataConfig(path=str(folder / "set.npz"))


@pytest.mark.parametrize("most", [1, 2, 5, 19, 20])
def test_everybody_keeps_up_to_so_many_and_more_where_more_are_kept(most: int) -> None:
    images = people()
    kept, more = albums(bounded(images, most)), albums(bounded(images, most + 1))
    assert [len(album) for album in kept] == [min(size, most) for size in SIZES]
    assert all(few <= many <= whole for few, many, whole in zip(kept, more, albums(images), strict=True))


def test_what_is_kept_of_somebody_depends_on_their_images_alone() -> None:
    """Not on their order, on who else there is, nor on how many images anybody has."""
    images = people()
    kept = albums(bounded(images, 3))
    mixed = images.select(np.random.default_rng(1).permutation(len(images)))
    assert albums(bounded(mixed, 3)) == kept
    for gone in range(len(SIZES)):
        fewer = albums(bounded(images.select(images.persons_N != gone), 3))
        assert fewer == kept[:gone] + kept[gone + 1 :]
    assert images.persons_N is not None
    # The fifth and the first are one person now.
    joined = albums(
        bounded(replace(images, persons_N=in_order(np.where(images.persons_N == 5, 1, images.persons_N))), 3)
    )
    assert all(kept[person] in joined for person in (0, 2, 3, 4, 6)) and len(joined) == len(SIZES) - 1


def test_equal_images_of_somebody_count_as_several() -> None:
    rows = first_of_each(np.array([0, 0, 0, 1]), [b"a", b"a", b"b", b"c"], 2)
    assert rows.tolist() == [0, 1, 3]


def test_a_source_is_read_with_the_bound_which_is_said_and_is_another_data_set(tmp_path: Path) -> None:
    config = written(tmp_path, people(), people(1))
    whole, few = load(config), load(replace(config, most_per_person=3))
    assert len(few.train) == len(few.test) == sum(min(size, 3) for size in SIZES) and few.train.units == len(SIZES)
    assert albums(few.train) == albums(bounded(whole.train, 3))
    assert "60 beyond 3 of a person left out" in few.told and few.told.endswith(
        "7 persons in train, of 1 to 3 images each"
    )
    assert few.fingerprint() != whole.fingerprint() and "beyond" not in whole.told
    assert load(replace(config, most_per_person=20)).fingerprint() == whole.fingerprint()
    # What is known without a picture decoded.
    assert facts_and_units(replace(config, most_per_person=3)) == ((len(few.train), (8, 8, 1), 3), 7, "person")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"most_per_person": 0}, "data.most_per_person=0 leaves nobody an image; give at least 1"),
        ({"most_per_person": 2, "name": "digits", "path": None}, "but nobody is named in data.name='digits'"),
    ],
)
def test_a_bound_that_bounds_nothing_is_refused(change: dict[str, object], said: str, tmp_path: Path) -> None:
    config = replace(written(tmp_path, people(), people(1)), **change)  # type: ignore[arg-type]
    for read in (load, facts_and_units):
        with pytest.raises(ValueError) as caught:
            read(config)
        assert said in str(caught.value) and "\n" not in str(caught.value)


def test_sides_are_joined_with_nobody_on_both() -> None:
    assert side_by_side((None, 2), (None, 3)) is None
    found = side_by_side((np.array([5, 9, 5]), 3), (None, 2), (np.array([0, 5]), 2))
    assert found is not None and found.tolist() == [0, 1, 0, 2, 3, 4, 5]
    assert in_order(np.array([7, 2, 7, 0, 2])).tolist() == [0, 1, 0, 2, 1]
