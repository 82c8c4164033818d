"""`raysyn prepare`: every converter on a miniature of the original layout, whose images say their own label and part.

Miniatures are PNG files under the names of the original ones (.jpg, .JPEG, .webp), so that no colour is lost. Each is
of one colour inside its square in the middle, and of another one beside it.
"""

from __future__ import annotations

import fnmatch
import io
import json
import pickle
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from raysyn import preparing
from raysyn.data.images import DataConfig, load, public_facts
from raysyn.data.prepared import imagenet, lsun, writing
from raysyn.data.prepared.table import SETS
from raysyn.data.public import load_public
from raysyn.data.streams import PublicConfig
from raysyn.methods import catalogue
from raysyn.preparing import Flags, main, prepare

Rng = np.random.Generator
Rows = list[tuple[str, int, tuple[int, ...]]]
"""(part, label, colour) of every image."""
ATTRIBUTES = ("Bald", "Black_Hair", "Blond_Hair", "Brown_Hair", "Male")


class Paint:
    """Makes images of colours that are all different."""

    least = 8
    """Pixels of a shorter side."""

    def __init__(self, rng: Rng) -> None:
        self.rng, self.used = rng, 0

    def colour(self) -> tuple[int, ...]:
        self.used += 1
        return self.used % 250, self.used // 250, int(self.rng.integers(256))

    def image(self, path: Path, colour: tuple[int, ...]) -> None:
        """A file of any proportions, with the square in its middle of this colour."""
        side, more = int(self.rng.integers(self.least, self.least + 4)), int(self.rng.integers(0, 7))
        height, width = (side, side + more) if self.rng.integers(2) else (side + more, side)
        pixels = np.full((height, width, 3), 251, np.uint8)
        top, left = (height - side) // 2, (width - side) // 2
        pixels[top : top + side, left : left + side] = colour
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(pixels))


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def celeba(source: Path, rng: Rng, label: Callable[[dict[str, bool]], int | None], faces: int = 14) -> Rows:
    """In a folder for each kind, as on the download page, or all in one."""
    paint, rows, attributes, division = Paint(rng), [], [str(faces), " ".join(ATTRIBUTES)], []
    apart = bool(rng.integers(2))
    for number in range(1, faces + 1):
        name, has = f"{number:06}.jpg", {one: bool(rng.integers(2)) for one in ATTRIBUTES}
        # The first are one of each class that there is, for training, and after them two for testing.
        place = 0 if number <= 5 else 2 if number <= 7 else int(rng.integers(3))
        if number <= 7:
            has = {one: one == ATTRIBUTES[(number - 1) % 5] for one in ATTRIBUTES}
        attributes.append(f"{name}  " + "  ".join("1" if has[one] else "-1" for one in ATTRIBUTES))
        division.append(f"{name} {place}")
        colour = paint.colour()
        paint.image(source / ("Img" if apart else "") / "img_align_celeba" / name, colour)
        if (found := label(has)) is not None:
            rows.append((("train", "val", "test")[place], found, colour))
    for folder, name, lines in (("Anno", "list_attr_celeba", attributes), ("Eval", "list_eval_partition", division)):
        home = source / (folder if apart else "")
        home.mkdir(parents=True, exist_ok=True)
        (home / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return rows


def one_colour(has: dict[str, bool]) -> int | None:
    hair = [has[name] for name in ("Black_Hair", "Blond_Hair", "Brown_Hair")]
    return hair.index(True) if sum(hair) == 1 else None


def camelyon(source: Path, rng: Rng) -> Rows:
    home = source / ("camelyon17_v1.0" if rng.integers(2) else "")
    paint, rows, lines = Paint(rng), [], [",patient,node,x_coord,y_coord,tumor,slide,center,split"]
    for number in range(16):
        centre, split, tumor = (0, 0, number) if number < 2 else map(int, rng.integers([5, 2, 2]))
        centre = 2 if number == 2 else centre
        part = {1: "val", 2: "test"}.get(centre, "id_val" if split else "train")
        lines.append(f"{number},004,{number % 5},{number * 32},64,{tumor},0,{centre},{split}")
        node, colour = f"patient_004_node_{number % 5}", paint.colour()
        paint.image(home / "patches" / node / f"patch_{node}_x_{number * 32}_y_64.png", colour)
        rows.append((part, tumor, colour))
    (home / "metadata.csv").write_text("\n".join(lines) + "\n")
    return rows


def imagenet32(source: Path, rng: Rng) -> Rows:
    """Twelve batches, so that the tenth is not the second; pickles or .npz, there or in folders."""
    paint, rows, as_npz = Paint(rng), [], bool(rng.integers(2))
    for name in (*(f"train_data_batch_{number}" for number in range(1, 12)), "val_data"):
        part, labels, colours = name.split("_")[0], rng.integers(1, 1001, 3), [paint.colour() for _ in range(3)]
        pixels = np.repeat(np.array(colours, np.uint8), 32 * 32, axis=1)
        home = source / (f"Imagenet32_{part}" if as_npz else "")
        home.mkdir(parents=True, exist_ok=True)
        if as_npz:
            np.savez(home / f"{name}.npz", data=pixels, labels=labels)
        else:
            (home / name).write_bytes(pickle.dumps({"data": pixels, "labels": labels.tolist(), "mean": pixels.mean(0)}))
        rows += [(part, int(label) - 1, colour) for label, colour in zip(labels, colours, strict=True)]
    if rng.integers(2):
        (source / "map_clsloc.txt").write_text("".join(f"n{n:08} {n} word\n" for n in range(1, 1001)))
    return rows


def folders(source: Path, rng: Rng, classes: list[str], path: str, most: int = 2) -> Rows:
    """Some images of each class in train and val; `path` is that of one, with {part}, {name} and {number}."""
    paint, rows = Paint(rng), []
    for part in ("train", "val"):
        for label, name in enumerate(classes):
            for number in range(int(rng.integers(1, most + 1))):
                colour = paint.colour()
                paint.image(source / path.format(part=part, name=name, number=number), colour)
                rows.append((part, label, colour))
    return rows


def imagenette(source: Path, rng: Rng) -> Rows:
    home = source / ("imagenette2-320" if rng.integers(2) else "")
    return folders(home, rng, list(imagenet.TEN), "{part}/{name}/{name}_{number}.JPEG")


def places365(source: Path, rng: Rng) -> Rows:
    names, paint, rows = ["/a/airfield", "/b/bus_station/indoor", "/z/zoo"], Paint(rng), []
    (source / "categories_places365.txt").write_text("".join(f"{name} {at}\n" for at, name in enumerate(names)))
    lines: dict[str, list[str]] = {"train": [], "val": []}
    for number in range(12):
        part, label = ("train", number) if number < 3 else (("train", "val")[rng.integers(2)], int(rng.integers(3)))
        part, colour = "val" if number == 11 else part, paint.colour()
        name = f"{names[label]}/{number:08}.jpg" if part == "train" else f"Places365_val_{number:08}.jpg"
        paint.image(source / {"train": "data_256", "val": "val_256"}[part] / name.lstrip("/"), colour)
        lines[part].append(f"{name} {label}\n")
        rows.append((part, label, colour))
    (source / "places365_train_standard.txt").write_text("".join(lines["train"]))
    (source / "places365_val.txt").write_text("".join(lines["val"]))
    return rows


def textures(source: Path, rng: Rng) -> Rows:
    home, paint, rows = source / ("dtd" if rng.integers(2) else ""), Paint(rng), []
    lines: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for label, name in enumerate(["banded", "lacelike", "zigzagged"]):
        for number, part in enumerate(rng.permutation(["train", "train", "val", "test"]).tolist()):
            colour, file = paint.colour(), f"{name}/{name}_{number:04}.jpg"
            paint.image(home / "images" / file, colour)
            lines[part].append(f"{file}\n")
            rows.append((part, label, colour))
    (home / "labels").mkdir()
    for part, listed in lines.items():
        (home / "labels" / f"{part}1.txt").write_text("".join(rng.permutation(listed)))
    return rows


def lsun_folders(source: Path, rng: Rng) -> Rows:
    paths = ["{name}_{part}/0/a/1/{number}.webp", "{part}/{name}/{number}.jpg", "{name}_{part}_lmdb/{number}.webp"]
    return folders(source, rng, list(lsun.SCENES), paths[rng.integers(3)])


def tinyimagenet(source: Path, rng: Rng) -> Rows:
    home, paint, rows = source / ("tiny-imagenet-200" if rng.integers(2) else ""), Paint(rng), []
    names, lines = ["n01443537", "n01629819", "n04596742"], []
    for label, name in enumerate(names):
        for number in range(2):
            colour = paint.colour()
            paint.image(home / f"train/{name}/images/{name}_{number}.JPEG", colour)
            rows.append(("train", label, colour))
        (home / f"train/{name}/{name}_boxes.txt").write_text("")
    for number in range(5):
        label, colour = int(rng.integers(3)), paint.colour()
        paint.image(home / f"val/images/val_{number}.JPEG", colour)
        lines.append(f"val_{number}.JPEG\t{names[label]}\t0\t32\t44\t62\n")
        rows.append(("val", label, colour))
    (home / "val/val_annotations.txt").write_text("".join(rng.permutation(lines)))
    (home / "words.txt").write_text("n01443537\tgoldfish, Carassius auratus\nn09999999\tcrane\n")
    return rows


MADE: dict[str, Callable[[Path, Rng], Rows]] = {
    "celeba-gender": lambda source, rng: celeba(source, rng, lambda has: int(has["Male"])),
    "celeba": lambda source, rng: celeba(source, rng, lambda has: 0),
    "celeba-hair": lambda source, rng: celeba(source, rng, one_colour),
    "camelyon": camelyon,
    "imagenet32": imagenet32,
    "imagenette": imagenette,
    "places365": places365,
    "textures": textures,
    "lsun": lsun_folders,
    "tinyimagenet": tinyimagenet,
}


def made(tmp_path: Path, name: str, seed: int = 0) -> tuple[Path, Rows]:
    """A miniature, and what is in it."""
    source = tmp_path / f"source-{seed}"
    source.mkdir()
    return source, MADE[name](source, np.random.default_rng(seed))


def held(path: Path) -> Counter[tuple[str, int, tuple[int, ...]]]:
    """What a file holds: split, label and colour of every image, each of which has one colour."""
    rows: Counter[tuple[str, int, tuple[int, ...]]] = Counter()
    for row in pq.read_table(path).to_pylist():
        pixels = np.asarray(Image.open(io.BytesIO(row["image"]))).reshape(-1, 3)
        assert (pixels == pixels[0]).all(), "something beside the square in the middle was kept"
        rows[row["split"], row["label"], tuple(pixels[0].tolist())] += 1
    return rows


def wanted(name: str, rows: Rows, train: tuple[str, ...] = ()) -> Counter[tuple[str, int, tuple[int, ...]]]:
    """The same of a miniature, by the table of sets."""
    where = SETS[name].where(train or tuple(SETS[name].train))
    return Counter((split, label, colour) for part, label, colour in rows for split in where[part])


def test_every_set_has_a_miniature() -> None:
    assert list(MADE) == list(SETS)


@pytest.mark.parametrize("name", SETS)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_image_keeps_its_label_and_its_part(
    tmp_path_factory: pytest.TempPathFactory, name: str, seed: int
) -> None:
    source, rows = made(tmp_path_factory.mktemp("set"), name, seed)
    out = source / "set.parquet"
    prepare(name, str(source), Flags(out=str(out), size=8 if SETS[name].rescaled else None))
    assert held(out) == wanted(name, rows)


@pytest.mark.parametrize("name", SETS)
def test_what_is_written_is_read_as_private_and_as_public_images(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))
    source, rows = made(tmp_path, name)
    assert main([name, str(source)]) == 0
    said, size = capsys.readouterr().out, SETS[name].size
    out = f"{name}.parquet"
    dataset = load(DataConfig(path=out))
    assert dataset.train.shape == (size, size, 3)
    counts = Counter(split for split, _, _ in wanted(name, rows).elements())
    parts = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    assert {split: len(part) for split, part in parts.items() if part is not None} == counts
    assert set(dataset.train.class_names) and f"{len(dataset.train.class_names):,} class" in said
    told = ", ".join(f"{counts[split]:,} {split}" for split in parts if counts[split])
    assert said.splitlines()[1].startswith(f"{out}: {told}; ") and f"{size} x {size} pixels, RGB" in said
    assert "The source is another than the papers': it has" in said
    # The miniatures of all sets that are rescaled are smaller than they should be.
    assert ("images were enlarged" in said) == SETS[name].rescaled == ("Made for" not in said)
    for use in SETS[name].uses:
        as_they_want = set(use.train) == set(SETS[name].train) and use.size == size
        assert (f"For raysyn {use.method} {use.presets}, prep" in said) == (not as_they_want)
        assert (f"Made for raysyn {use.method} {use.presets}: --" in said) == (as_they_want and not SETS[name].rescaled)
    public = load_public(PublicConfig(path=(out,)), (size, size, 3))
    assert np.array_equal(np.sort(public.train.labels_N), np.sort(dataset.train.labels_N))


def test_every_preset_that_a_set_is_meant_for_exists_and_reads_it_in_that_size() -> None:
    for one in SETS.values():
        for use in one.uses:
            presets = catalogue.find(use.method).presets()
            found = fnmatch.filter(presets, use.presets)
            assert found, use
            assert not use.public or all(hasattr(presets[name], "public") for name in found)
            if not use.public:
                assert {presets[name].data.size for name in found} == {use.size}, use
            assert set(use.train) <= set(one.parts) and set(one.splits) == set(one.parts)


# ---- which images, and how many


def test_parts_are_trained_on_as_the_papers_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Paint, "least", 32)
    source, rows = made(tmp_path, "celeba-gender")
    out = tmp_path / "set.parquet"
    by_part = Counter(part for part, _, _ in rows)
    for train in (("train", "val"), ("train", "val", "test")):
        lines = prepare("celeba-gender", str(source), Flags(out=str(out), size=32, train=train, overwrite=True))
        assert held_splits(out) == {"train": sum(by_part[part] for part in train), "test": by_part["test"]}
        both = f"{by_part['test']} test images are training images too: what is measured on them is not held out"
        assert any(line.startswith(both) for line in lines) == ("test" in train)
        meant = {"test": "privimage paper-celeba32-*", "val": "dp_feta paper-celeba-*"}[train[-1]]
        assert f"Made for raysyn {meant}: --data.path {out}" in lines
    dataset = load(DataConfig(path=str(out)))
    assert dataset.train.class_names == ("female", "male") and len(dataset.train) == len(rows)
    about = json.loads(pq.read_schema(out).metadata[b"dataset"])["prepared"]
    assert about == {"set": "celeba-gender", "train": ["train", "val", "test"], "size": 32}
    with pytest.raises(ValueError, match="train is id_val, which is no part of this set: name some of tr"):
        prepare("celeba-gender", str(source), Flags(out=str(tmp_path / "x.parquet"), train=("id_val",)))


def held_splits(path: Path) -> dict[str, int]:
    return dict(Counter(pq.read_table(path, columns=["split"])["split"].to_pylist()))


def test_of_hair_only_one_colour_is_kept_and_the_rest_is_told(tmp_path: Path) -> None:
    source, rows = made(tmp_path, "celeba-hair")
    lines = prepare("celeba-hair", str(source), Flags(out=str(tmp_path / "set.parquet"), size=8))
    assert 0 < len(rows) < 14
    assert f"{14 - len(rows)} images with none or several of Black_Hair, Blond_Hair, Brown_Hair are left out." in lines
    # Compared with the papers' is what the source lists.
    assert any("another than the papers': it has" in line and "not 162,770" in line for line in lines)
    assert load(DataConfig(path=str(tmp_path / "set.parquet"))).train.class_names == ("black", "blond", "brown")


def test_a_copy_with_tables_is_the_same(tmp_path: Path) -> None:
    """As Kaggle has CelebA."""
    source, rows = made(tmp_path, "celeba-gender", 1)
    for name in ("list_attr_celeba", "list_eval_partition"):
        path = next(source.rglob(f"{name}.txt"))
        lines = [line.split() for line in path.read_text().splitlines()]
        heading = ["image_id", *lines[1]] if "attr" in name else ["image_id", "partition"]
        table = [heading, *(lines[2:] if "attr" in name else lines)]
        (source / f"{name}.csv").write_text("\n".join(map(",".join, table)) + "\n")
        path.unlink()
    images = next(source.rglob("img_align_celeba"))
    images.rename(source / "pictures")
    (source / "img_align_celeba").mkdir(exist_ok=True)
    (source / "pictures").rename(source / "img_align_celeba/img_align_celeba")
    prepare("celeba-gender", str(source), Flags(out=str(tmp_path / "set.parquet"), size=8))
    assert held(tmp_path / "set.parquet") == wanted("celeba-gender", rows)


def test_few_of_each_class_are_kept_to_try_it(tmp_path: Path) -> None:
    source, rows = made(tmp_path, "textures")
    lines = prepare("textures", str(source), Flags(out=str(tmp_path / "set.parquet"), size=8, per_class=1))
    assert held_splits(tmp_path / "set.parquet") == {"train": 9, "test": 3} and len(rows) == 12
    assert "At most 1 of each class and part, as asked for: to try it, not to repeat a paper." in lines


def test_a_complete_source_is_told_to_be_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, rows = made(tmp_path, "imagenette")
    parts = dict(Counter(part for part, _, _ in rows))
    monkeypatch.setitem(SETS, "imagenette", replace(SETS["imagenette"], parts=parts))
    lines = prepare("imagenette", str(source), Flags(out=str(tmp_path / "set.parquet")))
    assert f"The source is complete: {parts['train']} train, {parts['val']} val." in lines
    n = sum(parts.values())
    small = f"{n} of {n} images were enlarged, their shorter side having fewer than 224 pixels: the source is a smaller"
    assert any(line.startswith(small) for line in lines) and not any("Made for" in line for line in lines)
    assert public_facts(DataConfig(path=str(tmp_path / "set.parquet"))) == (parts["train"], (224, 224, 3), 10)


def test_names_of_classes_are_the_originals(tmp_path: Path) -> None:
    names: dict[str, list[str]] = {}
    for name in ("places365", "tinyimagenet", "imagenette", "imagenet32"):
        # A seed whose miniature has map_clsloc.txt.
        (tmp_path / name).mkdir()
        source, _ = made(tmp_path / name, name, 1)
        (source / "map_clsloc.txt").write_text("".join(f"n{n:08} {n} word\n" for n in range(1, 1001)))
        names[name] = list(SETS[name].open(source).class_names)
    assert names["places365"] == ["airfield", "bus_station/indoor", "zoo"]
    assert names["tinyimagenet"] == ["n01443537 goldfish", "n01629819", "n04596742"]
    assert names["imagenette"][:2] == ["tench", "English springer"]
    assert names["imagenet32"][:2] == ["n00000001 word", "n00000002 word"] and len(names["imagenet32"]) == 1000


def test_images_of_64_pixels_are_read_as_they_are(tmp_path: Path) -> None:
    colours = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    for name in ("train_data_batch_1", "val_data"):
        np.savez(tmp_path / f"{name}.npz", data=np.repeat(colours, 64 * 64, axis=1), labels=np.array([1, 1000]))
    prepare("imagenet32", str(tmp_path), Flags(out=str(tmp_path / "set.parquet"), size=64))
    found = {(split, label, (k, k + 1, k + 2)): 1 for split in ("train", "test") for label, k in ((0, 1), (999, 4))}
    assert held(tmp_path / "set.parquet") == found
    for wrong in (None, 32, 128):
        words = f"size is {wrong or 32}, but train_data_batch_1.npz, image 0 has 64 x 64 pixels: give --size 64"
        with pytest.raises(ValueError, match=f"^{words}$"):
            prepare("imagenet32", str(tmp_path), Flags(out=str(tmp_path / "other.parquet"), size=wrong))
    assert not (tmp_path / "other.parquet").exists()


def test_few_small_images_are_counted_and_a_set_is_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Paint, "least", 64)
    source, rows = made(tmp_path, "celeba-gender")
    next(source.rglob("000001.jpg")).write_bytes(png(np.zeros((63, 90, 3), np.uint8)))
    lines = prepare("celeba-gender", str(source), Flags(out=str(tmp_path / "set.parquet")))
    assert f"1 of {len(rows)} images were enlarged, their shorter side having fewer than 64 pixels." in lines
    assert any(line.startswith("Made for raysyn dp_imgsyn") for line in lines)


def test_pixels_of_batches_keep_their_places(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    flat = images.transpose(0, 3, 1, 2).reshape(5, -1)
    for name, rows in (("train_data_batch_1", slice(3)), ("val_data", slice(3, 5))):
        (tmp_path / name).write_bytes(pickle.dumps({"data": flat[rows], "labels": [1, 2, 3][: len(flat[rows])]}))
    prepare("imagenet32", str(tmp_path), Flags(out=str(tmp_path / "set.parquet")))
    dataset = load(DataConfig(path=str(tmp_path / "set.parquet")))
    assert np.array_equal(dataset.train.images_NHWC, images[:3]) and dataset.train.labels_N.tolist() == [0, 1, 2]
    assert np.array_equal(dataset.test.images_NHWC, images[3:])


# ---- LSUN's databases


class Database:
    """Stands for a database of the package lmdb, which reads one only where it is installed: a folder of files."""

    def __init__(self, path: str, **_: Any) -> None:
        self.files = sorted(Path(path).glob("*.webp"))

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def stat(self) -> dict[str, int]:
        return {"entries": len(self.files)}

    def begin(self) -> Database:
        return self

    def cursor(self) -> Iterator[tuple[bytes, memoryview]]:
        return ((path.name.encode(), memoryview(path.read_bytes())) for path in self.files)


def databases(tmp_path: Path) -> tuple[Path, Rows]:
    source = tmp_path / "scenes"
    rows = folders(source, np.random.default_rng(0), list(lsun.SCENES), "{name}_{part}_lmdb/{number}.webp")
    for folder in source.iterdir():
        (folder / "data.mdb").touch()
    return source, rows


def test_databases_of_scenes_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, rows = databases(tmp_path)
    monkeypatch.setitem(sys.modules, "lmdb", types.SimpleNamespace(open=Database, Error=RuntimeError))
    assert SETS["lsun"].open(source).images == Counter(part for part, _, _ in rows)
    prepare("lsun", str(source), Flags(out=str(tmp_path / "set.parquet"), size=8))
    assert held(tmp_path / "set.parquet") == wanted("lsun", rows)


def test_without_the_package_the_databases_are_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = databases(tmp_path)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    words = "the Python package lmdb is not installed: pip install lmdb, or export its images into a folder bedroom_tr"
    with pytest.raises(ValueError, match=words):
        prepare("lsun", str(source), Flags(out=str(tmp_path / "set.parquet")))


# ---- what is wrong


def without(path: str) -> Callable[[Path], None]:
    """Takes one file or folder out of a miniature."""
    return lambda source: next(source.rglob(path)).rename(source.parent / "elsewhere")


def changed(path: str, before: str, after: str) -> Callable[[Path], None]:
    def change(source: Path) -> None:
        file = next(source.rglob(path))
        text = file.read_text()
        assert before in text
        file.write_text(text.replace(before, after, 1))

    return change


def holding(path: str, content: bytes) -> Callable[[Path], None]:
    return lambda source: (source / path).write_bytes(content) and None


def arrays(**held: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **held)
    return buffer.getvalue()


def without_batches(source: Path) -> None:
    for path in source.rglob("train_data_batch_*"):
        path.unlink()


def without_towers(source: Path) -> None:
    for number, path in enumerate([*source.rglob("*tower*")]):
        path.rename(source.parent / f"elsewhere-{number}")


class Harm:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("harmed"),)


WRONG: list[tuple[str, Callable[[Path], None], str]] = [
    (
        "celeba-gender",
        without("img_align_celeba"),
        "has no img_align_celeba/img_align_celeba/ and no img_align_cele",
    ),
    ("celeba-gender", without("list_attr_celeba.txt"), "has no list_attr_celeba.txt and no Anno/list_attr_celeba.txt"),
    ("celeba-gender", changed("list_attr_celeba.txt", "Male", "Mal"), "names of attributes with Male among them"),
    ("celeba-gender", changed("list_attr_celeba.txt", "  -1", ""), "not an image and 1 or -1 for each attribute"),
    ("celeba-gender", changed("list_eval_partition.txt", "000002.jpg 0", "000002.jpg 3"), "not an image and 0, 1 or 2"),
    ("celeba-hair", changed("list_eval_partition.txt", "000002.jpg 0\n", ""), "does not list 000002.jpg"),
    ("celeba-hair", without("000003.jpg"), "image 000003.jpg cannot be used: there is no "),
    ("camelyon", without("metadata.csv"), "has no metadata.csv: unpack camelyon17_v1.0.tar.gz"),
    ("camelyon", without("patches"), "has no patches/: unpack camelyon17_v1.0.tar.gz"),
    (
        "camelyon",
        changed("metadata.csv", "tumor", "tumour"),
        "has no column tumor: give the metadata.csv of Came",
    ),
    ("camelyon", changed("metadata.csv", "0,004,0,0,64,0,0,0,0", "0,004,0,0,64,0,0,0,7"), "has center 0, split 7 and"),
    ("imagenet32", without_batches, "has no train_data_batch_1 and no train_data_batch_1.npz, nor has a folder in it"),
    ("imagenet32", without("val_data*"), "has no val_data and no val_data.npz, nor has a folder in it"),
    (
        "imagenet32",
        holding("train_data_batch_0", pickle.dumps({"data": 1})),
        "cannot be read as a batch of data and",
    ),
    ("imagenet32", holding("train_data_batch_0", pickle.dumps(Harm())), "which is no array"),
    ("imagenet32", holding("train_data_batch_0.npz", b"no zip"), "cannot be read as a batch of data and labels"),
    (
        "imagenet32",
        holding("train_data_batch_0.npz", arrays(data=np.zeros((2, 50), np.uint8), labels=np.ones(2, int))),
        "holds data of uint8 (2, 50) and labels (2,), not a row of 3 x 32 x 32",
    ),
    (
        "imagenet32",
        holding("train_data_batch_0.npz", arrays(data=np.zeros((2, 3072), np.uint8), labels=np.zeros(2, int))),
        "has labels 0 to 0, not 1 to 1000",
    ),
    ("imagenet32", holding("map_clsloc.txt", b"n01 1 kit\n"), "has 1 classes, not 1 to 1000"),
    ("imagenet32", holding("map_clsloc.txt", b"kit_fox\n"), "not a WordNet id, a number and a word"),
    ("imagenette", without("val"), "has no val/: unpack imagenette2.tgz, and give the folder that it makes"),
    ("imagenette", without("n03888257"), "has no n03888257/: unpack imagenette2.tgz"),
    (
        "places365",
        without("data_256"),
        "has no data_256/ and no data_256_standard/: unpack train_256_places",
    ),
    (
        "places365",
        without("places365_val.txt"),
        "has no places365_val.txt: unpack filelist_places365-standard.tar",
    ),
    ("places365", changed("categories_places365.txt", "zoo 2", "zoo 3"), "line 3 is '/z/zoo 3', not a category and 2"),
    ("places365", changed("places365_train_standard.txt", "jpg 0", "jpg 3"), "the number of one of 3 categories"),
    ("textures", without("labels"), "has no labels/train1.txt: unpack dtd-r1.0.1.tar.gz"),
    ("textures", changed("train1.txt", "/", "_"), "not an image of a class of images/"),
    (
        "lsun",
        without_towers,
        "and no tower_train/ and no train/tower/: unpack the .zip files of all ten",
    ),
    ("tinyimagenet", without("val_annotations.txt"), "has no val/val_annotations.txt: unpack tiny-imagenet-200.zip"),
    ("tinyimagenet", changed("val_annotations.txt", "\tn0", "\tn9"), "not an image and a class of train/"),
]


@pytest.mark.parametrize(("name", "spoil", "words"), WRONG)
def test_a_wrong_layout_is_one_sentence_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    name: str, spoil: Callable[[Path], None], words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    # In the first miniature of its kind all lies in the source itself.
    source, _ = made(tmp_path, name, 2)
    spoil(source)
    with pytest.raises(SystemExit) as left:
        main([name, str(source), "--size", "8"])
    err = capsys.readouterr().err
    assert left.value.code == 2 and words in err and err.count("\n") == 1 and err.startswith("error: "), err
    assert not list(tmp_path.glob("*.parquet")) and not list(tmp_path.glob(".*")) and not Path("harmed").exists()


def test_a_damaged_image_is_named_and_what_was_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, _ = made(tmp_path, "textures")
    out = tmp_path / "set.parquet"
    out.write_bytes(b"what was there")
    next(source.rglob("lacelike_0002.jpg")).write_bytes(b"no image")
    monkeypatch.setattr(writing, "AT_ONCE", 2)
    with pytest.raises(ValueError, match=r"image lacelike/lacelike_0002\.jpg cannot be used: no image file"):
        prepare("textures", str(source), Flags(out=str(out), overwrite=True))
    assert out.read_bytes() == b"what was there" and sorted(tmp_path.iterdir()) == [out, source]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({}, "set.parquet, which is there already: give another name, or --overwrite"),
        ({"out": "set.csv"}, "give a name that ends in .parquet, for what it is read by"),
        ({"out": ""}, "out is empty, as where a shell variable is not set: give a place, or leave it out"),
        ({"out": "nowhere/set.parquet"}, "where no file can be: give a file in a folder that is there"),
        ({"out": "new.parquet", "size": 4}, "size is 4: give at least 8"),
        ({"out": "new.parquet", "per_class": 0}, "per_class is 0: give at least 1"),
    ],
)
def test_flags_are_checked_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("set.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match=words):
        prepare("textures", ".", replace(Flags(out="set.parquet"), **flags))
    assert Path("set.parquet").read_bytes() == b""


def test_memory_holds_a_few_at_a_time_and_progress_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, rows = made(tmp_path, "textures")
    monkeypatch.setattr(writing, "AT_ONCE", 4)
    monkeypatch.setattr(writing, "TELL_S", -1.0)
    ahead: list[int] = []
    encoded, found = writing._encoded, SETS["textures"].open(source)

    def counted() -> Iterator[Any]:
        for one in found.pictures():
            ahead.append(1)
            yield one

    def fit(*given: Any, **named: Any) -> Any:
        ahead.append(-1)
        return encoded(*given, **named)

    monkeypatch.setattr(writing, "_encoded", fit)
    one = replace(SETS["textures"], open=lambda _: replace(found, pictures=counted))
    monkeypatch.setitem(SETS, "textures", one)
    prepare("textures", str(source), Flags(out=str(tmp_path / "set.parquet"), size=8))
    assert max(np.cumsum(ahead)) <= 4 and sum(ahead) == 0 and len(ahead) == 2 * len(rows)
    assert pq.ParquetFile(tmp_path / "set.parquet").num_row_groups == 3
    assert "textures: 6 images of 12, about" in capsys.readouterr().err


def test_help_names_every_set_with_its_download_and_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(preparing.told("raysyn prepare SET SOURCE", "About it.").split())
    for name, one in SETS.items():
        assert f"{name}: {one.about} download {one.download} licence {one.licence}" in text
    assert all(f"--{flag} " in text for flag in ("out", "train", "size", "per-class", "overwrite, --no-overwrite"))


def test_the_docs_have_a_row_of_every_set_with_its_numbers() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs/images.md").read_text()
    rows = {row.split("`")[1]: row for row in page.splitlines() if row.startswith("| `")}
    assert set(rows) == set(SETS)
    for name, one in SETS.items():
        counts: Counter[str] = Counter()
        for part, splits in one.where(one.train).items():
            counts.update(dict.fromkeys(splits, one.parts[part]))
        # Of hair, nobody has published how many have one colour.
        assert name == "celeba-hair" or all(f"{split} {n:,}" in rows[name] for split, n in counts.items()), name
        assert f" {one.size}" in rows[name]


@pytest.mark.parametrize("words", [["~nosuchuser/x"], ["{}", "--out", "~nosuchuser/x.parquet"]])
def test_the_home_of_nobody_is_refused(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["textures", *(word.format(tmp_path) for word in words)])
    said = capsys.readouterr().err
    assert "begins in ~ and the name of no user here; give the whole path" in said and said.count("\n") == 1
