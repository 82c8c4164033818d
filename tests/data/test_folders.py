"""Folders as people have them: one walk for private and public images, which drops nothing without a word."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raysyn.data.folders import reads
from raysyn.data.images import DataConfig, load
from raysyn.data.public import load_public
from raysyn.data.streams import PublicConfig

PIXELS = np.random.default_rng(0).integers(0, 256, (400, 8, 8), dtype=np.uint8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))


def zoo(path: Path, names: tuple[str, ...] = ("train", "test"), count: int = 5, ending: str = "png") -> Path:
    """Two classes in each folder of `names`; "" is the folder itself."""
    number = 0
    for name in names:
        for one in ("ant", "bee"):
            (path / name / one).mkdir(parents=True)
            for index in range(count):
                Image.fromarray(PIXELS[number]).save(path / name / one / f"{index}.{ending}", "PNG")
                number += 1
    return path


Told = tuple[list[bytes], list[int], str]


def privately(path: Path) -> Told:
    found = load(DataConfig(path=str(path)))
    return [one.tobytes() for one in found.train.images_NHWC], found.train.labels_N.tolist(), found.told


def publicly(path: Path) -> Told:
    train = load_public(PublicConfig(path=(str(path),)), (8, 8, 1)).train
    return [one.tobytes() for one in train.images_NHWC[:]], train.labels_N.tolist(), ""


both = pytest.mark.parametrize("read", [privately, publicly])
Read = Callable[[Path], Told]


@both
@pytest.mark.parametrize("ending", ["png", "PNG", "Png", "jpeg.PNG"])
def test_folders_in_a_class_are_walked_and_endings_may_be_written_as_they_are(
    tmp_path: Path, read: Read, ending: str
) -> None:
    path = zoo(tmp_path / "set", ending=ending)
    flat = read(path)
    for file in sorted(path.rglob(f"*.{ending}")):
        deep = file.parent / f"patient {file.name[0]}" / "left"
        deep.mkdir(parents=True)
        file.rename(deep / file.name)
    assert read(path)[:2] == flat[:2] == ([one.tobytes() for one in PIXELS[:10]], [0] * 5 + [1] * 5)


def clutter(path: Path) -> None:
    """What tools, systems and people leave beside images, copies of images among it."""
    for place in (path, path / "train", path / "train" / "ant", path / "test" / "bee"):
        for name in (".DS_Store", "._0.png", "Thumbs.db", "desktop.ini", "README.txt", "labels.CSV", "meta.json"):
            (place / name).write_bytes(b"x")
        for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir", ".thumbnails"):
            (place / name / "deep").mkdir(parents=True)
            shutil.copy(path / "train" / "ant" / "0.png", place / name / "deep" / "copy.png")


@both
def test_an_account_of_other_images_is_not_there(tmp_path: Path, read: Read) -> None:
    """It lies beside the source that it is of, which may be in a folder that is read too."""
    path = zoo(tmp_path / "set")
    clean = read(path)
    for folder in (path, *[one for one in path.rglob("*") if one.is_dir()]):
        (folder / "scans.account.jsonl").write_text("{}")
        (folder / "scans.accounts-elsewhere.txt").write_text("all.jsonl")
    assert read(path) == clean


@both
def test_hidden_and_side_files_are_no_images_at_any_depth(tmp_path: Path, read: Read) -> None:
    path = zoo(tmp_path / "set")
    clean = read(path)
    clutter(path)
    assert read(path)[:2] == clean[:2]


def test_what_is_left_out_is_counted_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = zoo(tmp_path / "set")
    assert privately(path)[2] == "a folder with train/ and test/, of class folders"
    clutter(path)
    (path / "masks").mkdir()
    # In each of four folders 6 that are hidden, and in three 5 that are no image; in the first, those are beside.
    told = (
        "a folder with train/ and test/, of class folders; left out: 6 beside the splits (README.txt, Thumbs.db, "
        "desktop.ini and 3 more), 24 hidden and 15 no image (train/README.txt, train/Thumbs.db, train/ant/README.txt "
        "and 12 more)"
    )
    assert privately(path)[2] == told
    publicly(path)
    assert f"read as {told}; decoding into" in capsys.readouterr().err


@both
@pytest.mark.parametrize(
    "names",
    [name.split() for name in ("train val test", "Train Val TEST", "training valid testing", "TRAIN validation test")],
)
def test_splits_have_the_names_that_are_usual(tmp_path: Path, read: Read, names: list[str]) -> None:
    path = zoo(tmp_path / "set", tuple(names))
    assert read(path)[0] == [one.tobytes() for one in PIXELS[:10]]
    found = load(DataConfig(path=str(path)))
    assert found.val is not None and (found.val.images_NHWC[..., 0] == PIXELS[10:20]).all()
    assert (found.test.images_NHWC[..., 0] == PIXELS[20:30]).all()
    valid = load_public(PublicConfig(path=(str(path),)), (8, 8, 1)).valid
    assert (valid.images_NHWC[:][..., 0] == PIXELS[10:20]).all()
    if names[0] == "training":
        assert found.told.startswith("a folder with training/ (as train), valid/ (as val) and testing/ (as test),")


@both
def test_links_are_followed_to_files_and_folders_at_any_depth(tmp_path: Path, read: Read) -> None:
    path = zoo(tmp_path / "set")
    straight = read(path)
    for number, place in enumerate(("train/ant/0.png", "train/bee")):
        away = tmp_path / f"away{number}"
        (path / place).rename(away)
        (path / place).symlink_to(away)
    away = tmp_path / "disk"
    away.mkdir()
    for index in (3, 4):
        (path / f"train/ant/{index}.png").rename(away / f"{index}.png")
    (path / "train/ant/9 more").symlink_to(away)
    assert read(path)[:2] == straight[:2]


@both
@pytest.mark.parametrize("place", ["train/ant/0.png", "train/ant/deep/0.png", "test/bee/gone", "train/cow", "val"])
def test_links_to_what_is_not_there_are_refused_by_name(tmp_path: Path, read: Read, place: str) -> None:
    path = zoo(tmp_path / "set")
    (path / place).parent.mkdir(exist_ok=True)
    (path / place).unlink(missing_ok=True)
    (path / place).symlink_to(tmp_path / "annex" / "x")
    with pytest.raises(ValueError, match=rf"path='.*': {place} is a link to what is not there; bring the files"):
        read(path)
    (path / place).with_name("zz").symlink_to(tmp_path / "annex" / "y")
    with pytest.raises(ValueError, match=r"not there, like 1 more beside it; bring"):
        read(path)


@both
@pytest.mark.parametrize("to", ["train/ant", "train", ".."])
def test_links_that_lead_back_are_refused(tmp_path: Path, read: Read, to: str) -> None:
    path = zoo(tmp_path / "set")
    (path / "train/ant/again").symlink_to((path / to).resolve())
    with pytest.raises(ValueError, match=r"train/ant/again.* is a link to a folder that it lies in; remove it"):
        read(path)


@both
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    path, scan = zoo(tmp_path / "set"), os.scandir

    def guarded(folder: str) -> object:
        if str(folder).endswith("bee"):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(ValueError, match=r"the folder train/bee cannot be read \(Permission denied\)"):
        read(path)


def test_class_folders_alone_are_all_for_training(tmp_path: Path) -> None:
    path = zoo(tmp_path / "set", ("",), count=60)
    clutter_free = load(DataConfig(path=str(path), test_share=0.2))
    assert (len(clutter_free.train), len(clutter_free.test)) == (96, 24)
    said = "a folder of class folders; 24 of its 120 images held out as test images (--data.test-share 0.2)"
    assert clutter_free.told == said
    public = load_public(PublicConfig(path=(str(path),)), (8, 8, 1))
    assert (len(public.train), len(public.valid), public.train.class_names) == (118, 2, ("ant", "bee"))
    with pytest.raises(ValueError, match=r"has no folders train/ and test/; .* --data\.test-share"):
        load(DataConfig(path=str(path)))


LAYOUTS: dict[str, tuple[tuple[str, ...], str]] = {
    "deeper": (("xray/xray/train", "xray/xray/test"), r"no folder train/, but xray/xray/ has: give '.*/set/xray/xray'"),
    "two deeper": (
        ("a/train", "b/train"), r"no folder train/, but a/ and b/ have: give one of them, as in '.*/set/a'$",
    ),
    "five deeper": (
        tuple(f"{name}/train" for name in "edcba"),
        r"no folder train/, but a/, b/, c/ and others have: give one of them, as in '.*/set/a'$",
    ),
    "beside": (("train", "test", "testing"), r"has test/ and testing/, both for test; move one"),
    "without": (("val", "test"), r"has test/ and val/ but no folder train/; rename"),
    "named otherwise": (("test_images", "train_images"), r"has train_images/, which by its name is for train: rename"),
    "numbered": (("01_train", "02_test"), r"has 02_test/, which by its name is for test: rename"),
    "of two years": (("test_2020", "train_2019"), r"has train_2019/, which by its name is for train: rename"),
    "in the middle": (("ISIC_1_Training_Input", "ISIC_1_Test_Input"), r"has ISIC_1_T\w+/, which by its name is for"),
    "splits beside what is none": (("annotations", "train2017", "val2017"), "val2017/, which by its name is for val: "),
    "splits of two kinds": (("trainA", "trainB", "testA", "testB"), "which by its name is for (train|test): rename"),
}  # fmt: skip


@both
@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_layouts_are_told_from_what_is_there(tmp_path: Path, read: Read, layout: str) -> None:
    names, words = LAYOUTS[layout]
    with pytest.raises(ValueError, match=words):
        read(zoo(tmp_path / "set", names))


@pytest.mark.parametrize(
    ("folders", "out", "read"),
    [
        (("cat", "dog"), "runs/a", True), (("cat", "dog"), "cat/run", True), (("cat", "dog"), ".", True),
        (("cat", "dog"), ".runs/a", False), (("cat", "dog"), "../a", False), (("cat", "dog"), "cat/.b/a", False),
        (("train/cat", "test/cat"), "runs/a", False), (("train/cat", "test/cat"), "train/run", True),
    ],
)  # fmt: skip
def test_what_lies_among_images_is_read_with_them(
    folders: tuple[str, ...], out: str, read: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in folders:
        (tmp_path / "set" / name).mkdir(parents=True)
    assert reads(str(tmp_path / "set"), tmp_path / "set" / out) == read
    monkeypatch.chdir(tmp_path / "set")
    assert reads(".", Path(out)) == read
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for strange in ("~nobody-of-this-name/im", str(tmp_path / "loop"), str(tmp_path / "set.csv"), "\0"):
        assert not reads(strange, tmp_path / "set" / out)


def test_a_class_may_be_called_by_a_word_of_splits(tmp_path: Path) -> None:
    for names in (
        ("bullet train", "steam train"),
        ("test tube", "bullet train", "ant"),
        ("test pilot", "train driver"),
    ):
        shutil.rmtree(tmp_path / "set", ignore_errors=True)
        assert load(DataConfig(path=str(zoo(tmp_path / "set", names)), test_share=0.2)).train.classes == len(names)


@both
def test_a_pipe_is_refused_since_its_reader_would_wait(tmp_path: Path, read: Read) -> None:
    path = zoo(tmp_path / "set")
    os.mkfifo(path / "train" / "ant" / "6.png")
    with pytest.raises(ValueError, match=r"train/ant/6\.png is a pipe, socket or device; remove it"):
        read(path)


def test_a_class_without_images_is_a_change_for_what_is_decoded(tmp_path: Path) -> None:
    path = zoo(tmp_path / "set")
    config = PublicConfig(path=(str(path),))
    assert load_public(config, (8, 8, 1)).train.class_names == ("ant", "bee")
    (path / "train" / "anteater").mkdir()
    found = load_public(config, (8, 8, 1)).train
    assert found.class_names == ("ant", "anteater", "bee") and found.labels_N.tolist() == [0] * 5 + [2] * 5


@both
def test_folders_that_a_table_names_the_files_of_are_no_classes(tmp_path: Path, read: Read) -> None:
    path = zoo(tmp_path / "set", ("",), count=60)
    (path / "metadata.csv").write_text("dx, Image_ID\nnv,0\n")
    with pytest.raises(ValueError, match=r"beside metadata\.csv, whose column Image_ID names files: .* give it"):
        read(path)
    # Any other table is counted, as what lies beside.
    (path / "metadata.csv").write_text("dx,patient\nnv,0\n")
    assert len(load(DataConfig(path=str(path), test_share=0.1)).train) == 108


@both
def test_what_lies_in_no_class_is_refused(tmp_path: Path, read: Read) -> None:
    path = zoo(tmp_path / "set")
    shutil.copy(path / "train/ant/0.png", path / "test/loose.png")
    with pytest.raises(ValueError, match=r"test/loose\.png is in no class folder; move or remove it"):
        read(path)
    (path / "test/loose.png").unlink()
    (path / "test/cow").mkdir()
    with pytest.raises(ValueError, match=r"class 'cow' of test/ is not in train/; add it there, if only empty"):
        read(path)


@both
@pytest.mark.parametrize(("beside", "words"), [("labels.csv", "one folder, images/, beside"), ("", "no folders")])
def test_images_without_class_folders_are_refused(tmp_path: Path, read: Read, beside: str, words: str) -> None:
    path = tmp_path / "set"
    (path / "images" if beside else path).mkdir(parents=True)
    if beside:
        (path / beside).write_text("id,label")
    with pytest.raises(ValueError, match=words):
        read(path)


@both
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("s3://bucket/set.parquet", "is an address"),
        ("nowhere", "does not exist"),
    ],
)
def test_what_is_no_path_of_this_machine_is_refused(read: Read, given: str, words: str) -> None:
    kind = "data" if read is privately else "public"
    config = (DataConfig(path=given), PublicConfig(path=(given,)))
    with pytest.raises(ValueError, match=rf"^{kind}\.path='{given}' {words}"):
        load(config[0]) if read is privately else load_public(config[1], (8, 8, 1))


@both
def test_an_archive_is_to_be_unpacked(tmp_path: Path, read: Read) -> None:
    (tmp_path / "set.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match="unpack it"):
        read(tmp_path / "set.zip")
