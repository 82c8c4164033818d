"""WebDataset shards are read where they lie, whole or not at all, and nothing of them is written."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from raysyn.data import sources, streams, tars
from raysyn.data.images import DataConfig, Images, load
from raysyn.data.public import load_public
from raysyn.data.streams import PublicConfig
from raysyn.data.tar_labels import label_of
from raysyn.data.tars import read_tars

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 8, 9, 1), dtype=np.uint8)
LABELS = [0, 1, 2] * 4
Content = Sequence[tuple[str, bytes]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))


def picture(at: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    more = {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(PIXELS[at, ..., 0]).save(buffer, kind, **more)
    return buffer.getvalue()


def samples(
    rows: Sequence[int], ending: str = "cls", word: Callable[[int], str] = lambda at: str(LABELS[at])
) -> Content:
    return [
        (f"{at:04d}.{kind}", content)
        for at in rows
        for kind, content in (("png", picture(at)), (ending, word(at).encode()))
    ]


def shard(path: Path, content: Content, *special: tarfile.TarInfo, kind: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as archive:
        for about in special:
            archive.addfile(about)
        for name, data in content:
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return path


def privately(path: Path) -> tuple[Images, Images]:
    found = load(DataConfig(path=str(path)))
    return found.train, found.test


def publicly(path: Path) -> tuple[Images, Images]:
    found = load_public(PublicConfig(path=(str(path),)), (8, 9, 1))
    return found.train, found.valid


both = pytest.mark.parametrize("read", [privately, publicly])
Read = Callable[[Path], tuple[Images, Images]]
WORDS = ("ant", "bee", "cow")


def check(found: tuple[Images, Images], names: tuple[str, ...] = ("0", "1", "2"), train: int = 9) -> None:
    rows = [range(train), range(train, 12)]
    for images, own in zip(found, rows, strict=True):
        assert (images.images_NHWC[:] == PIXELS[list(own)]).all()
        assert images.labels_N.tolist() == [LABELS[at] for at in own] and images.class_names == names


def as_json(at: int) -> str:
    return json.dumps({"width": 9, "Label": WORDS[LABELS[at]]})


LABELLED: dict[str, tuple[str, Callable[[int], str], tuple[str, ...]]] = {
    "cls": ("cls", lambda at: f"{LABELS[at]}\n", ("0", "1", "2")),
    "CLS": ("CLS", lambda at: f"0{LABELS[at]}", ("0", "1", "2")),
    "words": ("txt", lambda at: f" {WORDS[LABELS[at]]}\n", WORDS),
    "numbers": ("txt", lambda at: str(LABELS[at]), ("0", "1", "2")),
    "json": ("json", as_json, WORDS),
}


@both
@pytest.mark.parametrize("kind", LABELLED)
def test_labels_are_numbers_or_words(tmp_path: Path, kind: str, read: Read) -> None:
    ending, word, names = LABELLED[kind]
    for split, rows in (("train", range(9)), ("test", range(9, 12))):
        shard(tmp_path / "set" / f"{split}-000000.tar", samples(rows, ending, word))
    check(read(tmp_path / "set"), names)


LAYOUTS = {
    "one shard of each": {"train-0.tar": range(9), "test-0.tar": range(9, 12)},
    "several": {"train-0.tar": range(4), "train-1.TAR": range(4, 9), "test-0.tar": range(9, 12)},
    "another word first": {"birds-train-000000.tar": range(9), "birds_validation_000000.tar": range(9, 12)},
    "in data/": {"data/train-0.tar": range(9), "data/test-0.tar": range(9, 12)},
    "in folders": {"train/0000.tar": range(5), "train/0001.tar": range(5, 9), "test/0000.tar": range(9, 12)},
}


@both
@pytest.mark.parametrize("layout", LAYOUTS)
def test_file_names_say_the_splits(tmp_path: Path, layout: str, read: Read) -> None:
    for name, rows in LAYOUTS[layout].items():
        shard(tmp_path / "set" / name, samples(rows))
    (tmp_path / "set" / "README.md").write_text("x")
    if "validation" in str(LAYOUTS[layout]):
        dataset = load(DataConfig(path=str(tmp_path / "set"), test_share=0.2))
        assert dataset.val is not None and (dataset.val.images_NHWC == PIXELS[9:]).all()
        check(publicly(tmp_path / "set"))
    else:
        check(read(tmp_path / "set"))


def test_one_shard_a_range_and_shards_of_no_split(tmp_path: Path) -> None:
    one = shard(tmp_path / "scans.tar", samples(range(12)))
    with pytest.raises(ValueError, match=r"has no splits by file names, .* --data\.test-share"):
        load(DataConfig(path=str(one)))
    dataset = load(DataConfig(path=str(one), test_share=0.25))
    assert (len(dataset.train), len(dataset.test)) == (9, 3) and dataset.name == "scans"
    told = "1 WebDataset shard, labels by cls, no splits: all for training"
    assert dataset.told == f"{told}; 3 of its 12 images held out as test images (--data.test-share 0.25)"
    for number, rows in enumerate((range(4), range(4, 9))):
        shard(tmp_path / "some" / f"train-{number:03d}.tar", samples(rows))
    shard(tmp_path / "some" / "test-000.tar", samples(range(9, 12)))
    shard(tmp_path / "some" / "extra.tar", samples(range(2)))
    told = load(DataConfig(path=str(tmp_path / "some"))).told
    left = "left out: 1 of no split, such as extra.tar"
    assert told == f"3 WebDataset shards, labels by cls, splits by file names; {left}"
    ranged = load(DataConfig(path=str(tmp_path / "some" / "train-{000..001}.tar"), test_share=0.2))
    assert len(ranged.train) + len(ranged.test) == 9
    with pytest.raises(ValueError, match=r"train-\{000\.\.003\}\.tar' has no file train-002\.tar; bring it"):
        load(DataConfig(path=str(tmp_path / "some" / "train-{000..003}.tar"), test_share=0.2))
    shard(tmp_path / "many" / "train-00000-of-00002.tar", samples(range(9)))
    with pytest.raises(ValueError, match="has 1 of 2 files of train, and not train-00001-of-00002; bring them all"):
        load(DataConfig(path=str(tmp_path / "many")))


TWO_SETS = {
    "two sets": (
        ("cats.tar", "xrays.tar"),
        r"cats\.tar and xrays\.tar, which by their names .* \(set-0\.tar, set-1\.tar\)",
    ),
    "two exports": (
        ("train-00000-of-00001.tar", "train-00000-of-00002.tar", "train-00001-of-00002.tar"),
        "as two exports of one split leave them",
    ),
    "two layouts": (("train.tar", "test/0.tar"), r"test/0\.tar is of a split, but not where the \.tar files are"),
    "two folders": (("train/0.tar", "val/0.tar", "validation/0.tar"), "has val/ and validation/, both for val"),
    "a dead link": (
        ("train.tar", "test.tar", "dead.tar"),
        r"dead\.tar is a link to what is not there; bring",
    ),
}


@both
@pytest.mark.parametrize("kind", TWO_SETS)
def test_shards_are_one_whole_set_by_the_rules_for_parquet(tmp_path: Path, kind: str, read: Read) -> None:
    names, words = TWO_SETS[kind]
    for at, name in enumerate(names):
        if "dead" in name:
            (tmp_path / "set" / name).symlink_to(tmp_path / "nowhere.tar")
        else:
            shard(tmp_path / "set" / name, samples([at]))
    with pytest.raises(ValueError, match=rf"^(data|public)\.path='.*set'.*{words}"):
        read(tmp_path / "set")


@both
def test_the_folder_of_shards_may_be_the_current_one(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the last word of a split decides."""
    shard(tmp_path / "set" / "test_bench-train-0.tar", samples(range(9)))
    shard(tmp_path / "set" / "test" / "0.tar", samples([0, 3]))
    monkeypatch.chdir(tmp_path / "set" / "test")
    found = load(DataConfig(path=".", test_share=0.5))
    assert found.name == "test" and len(found.train) == len(found.test) == 1 and "left out" not in found.told
    (tmp_path / "set" / "test" / "0.tar").unlink()
    (tmp_path / "set" / "test").rmdir()
    shard(tmp_path / "set" / "test_bench-test-0.tar", samples(range(9, 12)))
    monkeypatch.chdir(tmp_path / "set")
    check(read(Path(".")))


def test_the_home_of_nobody_and_a_gap_are_refused_of_public_shards_too(tmp_path: Path) -> None:
    for read in (privately, publicly):
        with pytest.raises(ValueError, match=r"path='~nosuchuser/set-.*\.tar' begins in ~ and the name of no user"):
            read(Path("~nosuchuser/set-{0..1}.tar"))
    path = shard(tmp_path / "set.tar", samples(range(9), "cls", lambda at: str(2 * LABELS[at])))
    with pytest.raises(ValueError, match="class 1 has no training images; add some"):
        publicly(path)


@both
def test_a_tar_beside_other_sources_is_none(tmp_path: Path, read: Read) -> None:
    for split, rows in (("train", range(9)), ("test", range(9, 12))):
        for at in rows:
            there = tmp_path / "set" / split / str(LABELS[at]) / f"{at}.png"
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(picture(at))
    before = read(tmp_path / "set")
    shard(tmp_path / "set" / "download.tar", samples(range(2)))
    assert [one.fingerprint() for one in read(tmp_path / "set")] == [one.fingerprint() for one in before]


def linked(kind: bytes, name: str, to: str) -> tarfile.TarInfo:
    about = tarfile.TarInfo(name)
    about.type, about.linkname = kind, to
    return about


@both
@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_hostile_archives_are_harmless(tmp_path: Path, kind: int, read: Read) -> None:
    """Names that lead elsewhere are names; what is no plain file is left out; nothing is written anywhere."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture(0))
    special = [
        linked(tarfile.SYMTYPE, "0000.png", str(secret)), linked(tarfile.LNKTYPE, "../secret.png", "/etc/passwd"),
        linked(tarfile.CHRTYPE, "dev.png", ""), linked(tarfile.FIFOTYPE, "pipe.cls", ""),
        linked(tarfile.DIRTYPE, "/etc", ""), linked(tarfile.SYMTYPE, "x.png", "x.png"),
    ]  # fmt: skip
    there = tmp_path / "in" / "set"
    for split, rows in (("train", range(9)), ("test", range(9, 12))):
        content = [(f"{'../' * 3}{tmp_path}/{name}", data) for name, data in samples(rows)]
        content += [("/etc/raysyn.txt.bak", b"x"), ("__index__", b"x"), ("._0001.png", b"x"), ("no_ending", b"x")]
        shard(there / f"{split}-0.tar", content, *special, kind=kind)
    before = sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts)
    check(read(there))
    assert sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts) == before
    assert load(DataConfig(path=str(there))).told.endswith(
        "left out: 2 hidden, 10 links and other special files, 6 other files"
    )


BAD: dict[str, tuple[Content, str]] = {
    "no label": ([*samples(range(9)), ("9.png", picture(9))], "sample 9 has no label .cls, json or txt"),
    "no image": ([*samples(range(9)), ("9.cls", b"0")], r"sample 9 has no image \(png, jpg"),
    "two images": ([*samples(range(2)), ("0000.jpg", b"x")], "sample 0000 has several images; give one"),
    "two labels": ([*samples(range(2)), ("0000.cls", b"1")], r"two files 0000\.cls; leave one of them out"),
    "kinds": ([*samples(range(2)), *samples([2], "txt")], "has labels by cls and txt; give all samples one kind"),
    "a word as cls": (samples(range(2), "cls", lambda at: "ant"), "has a label cls that is no class number"),
    "below 0": (samples(range(2), "cls", lambda at: "-1"), "has a label cls that is no class number"),
    "below 0 in JSON": (samples(range(2), "json", lambda at: '{"label": -1}'), "has the label -1; number classes 0, 1"),
    "below 0 as text": (samples(range(2), "txt", lambda at: "-1" if at else "0"), "0001 has the label -1; number cl"),
    "no JSON": (samples(range(2), "json", lambda at: "{"), "has a label json that is no JSON"),
    "deep JSON": (samples(range(2), "json", lambda at: "[" * 99999), "has a label json that is no JSON"),
    "other JSON": (
        samples(range(2), "json", lambda at: '{"a": 1}'),
        "has no number or word label, labels or class in ",
    ),
    "several": (samples(range(2), "txt", lambda at: "ant|bee"), r"has several labels, with \| between them; give one"),
    "empty": (samples(range(2), "txt", lambda at: " \n"), "has an empty label"),
    "long": (samples(range(2), "txt", lambda at: "a" * 2**21), "has a label of 2,097,152 bytes"),
    "class folders": (
        [(f"train/ant/{at}.png", picture(at)) for at in range(3)],
        "train/ant/0 has no label .*, unpack it",
    ),
    "no image file": (
        [(f"{at}.{kind}", b"0" * 9) for at in (0, 1) for kind in ("png", "txt")],
        "sample . cannot be used: no image file",
    ),
    "nothing": ([], "has no train images"),
    "a further full stop": (
        [*samples(range(2)), ("p01.v2.png", picture(2)), ("p01.v2.cls", b"0")],
        r"has p01\.v2\.png, whose sample by its name is p01, up to the first full stop, and has no image",
    ),
    "UIDs": ([("1.2.840.dcm", b"x"), ("1.2.840.cls", b"0")], r"has 1\.2\.840\.dcm, whose sample by its name is 1,"),
    "two lines": (samples(range(2), "txt", lambda at: "ant\nbee"), "sample 0000 has a .txt that looks like a caption"),
    "a sentence": (
        samples(range(2), "txt", lambda at: "ant " * 17),
        "sample 0000 has a .txt that looks like a caption",
    ),
    "captions": (
        [(f"{at}.{kind}", data) for at in range(21) for kind, data in (("png", b"x"), ("txt", b"J. Doe %d" % at))],
        "has .txt files of which most differ, as captions do; give labels as .cls or .json, or",
    ),
    "a gap": (samples(range(2), "cls", lambda at: str(2 * at)), "class 1 has no training images"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_samples_are_named(tmp_path: Path, kind: str) -> None:
    content, words = BAD[kind]
    shard(tmp_path / "set.tar", content)
    with pytest.raises(ValueError, match=rf"^data\.path='.*set\.tar'.*{words}") as caught:
        load(DataConfig(path=str(tmp_path / "set.tar"), test_share=0.3))
    assert "\n" not in str(caught.value) and "Doe" not in str(caught.value)


@both
def test_what_systems_hide_and_masks_beside_images_are_none(tmp_path: Path, read: Read) -> None:
    more = [(f"{folder}/0000.{kind}", data) for folder in (".ipynb_checkpoints", "a/__MACOSX/b") for kind, data in
            (("png", picture(1)), ("cls", b"1"))]  # fmt: skip
    masks = [(f"./{at:04d}.seg.png", picture(at)) for at in range(9)]
    dotted = [(f"./{name}", data) for name, data in samples(range(9))]
    shard(tmp_path / "set" / "train-0.tar", [*more, *masks, *dotted])
    shard(tmp_path / "set" / "test-0.tar", samples(range(9, 12)))
    check(read(tmp_path / "set"))
    told = load(DataConfig(path=str(tmp_path / "set"))).told
    assert told.endswith("left out: 4 hidden, 9 with a further full stop in their names")


def test_ranges_name_any_shards_that_are_there(tmp_path: Path) -> None:
    for number in range(3):
        shard(
            tmp_path / "set" / f"train-{number:05d}-of-00004.tar",
            samples(range(4 * number, 4 * number + 4), "cls", lambda at: "0"),
        )
    for name, many in (("train-{00000..00001}-of-00004.tar", 8), ("train-00002-of-00004.tar", 4)):
        found = load(DataConfig(path=str(tmp_path / "set" / name), test_share=0.25))
        assert len(found.train) + len(found.test) == many
    for name, words in (
        ("train-{0..99999999999}.tar", "names more than 100,000 files; mend the range"),
        ("train-{0..9999}-{0..9999}.tar", "names more than 100,000 files; mend the range"),
        ("train-{3..1}.tar", "counts down; write the smaller number first"),
    ):
        for read in (privately, publicly):
            with pytest.raises(ValueError, match=rf"path='.*' {words}"):
                read(tmp_path / "set" / name)


@both
def test_gif_is_read(tmp_path: Path, read: Read) -> None:
    def content(rows: range) -> Content:
        return [
            (f"{at:04d}.{kind}", data) for at in rows for kind, data in (("gif", picture(at, "GIF")), ("cls", b"0"))
        ]

    shard(tmp_path / "set" / "train-0.tar", content(range(9)))
    shard(tmp_path / "set" / "test-0.tar", content(range(9, 12)))
    train, test = read(tmp_path / "set")
    assert (train.images_NHWC[:] == PIXELS[:9]).all() and (test.images_NHWC[:] == PIXELS[9:]).all()


@both
def test_one_more_archive_beside_folders_of_splits_is_refused(tmp_path: Path, read: Read) -> None:
    for name, rows in (("train/0.tar", range(9)), ("test/0.tar", range(9, 12)), ("leftover.tar", range(2))):
        shard(tmp_path / "set" / name, samples(rows))
    with pytest.raises(ValueError, match=r"test/0\.tar is of a split, but not where .* \(leftover\.tar\)"):
        read(tmp_path / "set")


def test_a_folder_above_the_shards_is_told_where_they_are(tmp_path: Path) -> None:
    shard(tmp_path / "set" / "shards" / "train-0.tar", samples(range(2)))
    with pytest.raises(ValueError, match=r"has \.tar files in shards/, and none in itself: give '.*shards'"):
        load(DataConfig(path=str(tmp_path / "set")))


@both
def test_words_of_tests_alone_are_no_class(tmp_path: Path, read: Read) -> None:
    shard(tmp_path / "set" / "train-0.tar", samples(range(9), "txt", lambda at: "ant"))
    shard(tmp_path / "set" / "test-0.tar", samples(range(9, 12), "txt", lambda at: "bee"))
    with pytest.raises(ValueError, match=r"test-0\.tar, sample 0009 has a label that is no class of train; mend it"):
        read(tmp_path / "set")


@both
@pytest.mark.parametrize("kind", ["compressed", "cut", "cut between files", "two in one", "no archive", "empty"])
def test_archives_that_are_not_whole_are_refused(tmp_path: Path, kind: str, read: Read) -> None:
    whole = shard(tmp_path / "one.tar", samples(range(9))).read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    bad = {
        "compressed": __import__("gzip").compress(whole), "cut": whole[: end - 600], "cut between files": whole[:end],
        "two in one": whole + whole, "no archive": b"x" * 9999, "empty": b"",
    }[kind]  # fmt: skip
    (tmp_path / "one.tar").write_bytes(bad)
    with pytest.raises(
        ValueError, match=r"(data|public)\.path='.*one\.tar': one\.tar (is damaged or cut|cannot be read)"
    ):
        read(tmp_path / "one.tar")


def test_an_archive_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shard(tmp_path / "set.tar", samples(range(2)))

    def denied(self: Path, *_: object) -> object:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ValueError, match=r"set\.tar cannot be read \(Permission denied\); mend its permissions"):
        read_tars(path, "set")


def test_columns_are_not_of_archives(tmp_path: Path) -> None:
    path = str(shard(tmp_path / "set.tar", samples(range(9))))
    for read in (lambda: load(DataConfig(path=path, label_column="x")), lambda: publicly_with_column(path)):
        with pytest.raises(ValueError, match=r"label_column='x' names a column, but .* is no Parquet file"):
            read()


def publicly_with_column(path: str) -> Any:
    return load_public(PublicConfig(path=(path,), label_column="x"), (8, 9, 1))


def rewritten(path: Path) -> None:
    """With other images at the same places."""
    shard(path, samples([1, 2, 0, 4, 5, 3, 7, 8, 6], "cls", lambda _: "0"))
    os.utime(path, ns=(1, 1))


CHANGES: dict[str, Callable[[Path], Any]] = {
    "rewritten": rewritten,
    "shorter": lambda path: path.write_bytes(path.read_bytes()[:1000]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0" * 512),
}


@both
@pytest.mark.parametrize("kind", CHANGES)
def test_an_archive_that_has_changed_is_refused_and_not_skipped(
    tmp_path: Path, kind: str, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at its files and the images, whose labels would be those of others."""
    for split in ("train", "test"):
        shard(tmp_path / "set" / f"{split}-0.tar", samples(range(9)))
    changed = changing(tmp_path / "set", monkeypatch, CHANGES[kind])
    group = "data" if read is privately else "public"
    config: Any = {"path": str(tmp_path / "set"), "skip_broken": 9}
    words = rf"{group}\.path='.*sample .* cannot be used: the archive train-0\.tar has changed while it was read: try"
    with pytest.raises(ValueError, match=words):
        if read is privately:
            load(DataConfig(**config))
        else:
            load_public(PublicConfig(**config | {"path": (config["path"],)}), (8, 9, 1))
    assert changed


def changing(path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], Any]) -> list[Path]:
    """Let the first archive change as soon as all are looked through."""
    changed = list[Path]()

    def look(*given: Any) -> Any:
        found = read_tars(*given)
        change(path / "train-0.tar")
        changed.append(path / "train-0.tar")
        return found

    for module in (sources, streams):
        monkeypatch.setattr(module, "read_tars", look)
    return changed


@pytest.mark.parametrize("after", [0, 1])
def test_an_archive_that_changes_while_it_is_looked_through_is_refused(
    tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among its headers, and between these and its labels."""
    path, ends = shard(tmp_path / "set.tar", samples(range(9))), tars._ends

    def change(*given: Any) -> bool:
        rewritten(path)
        return ends(*given)

    def labels(*given: Any) -> Any:
        rewritten(path)
        return label_of(*given)

    monkeypatch.setattr(tars, *[("_ends", change), ("label_of", labels)][after])
    with pytest.raises(ValueError, match=r"^set: .*the archive set\.tar has changed while it was read: try again once"):
        read_tars(path, "set")


@pytest.mark.parametrize("ending", ["txt", "cls", "json"])
def test_a_mark_of_the_encoding_is_no_part_of_a_label(tmp_path: Path, ending: str) -> None:
    """Of some samples alone, as where two programs wrote them."""
    word = '{"label": 0}' if ending == "json" else "0"
    marked = samples(range(4), ending, lambda at: "\ufeff" * (at % 2) + word)
    found = read_tars(shard(tmp_path / "set.tar", marked), "set")
    assert found.class_names is None and {image.label for image in found.images} == {0}


@pytest.mark.slow  # it imports a great deal
def test_what_webdataset_writes_is_read(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    (tmp_path / "set").mkdir()
    for split, rows in (("train", range(9)), ("test", range(9, 12))):
        with webdataset.TarWriter(str(tmp_path / "set" / f"{split}-000000.tar")) as writer:
            for at in rows:
                writer.write({"__key__": f"{at:06d}", "png": PIXELS[at, ..., 0], "cls": LABELS[at]})
    check(privately(tmp_path / "set"))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_damage_gives_images_or_one_sentence(tmp_path: Path, data: st.DataObject, kind: int) -> None:
    """In a header above all: a size that is negative, huge, or leads back."""
    content = [
        *samples(range(3), "cls", lambda at: "0"),
        ("long/" * 30 + "3.png", picture(3)),
        ("long/" * 30 + "3.cls", b"0"),
    ]
    whole = shard(tmp_path / "set.tar", content, kind=kind).read_bytes()
    at = data.draw(st.one_of(st.integers(0, len(whole) - 1), st.integers(0, 9).map(lambda n: 124 + 512 * n)))
    change = data.draw(
        st.one_of(st.binary(min_size=1, max_size=12), st.sampled_from([b"\xff" * 12, b"\x80" + b"\xff" * 11]))
    )
    bad = whole[:at] if data.draw(st.booleans()) else whole[:at] + change + whole[at + len(change) :]
    if data.draw(st.booleans()) and at < len(bad):
        head = at // 512 * 512
        block = bytearray(bad[head : head + 512].ljust(512, b"\0"))
        block[148:156] = b" " * 8
        block[148:156] = f"{sum(block):06o}\0 ".encode()
        bad = bad[:head] + bytes(block) + bad[head + 512 :]
    (tmp_path / "set.tar").write_bytes(bad)
    try:
        found = read_tars(tmp_path / "set.tar", "set")
    except ValueError as error:
        assert str(error).startswith("set") and "\n" not in str(error)
    else:
        assert all(len(image.member.read()) == image.member.size for image in found.images)
