"""A table beside a folder of images: every row has its file, and what is there without a row is told."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raysyn.data import manifest
from raysyn.data.image_file import FORMATS
from raysyn.data.images import DataConfig, Images, load
from raysyn.data.listing import BESIDE, IMAGES
from raysyn.data.parquet_schema import USUAL
from raysyn.data.public import load_public
from raysyn.data.streams import PublicConfig

N = 12
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 8, 8), dtype=np.uint8)
WORDS = ["yak", "ant"] * 6
SPLIT = ["train"] * 8 + ["test"] * 4


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with images in two sub-folders."""
    for at, pixels in enumerate(PIXELS):
        folder = tmp_path / "set" / ("images" if at % 3 else "more images")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"scan.{at}.png")
    return tmp_path / "set"


def table(folder: Path, *lines: str, name: str = "labels.csv", head: str = "path,label,split", end: str = "\n") -> Path:
    (folder / name).write_text(end.join([head, *lines, ""]), newline="")
    return folder / name


def rows(file: Callable[[int], str], labels: list[str] = WORDS, mark: str = ",") -> list[str]:
    return [mark.join([file(at), labels[at], SPLIT[at]]) for at in range(N)]


def by_path(at: int) -> str:
    return f"{'images' if at % 3 else 'more images'}/scan.{at}.png"


def by_name(at: int) -> str:
    return f"scan.{at}.png"


def by_stem(at: int) -> str:
    return f"scan.{at}"


def as_windows_does(at: int) -> str:
    return by_path(at).replace("/", "\\")


Read = Callable[..., tuple[Images, Images]]


def privately(path: Path, **more: str) -> tuple[Images, Images]:
    found = load(DataConfig(path=str(path), **more))
    return found.train, found.test


def publicly(path: Path, **more: str) -> tuple[Images, Images]:
    found = load_public(PublicConfig(path=(str(path),), **more), (8, 8, 1))
    return found.train, found.valid


both = pytest.mark.parametrize("read", [privately, publicly])


def check(found: tuple[Images, Images], names: tuple[str, ...]) -> None:
    train, test = found
    assert (train.images_NHWC[:][..., 0] == PIXELS[:8]).all() and (test.images_NHWC[:][..., 0] == PIXELS[8:]).all()
    assert train.class_names == names
    labels = [*train.labels_N, *test.labels_N]
    assert labels == [names.index(word) for word in WORDS] if "ant" in names else labels == [0, 1] * 6


def from_above(at: int) -> str:
    return f"set/{by_path(at)}"


def without_ending(at: int) -> str:
    return f"./{by_path(at)}".removesuffix(".png")


@both
@pytest.mark.parametrize("file", [by_path, by_name, by_stem, as_windows_does, from_above, without_ending])
def test_files_are_found_by_path_or_name(images: Path, read: Read, file: Callable[[int], str]) -> None:
    check(read(table(images, *rows(file))), ("ant", "yak"))


@both
@pytest.mark.parametrize(
    ("mark", "end", "begin", "name"),
    [(",", "\r\n", "\ufeff", "labels.csv"), (";", "\n", "", "l.CSV"), ("\t", "\n", "", "l.tsv")],
)
def test_tables_of_other_programs_are_read(
    images: Path, read: Read, mark: str, end: str, begin: str, name: str
) -> None:
    head = begin + mark.join(['"Path"', " label ", ' "SPLIT"'])
    quoted = [row.replace("yak", ' "yak"') for row in rows(by_path, mark=mark)]
    check(read(table(images, *quoted, "", name=name, head=head, end=end)), ("ant", "yak"))


@both
@pytest.mark.parametrize("said", ["sep=;", "\ufeffSEP=;\r", '"sep=;"', "sep=|", "sep=\t"])
def test_a_table_may_say_first_what_parts_its_fields(images: Path, read: Read, said: str) -> None:
    """As Excel has it. A comma in a name would otherwise part it."""
    mark = said.strip('\r"')[-1]
    for at in (0, 1):
        (images / by_path(at)).rename(images / f"a,b,c,{at}.png")
    lines = rows(lambda at: by_path(at) if at > 1 else f"a,b,c,{at}.png", mark=mark)
    path = table(images, *lines, head=f"{said}\n{mark.join(('path', 'label', 'split'))}")
    check(read(path), ("ant", "yak"))
    assert manifest.names_files(str(path)) == "path"
    for bad, words in ((f"x{mark}ant", "line 15 has 2 fields"), (f'x{mark}"ant', "line 15 cannot be read")):
        with pytest.raises(ValueError, match=words):
            read(table(images, *lines, bad, head=f"{said}\n{mark.join(('path', 'label', 'split'))}"))


@both
def test_labels_may_be_numbers_and_columns_have_other_names(images: Path, read: Read) -> None:
    numbers = [str(at % 2) for at in range(N)]
    check(read(table(images, *rows(by_name, numbers), head="image_id,class,split")), ("0", "1"))
    path = table(images, *rows(by_name), head="scan,kind,split")
    check(read(path, image_column="scan", label_column="kind"), ("ant", "yak"))
    group = "data" if read is privately else "public"
    with pytest.raises(ValueError, match=rf"lacks a column of images .*; it has scan, kind, split: .*--{group}\.image"):
        read(path)
    with pytest.raises(
        ValueError, match=rf"name those to read with --{group}\.image-column and --{group}\.label-column$"
    ):
        read(path)
    with pytest.raises(ValueError, match=rf"lacks a column of labels .*: name the one .* --{group}\.label-column$"):
        read(path, image_column="scan")
    with pytest.raises(ValueError, match=rf"lacks the column that {group}\.label_column='x' names; it has scan, kind"):
        read(path, image_column="scan", label_column="x")
    both = (
        rf"the columns that {group}\.image_column='scam' and {group}\.label_column='x' name; it has scan, kind, split$"
    )
    with pytest.raises(ValueError, match=both):
        read(path, image_column="scam", label_column="x")


def test_links_are_followed_and_what_has_no_row_is_told(images: Path, tmp_path: Path) -> None:
    (images / "images").rename(tmp_path / "disk")
    (images / "images").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "again").symlink_to(images)
    path = table(images, *rows(by_name)[:10])
    for name in (".hidden.png", "README.md", "a.sh", "rs", "model.pt"):
        (images / name).write_text("x")
    found = load(DataConfig(path=str(path)))
    assert (found.name, len(found.train), len(found.test)) == ("labels", 8, 2)
    told = "a table of 10 rows, files by path, labels in label; left out: 2 files without a row"
    assert found.told == f"{told} (images/scan.10.png, images/scan.11.png)"


def test_what_raysyn_wrote_beside_a_table_is_no_file_without_a_row(images: Path) -> None:
    """A folder of runs, a release, and sheets of what lies there; a file that is only called like a sheet is named, as
    one is that would be the sheet of an image."""
    path = table(images, *rows(by_path)[:11])
    for name in ("internal/run.json", "release/samples.png", "internal/closest.png"):
        (images / "runs/scans" / name).parent.mkdir(parents=True, exist_ok=True)
        (images / "runs/scans" / name).write_text("{}")
    (images / "handed on").mkdir()
    for name in ("handed on/certificate.json", "handed on/samples.png", "look-labels.png", "look-images-2.png"):
        (images / name).write_text('{"made_by": {}}')
    assert load(DataConfig(path=str(path))).told.endswith("left out: 1 file without a row (images/scan.11.png)")
    (images / by_path(0)).rename(images / "1.png")
    table(images, "1.png,ant,train", *rows(by_path)[1:11])
    for name in ("look-left.png", "look-1.png"):
        (images / name).write_text("x")
    told = load(DataConfig(path=str(path))).told
    assert told.endswith("left out: 3 files without a row (images/scan.11.png, look-1.png, look-left.png)")


def test_what_has_no_ending_is_counted_where_it_begins_as_an_image(images: Path) -> None:
    """As DICOM files of a scanner's export; and so is what ends as images do that are not read."""
    path = table(images, *rows(by_path))
    for name, begin in (
        ("1.2.840.5", bytes(128) + b"DICM"), ("1.2.txt7", bytes(128) + b"DICM"), ("2.0", b"notes of a version"),
        ("IM0001", bytes(128) + b"DICM"), ("IM0002", (images / by_path(0)).read_bytes()),
        ("IM0003", b"\0\0\0\x18ftypheic\0\0\0\0"), ("Makefile", b"all:\n"), ("empty", b""),
        ("a.bin", bytes(128) + b"DICM"), ("b.heic", b"x"), ("c.HEIF", b"x"), ("d.jxl", b"x"),
    ):  # fmt: skip
        (images / name).write_bytes(begin)
    os.mkfifo(images / "pipe")
    told = load(DataConfig(path=str(path))).told
    assert told.endswith("left out: 7 files without a row (1.2.840.5, IM0001, IM0002 and 4 more)")


@pytest.mark.parametrize("written", ["certificate.json", "release/certificate.json", "internal/run.json"])
def test_rows_find_their_files_wherever_they_lie(images: Path, written: str) -> None:
    """A scanner's certificate is none of raysyn's, and what raysyn wrote may be what a table is of."""
    (images / "images/internal").mkdir()
    (images / "images/release").mkdir()
    (images / "images" / written).write_text("{}")
    path = table(images, *rows(by_name)[:11])
    left = "" if "run" in written else "; left out: 1 file without a row (images/scan.11.png)"
    assert load(DataConfig(path=str(path))).told.endswith(f"labels in label{left}")


SPELLED = {
    "from the root": lambda images, at: str(images.resolve() / by_path(at)),
    "by a link": lambda images, at: str(images.parent / "link" / by_path(at)),
    "with dots": lambda images, at: f"./images/../{by_path(at)}",
    "as Windows does": lambda images, at: as_windows_does(at),
}


@both
@pytest.mark.parametrize("given", ["set/labels.csv", "./set/../link/labels.csv", "{images}/labels.csv"])
@pytest.mark.parametrize("spelled", SPELLED)
def test_a_file_is_one_however_its_path_is_spelled(
    images: Path, read: Read, spelled: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images.parent / "link").symlink_to(images)
    monkeypatch.chdir(images.parent)
    path, again = Path(given.format(images=images)), SPELLED[spelled](images, 3)
    table(images, *rows(lambda at: SPELLED[spelled](images, at)))
    check(read(path), ("ant", "yak"))
    if read is privately:
        assert "left out" not in load(DataConfig(path=str(path))).told
    table(images, *rows(by_path), f"{again},ant,test")
    with pytest.raises(ValueError, match=r"line 14 has the same file as line 5, '.*'; leave one of them out$"):
        read(path)


def test_without_splits_all_are_for_training(images: Path) -> None:
    path = table(images, *(row.rpartition(",")[0] for row in rows(by_name)), head="path,label")
    found = load(DataConfig(path=str(path), test_share=0.25))
    assert (len(found.train), len(found.test)) == (9, 3) and ", no column split: all for training; " in found.told
    with pytest.raises(ValueError, match=r"has no column split, and so no test images; .* --data\.test-share"):
        load(DataConfig(path=str(path)))


def test_words_are_no_declaration(images: Path) -> None:
    labels = ["rare", *["ant"] * 11]
    with pytest.raises(ValueError, match=r"data\.limit=2 leaves class 1 without a training image"):
        load(DataConfig(path=str(table(images, *rows(by_name, labels))), limit=2))


BAD = {
    "gone": (["scan.99.png,ant,test"], r"line 14: 'scan\.99\.png' is in .* nowhere; bring it"),
    "twice": (["scan.0.png,ant,test"], r"line 14 has the same file as line 2, 'scan\.0\.png'"),
    "empty label": (["scan.0.png,,test"], "line 14 has an empty label; fill or drop it"),
    "empty file": ([",ant,test"], "line 14 has an empty path"),
    "split": (["scan.0.png,ant,dev"], "line 14 has the split 'dev'; it must be one of train, val, test"),
    "other folder": (["images/scan.0.png,ant,test"], r"line 14: 'images/scan\.0\.png' is in .* nowhere"),
    "elsewhere": (["/old/images/scan.1.png,ant,test"], r"line 14: '/old/images/scan\.1\.png' is in .* nowhere"),
    "an open quote": (
        ['"scan.0.png,ant,test', "x,ant,test"],
        r"line 14 to 15 cannot be read \(unexpected end of data\)",
    ),
    "two quotes": (['x,"ant,test', 'x,"ant,test'], "line 14 to 15 cannot be read .* expected after .*; mend it, such"),
    "fields": (["scan.0.png,ant"], "line 14 has 2 fields, and the first 3; mend it"),
}


@both
@pytest.mark.parametrize("kind", BAD)
def test_bad_rows_are_named_by_their_line(images: Path, read: Read, kind: str) -> None:
    more, words = BAD[kind]
    with pytest.raises(ValueError, match=rf"^(data|public)\.path='.*labels\.csv': {words}"):
        read(table(images, *rows(by_name), *more))


@both
def test_names_of_several_files_and_classes_of_tests_alone_are_refused(images: Path, read: Read) -> None:
    (images / "images" / "scan.0.png").write_bytes((images / "more images" / "scan.0.png").read_bytes())
    with pytest.raises(ValueError, match=r"line 2: 'scan\.0\.png' names 2 files, such as .* and .*; give paths"):
        read(table(images, *rows(by_name)))
    with pytest.raises(ValueError, match=r"the label 'cow' is no class of train; mend it"):
        read(table(images, *rows(by_path, [*WORDS[:11], "cow"])))


@both
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"lacks a column of images .*; it has none"),
        (b"path,label\n\xff\xfe,a\n", "cannot be read as a table in UTF-8"),
        (b"path,path\na,b\n", "has two columns of one name; it has path, path"),
        (b"path," + b"x" * 200_000 + b"\na,b\n", r"line 1 cannot be read \(field larger than field limit"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, read: Read, content: bytes, words: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        read(tmp_path / "t.csv")
    assert "\n" not in str(caught.value)


def test_many_files_of_one_name_are_found_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparing each row with all files took a minute, of 40,000."""
    many = 40_000
    path = table(tmp_path, *(f"p{at}/view.png,0" for at in range(many)), head="path,label")
    walked = ((f"{tmp_path}/p{at}", [], ["view.png"]) for at in range(many))
    monkeypatch.setattr(manifest.os, "walk", lambda *_, **__: walked)
    monkeypatch.setattr(manifest.os.path, "isfile", lambda file: "/p" in file)
    monkeypatch.setattr(manifest.os.path, "realpath", str)
    begin = time.process_time()
    assert len(manifest.read_manifest(path, "data.path", USUAL).rows) == many
    assert time.process_time() - begin < 10


@both
def test_links_into_a_store_are_files_of_their_names_also_where_two_lead_to_one(images: Path, read: Read) -> None:
    """As git-annex, DVC and the cache of the Hugging Face Hub have it."""
    (store := images / "store").mkdir()
    for at in range(N):
        (images / by_path(at)).rename(store / f"{at}.bin")
        (images / by_path(at)).symlink_to(store / f"{at if at else 3}.bin")
    check_labels = read(table(images, *rows(by_name)))
    assert [len(part) for part in check_labels] == [8, 4]


def test_all_that_is_read_has_an_ending_of_an_image() -> None:
    Image.init()
    assert {ending for ending, kind in Image.registered_extensions().items() if kind in FORMATS} < IMAGES
    assert not IMAGES & BESIDE


def test_files_that_end_as_those_of_rows_do_are_counted_whatever_that_is(images: Path) -> None:
    for at in range(N):
        (images / by_path(at)).rename(images / f"scan{at}")
    path = table(images, *rows(lambda at: f"scan{at}")[:11])
    assert load(DataConfig(path=str(path))).told.endswith("left out: 1 file without a row (scan11)")


@pytest.mark.parametrize("bad", [1, 2, 5])
def test_how_many_lines_cannot_be_used_is_told_at_once(images: Path, bad: int) -> None:
    lines = rows(by_path)
    for at, fault in enumerate(["{},,train", "gone/{},ant,train", ",ant,train", "{},ant,tain", "{},,"][:bad]):
        lines[2 + at] = fault.format(by_path(2 + at))
    with pytest.raises(ValueError, match="line 4 has an empty label; fill or drop it") as refused:
        load(DataConfig(path=str(table(images, *lines))))
    told = f" ({bad} lines cannot be used, this is the first of them)"
    assert str(refused.value).endswith(told if bad > 1 else "fill or drop it")
