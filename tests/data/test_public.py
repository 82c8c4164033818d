"""Public images as a stream: decoded once, in the shape asked for, never held as a whole."""

from __future__ import annotations

import io
import os
import pickle
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysyn.data import public
from raysyn.data.flat_pixels import view
from raysyn.data.images import DataConfig, Images, load
from raysyn.data.public import load_beside, load_public
from raysyn.data.streams import PublicConfig


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))


def of(*paths: Path, limit: int | None = None) -> PublicConfig:
    return PublicConfig(path=tuple(map(str, paths)), limit=limit)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def parquet(path: Path, splits: dict[str, int], side: int = 8, seed: int = 0, **broken: object) -> np.ndarray:
    """A colour set with `splits` images each, classes in turn; all pixels in order."""
    rng, n = np.random.default_rng(seed), sum(splits.values())
    pixels = rng.integers(0, 256, (n, side, side, 3), np.uint8)
    columns: dict[str, list] = {
        "image": [png(one) for one in pixels],
        "label": [index % 3 for index in range(n)],
        "split": [split for split, count in splits.items() for _ in range(count)],
    }
    for name, value in broken.items():
        columns[name][4] = value
    pq.write_table(pa.table(columns), path, row_group_size=7)
    return pixels


def test_a_parquet_file_is_the_images_that_it_holds(tmp_path: Path) -> None:
    pixels = parquet(tmp_path / "set.parquet", {"train": 20, "test": 6})
    public = load_public(of(tmp_path / "set.parquet"), (8, 8, 3))
    assert len(public.train) == 20 and len(public.valid) == 6 and public.train.class_names == ("0", "1", "2")
    assert np.array_equal(public.train.images_NHWC[:], pixels[:20])
    assert np.array_equal(public.valid.images_NHWC[np.array([5, 0])], pixels[[25, 20]])
    chosen = np.array([3, 4, 5, 19, 0, 0])
    assert np.array_equal(public.train.images_NHWC[chosen], pixels[chosen])
    assert np.array_equal(public.train.images_NHWC[chosen.reshape(2, 3)], pixels[chosen.reshape(2, 3)])
    assert public.train.images_NHWC[np.array([], np.int64)].shape == (0, 8, 8, 3)
    assert np.array_equal(public.train.labels_N, np.arange(20) % 3)


def test_several_sets_are_one_whose_classes_follow_one_another(tmp_path: Path) -> None:
    first = parquet(tmp_path / "first.parquet", {"train": 20, "test": 6})
    second = parquet(tmp_path / "second.parquet", {"train": 9, "test": 3}, seed=1)
    apart = [
        load_public(PublicConfig(path=(str(tmp_path / f"{name}.parquet"),)), (8, 8, 3)) for name in ("first", "second")
    ]
    both = load_public(
        PublicConfig(path=tuple(str(tmp_path / f"{name}.parquet") for name in ("first", "second"))), (8, 8, 3)
    )
    assert both.name == "first and second" and both.train.classes == 6
    assert np.array_equal(both.train.images_NHWC[:], np.concatenate([first[:20], second[:9]]))
    labels = np.concatenate([apart[0].train.labels_N, apart[1].train.labels_N + 3])
    assert np.array_equal(both.train.labels_N, labels)
    assert len(both.valid) == 9
    letters = load_public(PublicConfig(name=("glyphs", "digits")), (8, 8, 1)).train
    assert letters.classes == 62 and letters.class_names[0] == "glyphs: a" and letters.class_names[-1] == "digits: 9"
    with pytest.raises(ValueError, match=r"public\.name and public\.path are both empty"):
        load_public(PublicConfig(name=()), (8, 8, 1))


def test_selecting_and_viewing_give_the_same_images(tmp_path: Path) -> None:
    pixels = parquet(tmp_path / "set.parquet", {"train": 20, "val": 4, "test": 6})
    train = load_public(of(tmp_path / "set.parquet"), (8, 8, 3)).train
    rows = np.array([7, 2, 11])
    seen = view(train, rows, np.array([1, 0, 1]), ("a", "b"))
    assert np.array_equal(seen.images_NHWC[:], pixels[rows]) and seen.class_names == ("a", "b")
    assert np.array_equal(train.select(rows).images_NHWC, pixels[rows])
    held = Images(pixels[:20], train.labels_N, train.class_names)
    assert train.fingerprint() == held.fingerprint()
    travelled = pickle.loads(pickle.dumps(seen))
    assert np.array_equal(travelled.images_NHWC[:], pixels[rows]) and len(pickle.dumps(train)) < 2000


def test_images_come_in_the_shape_of_the_sensitive_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = parquet(tmp_path / "set.parquet", {"train": 5, "test": 1}, side=16)
    grey = load_public(of(tmp_path / "set.parquet"), (8, 8, 1)).train.images_NHWC[:]
    assert grey.shape == (5, 8, 8, 1)
    luma = pixels[:5] @ [0.299, 0.587, 0.114]
    # Antialiased: the mean of a picture survives.
    assert abs(grey.mean() - luma.mean()) < 3
    letters = load_public(PublicConfig(), (8, 8, 3))
    assert letters.train.shape == (8, 8, 3) and len(letters.train) == 5200 and letters.train.classes == 52
    assert (np.bincount(letters.valid.labels_N) == 20).all()
    # Once decoded, the source is not even asked.
    monkeypatch.setattr("raysyn.data.streams.from_name", None)
    assert load_public(PublicConfig(), (8, 8, 3)).train.fingerprint() == letters.train.fingerprint()


def test_with_a_crop_they_are_the_squares_in_the_middle_and_decoded_anew(tmp_path: Path) -> None:
    wide = np.random.default_rng(0).integers(0, 256, (6, 8, 12, 3), dtype=np.uint8)
    columns = {"image": list(map(png, wide)), "label": [0, 1] * 3, "split": ["train"] * 5 + ["test"]}
    pq.write_table(pa.table(columns), tmp_path / "set.parquet")
    whole = load_public(of(tmp_path / "set.parquet"), (8, 8, 3))
    cropped = load_public(replace(of(tmp_path / "set.parquet"), crop="centre"), (8, 8, 3))
    assert np.array_equal(cropped.train.images_NHWC[:], wide[:5, :, 2:10])
    assert np.array_equal(cropped.valid.images_NHWC[:], wide[5:, :, 2:10])
    assert not np.array_equal(whole.train.images_NHWC[:], cropped.train.images_NHWC[:])


def test_without_other_splits_one_of_fifty_is_for_validation(tmp_path: Path) -> None:
    pixels = parquet(tmp_path / "set.parquet", {"train": 100})
    public = load_public(of(tmp_path / "set.parquet"), (8, 8, 3))
    assert len(public.train) == 98 and np.array_equal(public.valid.images_NHWC[:], pixels[[49, 99]])
    few = load_public(of(tmp_path / "set.parquet", limit=10), (8, 8, 3)).train
    more = load_public(of(tmp_path / "set.parquet", limit=20), (8, 8, 3)).train
    # Presets have limits for sets that they name; a set of the user's own may be smaller.
    every = load_public(of(tmp_path / "set.parquet", limit=99), (8, 8, 3)).train
    assert np.array_equal(every.images_NHWC[:], public.train.images_NHWC[:])
    assert len(few) == 10 and {one.tobytes() for one in few.images_NHWC[:]} <= {
        one.tobytes() for one in more.images_NHWC[:]
    }


def test_a_folder_is_read_in_order_and_again_once_it_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, count in (("train", 3), ("val", 1)):
        for name in ("cat", "dog"):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = np.full((9, 12, 3), 10 * index + (100 if name == "dog" else 0), np.uint8)
                (tmp_path / "set" / split / name / f"{index}.png").write_bytes(png(pixels))
    config = of(tmp_path / "set")
    train = load_public(config, (8, 8, 1)).train
    assert "once" in capsys.readouterr().err
    assert train.class_names == ("cat", "dog")
    assert train.images_NHWC[:][:, 0, 0, 0].tolist() == [0, 10, 20, 100, 110, 120]
    assert len(load_public(config, (8, 8, 1)).valid) == 2 and capsys.readouterr().err == ""
    (tmp_path / "set" / "train" / "dog" / "3.png").write_bytes(png(np.full((9, 12, 3), 130, np.uint8)))
    assert load_public(config, (8, 8, 1)).train.images_NHWC[-1:].max() == 130


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"image": b"no picture"}, "row 4 cannot be used: no image file"),
        ({"label": -1}, "row 4 has the label -1"),
        ({"label": None}, "row 4 has an empty label"),
        ({"split": "dev"}, "row 4 has the split 'dev'"),
    ],
)
def test_what_cannot_be_used_is_named_by_its_row(tmp_path: Path, broken: dict, words: str) -> None:
    parquet(tmp_path / "set.parquet", {"train": 10}, **broken)
    with pytest.raises(ValueError, match=words):
        load_public(of(tmp_path / "set.parquet"), (8, 8, 3))
    assert not list((tmp_path / "cache" / "public").iterdir())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (PublicConfig(limit=0), "public.limit=0"),
        (PublicConfig(path=("nowhere.parquet",)), "public.path='nowhere.parquet'"),
        (PublicConfig(name=("nothing",)), "public.name='nothing'"),
    ],
)
def test_bad_input_costs_one_sentence(config: PublicConfig, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_public(config, (8, 8, 1))


def test_too_few_images_to_validate_with_are_refused(tmp_path: Path) -> None:
    parquet(tmp_path / "set.parquet", {"train": 40})
    with pytest.raises(ValueError, match="40 images and none to validate"):
        load_public(of(tmp_path / "set.parquet"), (8, 8, 3))


def test_what_a_killed_decoding_left_is_swept_once_it_is_old(tmp_path: Path) -> None:
    parquet(tmp_path / "set.parquet", {"train": 60})
    cache = tmp_path / "cache" / "public"
    for name, age in (("old", 7 * 3600), ("young", 60)):
        (cache / f".part-{name}").mkdir(parents=True)
        (cache / f".part-{name}" / "train.u8").touch()
        for path in (cache / f".part-{name}" / "train.u8", cache / f".part-{name}"):
            os.utime(path, (time.time() - age,) * 2)
    load_public(of(tmp_path / "set.parquet"), (8, 8, 3))
    assert [path.name for path in cache.glob(".part-*")] == [".part-young"]


def test_a_machine_without_the_file_says_what_to_do(tmp_path: Path) -> None:
    parquet(tmp_path / "set.parquet", {"train": 10, "val": 2})
    train = pickle.loads(pickle.dumps(load_public(of(tmp_path / "set.parquet"), (8, 8, 3)).train))
    (tmp_path / "cache").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="RAYSYN_CACHE"):
        train.images_NHWC[:2]


def test_sensitive_images_under_another_name_are_found_by_their_pixels(
    drawn_letters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSYN_CACHE", str(drawn_letters))
    config = DataConfig(name="digits", limit=300)
    digits, letters = load(config).train, load_public(PublicConfig(limit=500), (8, 8, 1)).train
    for copied in (2, 3, 4):
        pixels = np.concatenate([letters.images_NHWC[:], digits.images_NHWC[:copied]])
        labels = np.arange(len(pixels)) % 3
        path = tmp_path / f"{copied}.npz"
        np.savez(path, train_images=pixels, train_labels=labels, test_images=pixels[:9], test_labels=labels[:9])
        if copied <= 3:
            assert len(load_beside(config, digits, of(path), 0.01).train) == 500 + copied
            continue
        with pytest.raises(
            ValueError, match=r"^public\.path has more than 1 % of the sensitive images in it, pixel by"
        ):
            load_beside(config, digits, of(path), 0.01)
        assert not public._decoded(of(path), (8, 8, 1))[2].exists(), "private pixels stay in no cache"
        assert public._decoded(of(tmp_path / "3.npz"), (8, 8, 1))[2].exists()
    # Nor where they are the whole of it, nor under their own name.
    np.savez(tmp_path / "all.npz", **{
        f"{split}_{what}": value
        for split in ("train", "test")
        for what, value in {"images": digits.images_NHWC, "labels": digits.labels_N}.items()
    })  # fmt: skip
    with pytest.raises(ValueError, match="more than 1 % of the sensitive images"):
        load_beside(config, digits, of(tmp_path / "all.npz"), 0.01)
    with pytest.raises(ValueError, match=r"^public\.name names digits, the sensitive images themselves"):
        load_beside(config, digits, PublicConfig(name=("glyphs", "digits")), 0.01)
    # Blank pages are nobody's.
    blank = Images(np.zeros((40, 8, 8, 1), np.uint8), np.zeros(40, np.int64), ("one",))
    np.savez(tmp_path / "blank.npz", train_images=blank.images_NHWC, train_labels=blank.labels_N,
             test_images=blank.images_NHWC, test_labels=blank.labels_N)  # fmt: skip
    assert len(load_beside(config, blank, of(tmp_path / "blank.npz"), 0.01).train) == 40


def test_public_images_are_described_by_names_numbers_and_fingerprints_that_anyone_gets(tmp_path: Path) -> None:
    pixels = parquet(tmp_path / "first.parquet", {"train": 20, "test": 6})
    parquet(tmp_path / "second.parquet", {"train": 9, "test": 3}, seed=1)
    both = load_public(of(tmp_path / "first.parquet", tmp_path / "second.parquet"), (8, 8, 3)).described()
    assert both["sets"] == ["first.parquet", "second.parquet"]
    assert (both["images"], both["validation_images"]) == (29, 9)
    alone = load_public(of(tmp_path / "first.parquet", limit=20), (8, 8, 3)).described()
    held = Images(pixels[:20], np.arange(20, dtype=np.int64) % 3, ("0", "1", "2"))
    assert alone["sha256"] == held.fingerprint() != both["sha256"]
    assert alone["validation_sha256"] != both["validation_sha256"]
