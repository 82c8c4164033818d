"""`raysyn look`: every image is counted, good or bad, and nothing is changed."""

from __future__ import annotations

import io
import json
import re
import shlex
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from raysyn import look_run
from raysyn.data import survey as surveying
from raysyn.data.grouped import FOLDER
from raysyn.data.images import DataConfig, load
from raysyn.data.persons import PREFIX
from raysyn.data.source import Source, Split
from raysyn.data.survey import Survey, survey
from raysyn.looking import Flags, look, main
from raysyn.methods.basics import Basics
from raysyn.own_data import Flags as OfAuto
from raysyn.privacy.cost import Budget
from raysyn.report import look_depths, looked
from raysyn.screen.flags import assigned

RNG = np.random.default_rng(0)


def png(pixels: np.ndarray, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, "PNG")
    return buffer.getvalue()


def noise(height: int = 10, width: int = 10, *channels: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, *channels), dtype=np.uint8)


def messy(source: Path) -> None:
    """A folder with everything that can be wrong with one that is read at all."""
    twin, wide, clear = noise(10, 10, 3), noise(10, 15, 3), noise(10, 15, 4)
    files: dict[str, bytes] = {
        "train/ant/0.png": png(twin), "train/ant/1.png": png(twin), "train/ant/2.png": png(wide),
        "train/bee/0.png": png(twin), "train/bee/1.png": png(noise(40, 30, 3)), "train/bee/2.png": png(noise()),
        "train/bee/3.png": b"no image", "train/bee/4.png": png(twin)[:-30], "train/bee/5.png": png(clear),
        "test/ant/0.png": png(wide), "test/bee/0.png": png(noise(10, 10, 3)),
    }  # fmt: skip
    for name, content in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    (source / "train/c<ow>").mkdir()


def advised(said: str) -> list[str]:
    """The flags of the line that names some to look again with."""
    found = re.search(r"Look again with: (.*?) Private images, which stay inside: ", said)
    return shlex.split(found[1]) if found else []


def state(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
    }


def test_everything_is_counted_and_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    messy(tmp_path / "scans")
    before = state(tmp_path / "scans")
    assert main(["scans", "--html", "page.html"]) == 0
    assert state(tmp_path / "scans") == before
    text = capsys.readouterr().out
    said = " ".join(text.split())
    assert said.startswith("look: scans Stays inside: all of this is of the images themselves, without noise.")
    assert "class train test ant 3 1 bee 6 1 c<ow> 0 0" in said
    assert "10 x 10 6 15 x 10 3 30 x 40 1" in said and "RGB 8 L 1 RGBA 1" in said
    assert "Images that cannot be used, at which a run stops: 3. The first: file train/bee/3.png (no image f" in said
    assert "file train/bee/5.png (its mode RGBA is not plain" in said
    assert "Exact copies within train: 2." in said and "Exact copies within test" not in said
    assert "Exact copies in test of images of train: 1. These are not held out." in said
    assert "Exact copies with another label than the first of their kind: 1." in said
    assert "Exact copies across splits: image is the same as test: file test/ant/0.png train: file train/ant/2" in said
    assert "Which method fits" not in said, "a run would be refused"
    copies = "train: file train/ant/1.png is train: file train/ant/0.png; tra"
    assert f"The first copies within a split, beside the first of the same pixels in any: {copies}" in said
    assert "begins to read 9 training and 2 test images of 10 x 10 pixels, colour, 3 classes, and is refused at" in said
    assert "at the first that is of another size or is not colour or cannot be used." in said
    assert "No method is told: such a" in said
    assert "--data.skip-broken 2 leaves the 2 out that cannot be decoded. Exact" in said
    assert "Look again with: --size 8 --fit pad --colour rgb --background white --skip-broken 2 Private" in said
    assert "There are 3 sizes, the shortest side is 10 pixels: --data.size 8 makes them one." in said
    assert "--data.crop centre keeps them" in said and "There are both kinds, 1 grey and 7 colour: conv" in said
    assert f"Private images, which stay inside: contact sheet {tmp_path}/look-scans.png (--sheet says" in said
    assert said.endswith(f" Private images, which stay inside: page {tmp_path}/page.html")
    page = Path("page.html").read_text()
    assert looked.INSIDE in page and "c&lt;ow&gt;" in page and "data:image/png;base64," in page
    assert page.count("<section>") == 6
    for name in ("look-scans.png", "page.html"):
        assert Path(name).stat().st_mode & 0o777 == 0o600
    with Image.open("look-scans.png") as sheet:
        assert sheet.width > 12 * 40 and sheet.height > 3 * 40


def test_what_is_advised_makes_it_readable(tmp_path: Path) -> None:
    source = tmp_path / "scans"
    for number, (height, width) in enumerate([(40, 30), (33, 60), (50, 50)]):
        for split in ("train", "test"):
            (source / split / "a").mkdir(parents=True, exist_ok=True)
            (source / split / "a" / f"{number}.png").write_bytes(png(noise(height, width)))
    said = looked_at(source, tmp_path / "sheet.png")
    assert "--data.size 28 makes them one. To be told of such a run, look again with --size 28." in said
    assert "refused at the first that is of another size." in said
    assert "No method is told: such a run would be refused." in said
    said = looked_at(source, tmp_path / "sheet.png", size=28)
    assert "--data.size 28 reads 3 training and 3 test images of 28 x 28 pixels, grey, 1 class." in said
    assert "Which method fits" in said and "sizes, the shortest" not in said and "30 x 40 2" in said
    (words,) = re.findall(r"raysyn auto (.*?) --epsilon", said)
    assert words == f"{source} --data.size 28"
    assert "--data.size 3 would be refused: data.size" in looked_at(source, tmp_path / "sheet.png", size=3)
    assert load(DataConfig(path=str(source), size=28, crop="centre")).train.shape == (28, 28, 1)


def test_the_flags_to_look_again_with_settle_all_that_a_run_is_refused_for(tmp_path: Path) -> None:
    messy(tmp_path / "scans")
    (tmp_path / "scans/train/bee/1.png").unlink()
    Image.fromarray(noise(10, 10, 3)).convert("CMYK").save(tmp_path / "scans/train/bee/6.tiff")
    flags = advised(looked_at(tmp_path / "scans", tmp_path / "sheet.png"))
    more = assigned(Flags(), flags, "look")
    assert (more.size, more.fit, more.colour, more.background, more.skip_broken) == (8, "pad", "rgb", "white", 2)
    said = looked_at(tmp_path / "scans", tmp_path / "sheet.png", **{name: getattr(more, name) for name in OF_FLAGS})
    assert "Which method fits" in said and " reads 7 training and 2 test images of 8 x 8 pixels, colour" in said
    assert not advised(said) and "at which a run stops" not in said
    # What was given is named again, and nothing is where something else is in the way.
    assert {"--size", "16", "--colour"} <= {*advised(looked_at(tmp_path / "scans", tmp_path / "sheet.png", size=16))}
    (tmp_path / "scans/train/bee/7.png").write_bytes(png(RNG.integers(0, 4000, (10, 10), dtype=np.uint16)))
    assert not advised(looked_at(tmp_path / "scans", tmp_path / "sheet.png"))


def test_a_source_without_test_images_whose_first_image_is_broken_is_advised_too(tmp_path: Path) -> None:
    some = {"image": [b"x", b"y", *(png(noise()) for _ in range(6))], "label": [0, 1] * 4, "split": ["train"] * 8}
    source, sheet = parquet(tmp_path / "set.parquet", **some), tmp_path / "sheet.png"
    said = looked_at(Path(source), sheet)
    assert "no image file" in said and " 2. The first: " in said and "--data.skip-broken 2 leaves these out. " in said
    assert advised(said) == ["--test-share", "0.1", "--skip-broken", "2"]
    said = looked_at(Path(source), sheet, test_share=0.5, skip_broken=2)
    assert re.search(r"--data\.skip-broken 2 reads \d training and \d test images", said) and not advised(said)
    trained, tested = map(int, re.findall(r"reads (\d) training and (\d) test", said)[0])
    assert trained + tested == 6
    source = parquet(tmp_path / "set.parquet", **some | {"split": ["train"] * 6 + ["test"] * 2})
    said = looked_at(Path(source), sheet)
    assert "or leave such out with --data.skip-broken 1. Understood" in said, "who looks is not told to"
    assert advised(said) == ["--skip-broken", "2"]
    source = parquet(tmp_path / "set.parquet", **some | {"label": [0, 1, *[0, 2] * 3], "split": ["train"] * 8})
    assert not advised(looked_at(Path(source), sheet)), "a class is left without an image"


def test_what_is_advised_is_not_advised_where_it_would_be_refused_too(tmp_path: Path) -> None:
    for at in range(4):
        for split, content in (("train", png(noise())), ("test", png(noise())[:-30])):
            (tmp_path / "scans" / split / "a").mkdir(parents=True, exist_ok=True)
            (tmp_path / "scans" / split / "a" / f"{at}.png").write_bytes(content)
    said = looked_at(tmp_path / "scans", tmp_path / "sheet.png")
    assert "--data.skip-broken 4 leaves these out." in said and not advised(said), "no test image is left"


@pytest.mark.parametrize("others", ["L", "LA", "RGB"])
@pytest.mark.parametrize("colours", [True, False])
def test_transparent_palettes_are_of_the_kind_that_their_pixels_are(tmp_path: Path, others: str, colours: bool) -> None:
    pixels = noise(10, 10, 3) if colours else noise()
    pixels[0, 0] = 0
    palette = Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE)
    for split in ("train", "test"):
        (there := tmp_path / "scans" / split / "a").mkdir(parents=True)
        Image.fromarray(noise(10, 10, {"L": 1, "LA": 2, "RGB": 3}[others]).squeeze()).save(there / "0.png")
        palette.save(there / "1.png", transparency=palette.getpixel((0, 0)))
    flags = advised(looked_at(tmp_path / "scans", tmp_path / "sheet.png"))
    colour = ["--colour", "rgb"] if colours and others != "RGB" else []
    assert flags == [*colour, "--background", "white"]
    more = assigned(Flags(), flags, "look")
    said = looked_at(tmp_path / "scans", tmp_path / "sheet.png", colour=more.colour, background=more.background)
    assert " reads 2 training and 2 test images of 10 x 10 pixels" in said and not advised(said)


@pytest.mark.parametrize("deep", [False, True])
def test_images_that_cannot_be_decoded_have_no_size_or_depth_that_a_run_is_refused_for(
    tmp_path: Path, deep: bool
) -> None:
    for split in ("train", "test"):
        (there := tmp_path / "scans" / split / "a").mkdir(parents=True)
        for at in range(3):
            pixels = RNG.integers(0, 4000, (10, 10), dtype=np.uint16) if deep else noise()
            (there / f"{at}.png").write_bytes(png(pixels))
    (there / "3.png").write_bytes(png(noise(60, 50))[:-60])
    window = {"window": (0, 4000)} if deep else {}
    said = looked_at(tmp_path / "scans", tmp_path / "sheet.png", skip_broken=1, **window)
    assert "50 x 60 1" in said and " reads 3 training and 3 test images of 10 x 10 pixels, grey, 1 class." in said
    assert "2 sizes" not in said and "Not all are square" not in said and "two depths" not in said
    assert "Which method fits" in said and not advised(said)
    said = looked_at(tmp_path / "scans", tmp_path / "sheet.png", **window)
    assert "is refused at the first that cannot be used." in said
    assert advised(said)[-2:] == ["--skip-broken", "1"] and "--size" not in advised(said)


def test_many_sizes_are_told_in_few_lines(tmp_path: Path) -> None:
    sides = [10 + at for at in range(12)] + [40] * 3
    some = {"image": [png(noise(10, side)) for side in sides], "label": [0] * 15, "split": ["train"] * 15}
    page = tmp_path / "page.html"
    said = looked_at(Path(parquet(tmp_path / "set.parquet", **some)), tmp_path / "sheet.png", html=str(page))
    assert "width x height images 40 x 10 3 10 x 10 1 11 x 10 1 12 x 10 1 13 x 10 1 8 more 8 Modes" in said
    spread = "By the longer side, the smallest image is 10 x 10, the median 17 x 10 and the largest 40 x 10 pixels."
    assert spread in said and spread in page.read_text() and "8 more" in page.read_text()
    found = Survey(sizes=Counter({(side, side): 1 for side in range(8, 16)}))
    assert "15 x 15" in str(looked.tables(found, None)) and "By the longer" not in str(looked.sentences(found))


def test_no_sheet_is_written_where_none_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    messy(tmp_path / "scans")
    lines = look("scans", Flags(sheet="none"))
    assert [one.name for one in tmp_path.iterdir()] == ["scans"] and "Private images" not in " ".join(lines)
    *_, said = look("scans", Flags(sheet="none", html="page.html"))
    assert said == f"Stays inside: page {tmp_path}/page.html"
    assert "data:image" not in Path("page.html").read_text() and "Contact sheet" not in Path("page.html").read_text()


def test_places_are_told_in_one_line_whatever_they_are_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a\nb").mkdir()
    monkeypatch.chdir(tmp_path / "a\nb")
    *_, sheet, page = look(parquet(tmp_path / "set.parquet"), Flags(html="page.html"))
    assert sheet.endswith(f"contact sheet {tmp_path}/a\\nb/look-set.png (--sheet says where, or none)")
    assert page == f"Private images, which stay inside: page {tmp_path}/a\\nb/page.html"


def test_classes_whose_names_the_sheet_cannot_write_are_named(tmp_path: Path) -> None:
    source = parquet(tmp_path / "set.parquet", classes=["ok", "違反"])
    said = looked_at(Path(source), tmp_path / "sheet.png")
    told = "The font of the contact sheet lacks letters of the name of class 1 (違反), where the number stands instead."
    assert told in said
    assert "font" not in " ".join(look(source, Flags(sheet="none")))


def test_a_fit_is_shown_as_a_run_would_read_it(tmp_path: Path) -> None:
    source, sheet = tmp_path / "scans", tmp_path / "sheet.png"
    for number, (height, width) in enumerate([(32, 64), (32, 48)]):
        for split in ("train", "test"):
            (source / split / "a").mkdir(parents=True, exist_ok=True)
            pixels = np.full((height, width), 30, np.uint8)
            pixels[:, 16:-16] = 100
            (source / split / "a" / f"{number}.png").write_bytes(png(pixels))

    def greys() -> set[int]:
        return set(np.asarray(Image.open(sheet).convert("L")).ravel().tolist())

    said = looked_at(source, sheet)
    assert "look again with --fit." in said and "is of another size" in said
    # The dark edges go, and with them all that differs in size but the shortest side.
    (source / "train/a/1.png").unlink()
    (source / "test/a/1.png").unlink()
    looked_at(source, sheet)
    assert {30, 100} <= greys()
    said, shown = looked_at(source, sheet, fit="crop"), greys()
    assert "--data.fit crop reads 1 training and 1 test images of 32 x 32 pixels" in said and "ook again" not in said
    assert re.findall(r"raysyn auto (.*?) --epsilon", said) == [f"{source} --data.fit crop"]
    assert 100 in shown and 30 not in shown, "the sheet shows what is kept"
    assert looked_at(source, sheet, crop="centre").replace("--data.crop centre", "--data.fit crop") == said
    assert "--data.size 32 --data.fit pad reads 1 training" in looked_at(source, sheet, fit="pad", size=32)
    for flags, why in (
        ({"fit": "pad"}, r"^fit='pad' needs a size to fit images into: give --size, or leave it out$"),
        ({"fit": "stretch", "crop": "centre", "size": 32}, "^fit is 'stretch', but crop='centre'"),
    ):
        with pytest.raises(ValueError, match=why):
            looked_at(source, sheet, **flags)


def test_ten_pairs_across_splits_are_named_and_a_run_that_fits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / "scans" / split / "it").mkdir(parents=True)
    for at in range(100):
        (tmp_path / f"scans/train/it/a{at:02d}.png").write_bytes(picture := png(noise()))
        if at < 12:
            (tmp_path / f"scans/test/it/b{at:02d}.png").write_bytes(picture)
    (tmp_path / "scans/test/it/b00.png").rename(tmp_path / "scans/test/it/b\n00.png")
    said = looked_at(tmp_path / "scans", tmp_path / "sheet.png", html=str(tmp_path / "page.html"))
    assert "Exact copies across splits, the first 10 of 12:" in said and said.count("test: file test/it/b") == 10
    page = (tmp_path / "page.html").read_text()
    assert "<td>test: file test/it/b\\n00.png</td>" in page and page.count("<td>test: file") == 10
    assert "Which method fits, for ε 3 and 30 minutes: noisy_means, preset cpu-fashion_mnist changed for these" in said
    assert "minutes with its judging (CPU time as it was measured on another machine, " in said
    assert f"raysyn auto {tmp_path}/scans --epsilon 3 --dry-run" in said


OF_FLAGS = ("size", "fit", "colour", "background", "skip_broken")


def looked_at(source: Path, sheet: Path, **flags: Any) -> str:
    return " ".join(" ".join(look(str(source), Flags(sheet=str(sheet), overwrite=True, **flags))).split())


def test_what_is_not_plain_is_shown_as_a_run_would_read_it(tmp_path: Path) -> None:
    """Deep, transparent, grey and colour ones, which a flag makes readable, and a broken one, which none does."""
    source, sheet = tmp_path / "scans", tmp_path / "sheet.png"
    deep = RNG.integers(100, 4000, (10, 10), dtype=np.uint16)
    files = {
        "train/a/0.png": png(deep), "train/a/1.png": png(deep), "train/b/0.png": png(deep + 1), "train/b/1.png": b"x",
        "test/a/0.png": png(deep * 2),
    }  # fmt: skip
    for name, content in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    said = looked_at(source, sheet)
    ends = f"Values of I;16 lie from {deep.min():,} to {2 * deep.max():,}."
    assert "I;16 4" in said and f"{ends} {looked.PRIVATE_ENDS} {looked.WHOLE_RANGE}" in said
    assert "do not copy them there" in said and "0 65535 is the whole range, and tells nothing" in said
    assert "deeper than 8 bits: scale those that matter with --window LOW HIGH 4" in said
    assert "The first: file train/a/0.png, file train/a/1.png, file train/b/0.png, file test/a/0.png (its mode" in said
    said = looked_at(source, sheet, window=(0, 8191))
    assert (
        "Not usable: what is wrong images no image file: PNG, JPEG, TIFF, BMP, GIF, WebP and a few more are read;"
        in said
    )
    assert "Looked at so: 4 deeper than 8 bits, values 0 to 8191 scaled to 0 to 255." in said
    assert "--data.window 0 8191 begins to read 4 training and 1 test images of 10 x 10 pixels, grey, 2 cl" in said
    assert "Exact copies within train: 1." in said
    (source / "train/b/1.png").unlink()
    said = looked_at(source, sheet, window=(0, 8191))
    assert "--data.window 0 8191 reads 3 training and 1 test images of 10 x 10 pixels, grey, 2 classes." in said
    for at, one in enumerate((png(noise()), png(noise(10, 10, 3)), png(noise(10, 10, 4)))):
        for split in ("train", "test"):
            (tmp_path / "mixed" / split / "a").mkdir(parents=True, exist_ok=True)
            (tmp_path / "mixed" / split / "a" / f"{at}.png").write_bytes(one)
    said = looked_at(tmp_path / "mixed", sheet)
    assert "There are both kinds, 2 grey and 2 colour" in said and "2.png (its mode RGBA is not plain, but" in said
    said = looked_at(tmp_path / "mixed", sheet, colour="rgb", background="white")
    assert "--data.colour rgb --data.background white reads 3 training and 3 test images of 10 x 10 pixels, col" in said
    assert "Looked at so: 2 grey ones read as RGB; 2 with transparency over white." in said
    with pytest.raises(ValueError, match=r"^window is 5 5: give two numbers"):
        looked_at(source, sheet, window=(5, 5))


def test_files_of_another_depth_are_named_before_a_window_is_tried(tmp_path: Path) -> None:
    source, sheet = tmp_path / "scans", tmp_path / "sheet.png"
    for split in ("train", "test"):
        (source / split / "a").mkdir(parents=True)
        for at in range(4):
            (source / split / "a" / f"{at}.png").write_bytes(png(noise()))
    deep = "train/a/7.png", "test/a/9.png"
    for name in deep:
        (source / name).write_bytes(png(RNG.integers(100, 4000, (10, 10), dtype=np.uint16)))
    told = (
        "There are images of two depths, 2 deeper than 8 bits (file train/a/7.png, file test/a/9.png) and 8 of 8 bits, "
        "which no --data.window reads together: convert all to one depth first."
    )
    said = looked_at(source, sheet)
    assert told in said and "Of the 8 images that can be used none is an exact copy of another one." in said
    fault = "its mode I;16 is not plain, but of values deeper than 8 bits: convert all to one depth first"
    assert f"{fault} 2 " in said and f"file test/a/9.png ({fault})." in said and "Values of I;16 lie" in said
    assert "--window" not in said and said.count("--data.window") == 1, "no window is advised"
    said = looked_at(source, sheet, window=(0, 65535))
    assert "is of 8 bits, which --window is not for: convert all to one depth first 8 " in said
    assert told in said and "No image is an exact copy" not in said and "Of the 2 images that can be used none" in said
    for name in deep:
        (source / name).write_bytes(png(noise()))
    said = looked_at(source, sheet)
    assert "two depths" not in said and "No image is an exact copy of another one." in said
    Image.fromarray(RNG.random((10, 10), dtype=np.float32)).save(source / "train/a/8.tiff")
    assert "two depths" not in looked_at(source, sheet), "floats from 0 to 1 are read without a window"


@pytest.mark.parametrize("path", ["scans", "my scans/of $HOME", "it's; ls", "a`b`&c"])
@pytest.mark.parametrize("flags", [
    {}, {"window": (0.1, 1 / 3)}, {"window": (-1e-7, 16777217.0)}, {"background": "#fffff0", "colour": "rgb"},
    {"label_column": "is it?", "label_order": ("a b", "$c"), "multi_label": "combination"}, {"person_column": "who's"},
    {"person_pattern": r"^(\w+ \d)"}, {"labels": False}, {"size": 28}, {"size": 28, "fit": "pad"},
    {"crop": "centre"}, {"fit": "crop"},
])  # fmt: skip
def test_what_is_printed_as_a_command_is_read_as_it_was_given(path: str, flags: dict[str, Any]) -> None:
    config = DataConfig(path=path, **flags)
    _, told = look_run.read_as(config, "no", Survey()).split("A run with ")
    command, _ = told.rsplit(" would be refused: ", 1)
    assert assigned(Basics(), shlex.split(command), "it").data == config


@pytest.mark.parametrize(("persons", "said"), [
    (None, "6 images"), ([1, 2, 3, 4, 5, 6], "6 persons"), ([1, 1, 3, 4, 5, 6], "5 persons"),
])  # fmt: skip
def test_too_few_are_told_in_what_the_promise_is_for(persons: list[int] | None, said: str, tmp_path: Path) -> None:
    columns = {} if persons is None else {"person": persons + [7] * 2}
    some = {"image": [png(noise()) for _ in range(8)], "label": [0, 1] * 4, "split": ["train"] * 6 + ["test"] * 2}
    told = looked_at(Path(path := parquet(tmp_path / "set.parquet", **some, **columns)), tmp_path / "sheet.png")
    assert (
        f"{said} are few: the default δ of a promise, 1/(10 n), is there from 100 on, so that one must be named" in told
    )
    # What is told is taken.
    (words,) = re.findall(r"raysyn auto (.*) --dry-run", told)
    delta = float(words.rpartition("--delta ")[2])
    assert "Which method fits" in told and Budget(epsilon=3.0, delta=delta).delta_for(int(said.split()[0])) == delta
    source, *flags = shlex.split(words)
    assert source == path and assigned(OfAuto(out=""), flags, "auto").config.delta == delta


def test_a_copy_of_its_split_may_be_one_of_another() -> None:
    pixels = np.zeros((2, 8, 8, 1), np.uint8)
    splits = {name: Split(list(pixels), np.zeros(2, np.int64), str) for name in ("train", "test")}
    said = looked.sentences(survey(Source("x", "x", None, splits), 3, 2, lambda *_: None))
    assert (
        "The first copies within a split, beside the first of the same pixels in any: train: 1 is train: 0; test: 1 is "
        "train: 0."
    ) in said


def test_a_palette_of_greys_that_comes_first_makes_a_run_refuse_colour(tmp_path: Path) -> None:
    for split in ("train", "test"):
        folder = tmp_path / "scans" / split / "a"
        folder.mkdir(parents=True)
        (folder / "0.png").write_bytes(png(noise(), "P"))
        (folder / "1.png").write_bytes(png(noise(10, 10, 3)))
    said = " ".join(" ".join(look(str(tmp_path / "scans"), Flags(sheet=str(tmp_path / "sheet.png")))).split())
    assert "begins to read 2 training and 2 test images of 10 x 10 pixels, grey, 1 class, and is refused" in said


def test_copies_tell_whose_they_are(tmp_path: Path) -> None:
    """However persons are named: in a table, names of files, shards, a Parquet file, arrays."""
    one, sheet = noise(), tmp_path / "sheet.png"
    home = tmp_path / "set"
    for name in ("train/a/ann_1.png", "train/a/ann_2.png", "train/a/bob_1.png", "test/a/cy_1.png"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(png(one))
    (home / "set.csv").write_text(
        "path,label,split,person\ntrain/a/ann_1.png,a,train,ann\ntrain/a/ann_2.png,a,train,ann\n"
        "train/a/bob_1.png,a,train,bob\ntest/a/cy_1.png,a,test,cy\n"
    )
    for source, flags in ((home, {"person_pattern": r"(\w+)_\d"}), (home / "set.csv", {})):
        said = looked_at(source, sheet, **flags)
        assert "ann_2.png (ann) is train: file" in said and "bob_1.png (bob) is train: file" in said
        assert "cy_1.png (cy) train: file" in said and said.count("ann_1.png (ann)") == 3
    assert "ann_2.png is train: file train/a/ann_1.png;" in looked_at(home, sheet)
    whose = ["ann", "ann", "bob", "cy"]
    some = {"image": [png(one)] * 4, "label": [0] * 4, "split": ["train"] * 3 + ["test"], "person": whose}
    np.savez(
        tmp_path / "set.npz", train_images=np.stack([one] * 3), train_labels=[0] * 3, train_persons=whose[:3],
        test_images=one[None], test_labels=[0], test_persons=whose[3:],
    )  # fmt: skip
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for at, person in enumerate(whose):
            for ending, content in (("png", png(one)), ("json", json.dumps({"label": 0, "person": person}).encode())):
                member = tarfile.TarInfo(f"{at}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    said = looked_at(tmp_path / "set.tar", sheet)
    assert "(bob) is train: " in said and "(cy) is train: " in said and said.count("(ann)") == 4
    for path in (parquet(tmp_path / "set.parquet", **some), tmp_path / "set.npz"):
        said = looked_at(Path(path), sheet)
        assert "(bob) is train: " in said and "(cy) train: " in said and said.count("(ann)") == 4


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["train", "val", "test"]), st.integers(0, 1), st.integers(0, 4)), min_size=1))
def test_copies_are_counted_as_a_plain_count_does(rows: list[tuple[str, int, int]]) -> None:
    """Each row: split, label, and which of five pictures."""
    pictures = [np.full((8, 8, 1), value, np.uint8) for value in range(5)]
    ordered = [[row for row in rows if row[0] == split] for split in ("train", "val", "test")]
    splits = {
        part[0][0]: Split([pictures[which] for *_, which in part], np.array([label for _, label, _ in part]), str)
        for part in ordered if part
    }  # fmt: skip
    found = survey(Source("x", "x", None, splits), 3, 2, lambda *_: None)
    flat = [row for part in ordered for row in part]
    within, across, relabelled = Counter[str](), Counter[tuple[str, str]](), 0
    for at, (split, label, which) in enumerate(flat):
        earlier = [row for row in flat[:at] if row[2] == which]
        if any(row[0] == split for row in earlier):
            within[split] += 1
        elif earlier:
            across[split, earlier[0][0]] += 1
        relabelled += bool(earlier) and earlier[0][1] != label
    assert (found.within, found.across, found.relabelled) == (within, across, relabelled)
    assert found.images == len(rows) and not found.faults
    assert {label: len(shown) for label, shown in found.shown.items()} == {
        label: min(3, n) for label, n in Counter(label for _, label, _ in flat).items()
    }


def parquet(path: Path, **columns: Any) -> str:
    good = {"image": [png(noise()) for _ in range(6)], "label": [0, 1, 0, 1, 0, 1], "split": ["train"] * 6}
    about = json.dumps({"classes": columns.pop("classes")}) if "classes" in columns else "{}"
    pq.write_table(pa.table(good | columns).replace_schema_metadata({"dataset": about}), path)
    return str(path)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({}, "would be refused: data.path='{}' has no test images; both train and test are needed"),
        (
            {"label": [0, 1, 0, 1, 0, 10**9], "split": ["train"] * 4 + ["test"] * 2},
            "would be refused: data.path='{}': test has the label 1000000000, but train has 0 to 1; mend the labels.",
        ),
        (
            {"split": ["train"] * 4 + ["test"] * 2, "classes": ["a", "b\n\udce4"]},
            "would be refused: data.path='{}': the name of class 1, 'b\\n\\xe4', is not UTF-8",
        ),
        (
            {"split": ["train"] * 4 + ["test"] * 2},
            "reads 4 training and 2 test images of 10 x 10 pixels, grey, 2 classe",
        ),
        (
            {"image": [b"x"] * 6, "split": ["train"] * 4 + ["test"] * 2},
            "row 0 cannot be used: no image file: PNG",
        ),
    ],
)
def test_how_it_is_read_is_told_and_what_is_refused_is_looked_at_all_the_same(
    tmp_path: Path, columns: dict[str, Any], words: str
) -> None:
    source = parquet(tmp_path / "set.parquet", **columns)
    lines = look(source, Flags(sheet=str(tmp_path / "sheet.png"), html=str(tmp_path / "page.html")))
    said = " ".join(" ".join(lines).split())
    assert words.format(source) in said, said
    tested = "test" in columns.get("split", ())
    assert f"Images by class: class train{' test' if tested else ''} " in said and (tmp_path / "sheet.png").exists()


def test_what_fits_a_source_without_test_images_is_told_for_a_share_held_out(tmp_path: Path) -> None:
    source = parquet(tmp_path / "set.parquet", **{
        "image": [png(noise()) for _ in range(60)], "label": [0, 1] * 30, "split": ["train"] * 60,
    })  # fmt: skip
    said = " ".join(" ".join(look(source, Flags(sheet=str(tmp_path / "sheet.png")))).split())
    assert "would be refused" in said and " (with --data.test-share 0.1, which is assumed here): " in said
    (words,) = re.findall(r"raysyn auto (.*?) --dry-run", said)
    _, *flags = shlex.split(words)
    assert flags[:2] == ["--data.test-share", "0.1"]


@pytest.mark.parametrize("flag", ["--data.test-share", "--test-share"])
def test_flags_of_a_run_are_taken_as_its_sentences_name_them(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = parquet(tmp_path / "set.parquet", **{
        "image": [png(noise()) for _ in range(60)], "label": [0, 1] * 30, "split": ["train"] * 60,
    })  # fmt: skip
    assert main([source, flag, "0.5", "--data.size=16", "--sheet", str(tmp_path / "sheet.png")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "--data.test-share 0.5 --data.size 16 reads 30 training and 30 test images of 16 x 16 pixels" in said
    assert "would be refused" not in said and "assumed" not in said


def test_words_of_a_user_are_no_flags_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = parquet(tmp_path / "set.parquet")
    assert main([source, "--data.size=16", "--sheet", "--data.size of it.png"]) == 0
    assert (tmp_path / "--data.size of it.png").exists()


def test_a_size_is_advised_that_most_images_bear() -> None:
    for smaller, size, more in ((4, 28, ", and enlarges 4 of 100"), (11, 16, ""), (0, 28, "")):
        found = Survey(sizes=Counter({(28, 28): 99 - smaller, (30, 28): 1, (24, 60): smaller}))
        (told, *_) = looked.advice(found, None)
        assert f"--data.size {size} makes them one{more}. " in told and f"look again with --size {size}." in told


@pytest.mark.parametrize("kind", [str, "M8[s]", float, bool])
def test_labels_of_any_kind_are_counted(tmp_path: Path, kind: Any) -> None:
    labels = np.array([0, 1, 0, 1]).astype(kind)
    np.savez(
        tmp_path / "set.npz", train_images=noise(4, 80).reshape(4, 8, 10), train_labels=labels, class_names=["a", "b"]
    )
    lines = look(str(tmp_path / "set.npz"), Flags(sheet=str(tmp_path / "sheet.png")))
    said = " ".join(" ".join(lines).split())
    assert "would be refused: " in said and f"train labels are {labels.dtype}" in said
    rows = {label: count for label, count in zip(said.split(), said.split()[1:], strict=False) if count == "2"}
    assert len(rows) >= 2, said


@pytest.mark.parametrize(
    ("overwrite", "there", "written"),
    [(False, [], ""), (False, [""], "-2"), (False, ["", "-2"], "-3"), (True, [""], "")],
)
def test_a_second_look_writes_over_no_sheet_and_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool, there: list[str], written: str
) -> None:
    monkeypatch.chdir(tmp_path)
    source = parquet(tmp_path / "set.parquet")
    for ending in there:
        Path(f"look-set{ending}.png").write_bytes(b"")
    *_, said = look(source, Flags(overwrite=overwrite))
    sheet = f"{tmp_path}/look-set{written}.png"
    assert said == f"Private images, which stay inside: contact sheet {sheet} (--sheet says where, or none)"
    empty = [ending for ending in there if not Path(f"look-set{ending}.png").read_bytes()]
    assert empty == ([] if overwrite else there)


def test_a_set_by_name_is_looked_at_too(tmp_path: Path) -> None:
    lines = look("digits", Flags(sheet=str(tmp_path / "sheet.png")))
    assert any(
        "A run with --data.name digits reads 1,498 training and 299 test images" in " ".join(lines) for _ in lines
    )
    assert "No image is an exact copy of another one." in lines


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"sheet": "sheet.jpg"}, "sheet is sheet.jpg: give a name that ends in .png"),
        ({"html": "page.txt"}, "html is page.txt: give a name that ends in .html"),
        ({"html": "nowhere/page.html"}, "where no file can be: give a file in a folder that is there"),
        ({"sheet": "scans/sheet.png"}, "in the source, which is left as it is: give a place outside"),
        ({"sheet": "run/release/sheet.png"}, "run/release, which a run or its release lies in: give a place outside"),
        ({"html": "run/internal/notes/page.html"}, "run, which a run or its release lies in: give a place outside"),
        ({"sheet": "there.png"}, "which is there already: give another name, or --overwrite"),
    ],
)
def test_places_that_cannot_be_written_are_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: dict[str, str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    messy(tmp_path / "scans")
    Path("there.png").write_bytes(b"")
    for name in ("run/release/certificate.json", "run/internal/run.json", "run/internal/notes/other.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("{}")
    monkeypatch.setattr("raysyn.looking.survey", None)
    with pytest.raises(ValueError, match=words):
        look("scans", Flags(**flags))
    assert sorted(tmp_path.glob("*")) == [tmp_path / name for name in ("run", "scans", "there.png")]
    assert not [*tmp_path.glob("run/**/*.png"), *tmp_path.glob("run/**/*.html")]


def test_progress_is_told_and_many_classes_are_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(surveying, "AT_ONCE", 50)
    monkeypatch.setattr(surveying, "TELL_S", -1.0)
    images, labels = noise(100, 8, 8), np.arange(100) % 40
    np.savez(
        tmp_path / "set.npz", train_images=images[:80], train_labels=labels[:80], test_images=images[80:],
        test_labels=labels[80:],
    )  # fmt: skip
    lines = look(str(tmp_path / "set.npz"), Flags(sheet=str(tmp_path / "sheet.png")))
    assert capsys.readouterr().err.splitlines() == [f"look: {n} of 100 images" for n in (50, 80, 100)]
    assert "  and 10 more" in lines


def test_several_labels_and_none_are_looked_at_as_a_run_reads_them(tmp_path: Path) -> None:
    pixels, labels = RNG.integers(0, 256, (9, 10, 10), dtype=np.uint8), np.arange(27).reshape(9, 3) % 2
    path, sheet = tmp_path / "scans.npz", tmp_path / "sheet.png"
    np.savez(path, train_images=pixels, train_labels=labels, test_images=pixels[:2], test_labels=labels[:2])
    said = looked_at(path, sheet, multi_label="most-frequent", label_order=("2", "0"))
    assert "--data.multi-label most-frequent --data.label-order 2 0 reads 9 training and 2 test images" in said
    assert "class train test 2 4 1 0 0 0 none of them 5 1" in said
    said = looked_at(path, sheet, labels=False)
    assert "--data.no-labels reads 9 training and 2 test images of 10 x 10 pixels, grey, 1 class." in said
    assert "class train test image 9 2" in said
    with pytest.raises(ValueError, match=r"has 3 labels per image; give one each, or say how .*multi-label"):
        looked_at(path, sheet)


def scans(home: Path, names: list[str], ending: str = "") -> Path:
    """A folder of a class at the second place of each path, or a table of the same images without splits."""
    for name in names:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(png(noise()))
    if ending:
        rows = [f"{name},{Path(name).parts[1]}" for name in names]
        (home / "set.csv").write_text("\n".join(["path,label", *rows]))
    return home / ending


@pytest.mark.parametrize("ending", ["", "set.csv"])
@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("{side}/{kind}/patient{who:03d}_{at:02d}.png", PREFIX),
        ("{side}/{kind}/{who:03d}-{at}.png", PREFIX),
        ("{side}/{kind}/patient {who} left {at}.png", None),  # no two of one beginning
        ("{side}/{kind}/{who}/{at}.png", FOLDER),
        ("{side}/{kind}/{who}/view_{at}.png", FOLDER),  # of which all begin alike
        ("{side}/{kind}/view{at}_patient{who}.png", None),  # groups are views
        ("{side}/{kind}/{at}{who}.png", None),
        ("{side}/{kind}/{kind}_{who}{at}.png", None),  # groups are the classes
        ("{side}/{kind}/scan-{who}{at}.png", None),
    ],
)
def test_names_of_files_suggest_persons(tmp_path: Path, name: str, pattern: str | None, ending: str) -> None:
    if "left" in name:
        made = [f"train/k{at % 2}/patient {at} left.png" for at in range(12)]
    else:
        made = [
            name.format(side=side, kind=f"k{at % 2}", who=who + 50 * (side == "test"), at=at)
            for side, persons in (("train", 5), ("test", 2)) for who in range(persons) for at in range(3)
        ]  # fmt: skip
    source, sheet = scans(tmp_path / "set", made, ending), tmp_path / "sheet.png"
    said = looked_at(source, sheet)
    assert "Nobody is named: a promise would be for one image." in said
    if pattern is None:
        assert "files suggest" not in said and "name them with --data.person-column or --data.person-pattern." in said
        return
    assert "suggest 7 groups, in which 21 images are not alone." in said
    assert f"name them with --data.person-pattern '{pattern}'. Look first: in " in said and " it finds " in said
    # What is advised is what a run takes.
    said = looked_at(source, sheet, person_pattern=pattern)
    assert "Persons that are named: 7, with 3 images each. Persons with images of several classes: 7." in said
    assert f"--data.person-pattern '{pattern}' " in said and "Images of a person: images persons 3 7" in said


def test_persons_are_counted_and_those_in_two_splits_are_shown(tmp_path: Path) -> None:
    """What a run refuses is looked at all the same."""
    whose = ["a", "b", "a", "c", "b", "d"]
    source = parquet(tmp_path / "set.parquet", split=["train"] * 4 + ["test"] * 2, person=whose)
    said = looked_at(Path(source), tmp_path / "sheet.png", html=str(tmp_path / "page.html"))
    assert "Persons that are named: 4, with 1 to 2 images each. Persons with images in train and in test: 1." in said
    assert "Persons with images of several classes: 1." in said and "Nobody is named" not in said
    assert "Images of a person: images persons 1 2 2 2" in said
    assert f"would be refused: data.path='{source}': 1 person has images in train and in test" in said
    assert "Images of a person" in (tmp_path / "page.html").read_text()
    for flags in ({"person_column": "who"}, {"person_pattern": "p"}):
        with pytest.raises(ValueError, match=r"^person_(column|pattern)='.*and digits is a set by name; leave it out"):
            look("digits", Flags(sheet=str(tmp_path / "digits.png"), **flags))
    with pytest.raises(ValueError, match=r"^person_pattern='\(' is no regular expression"):
        look(source, Flags(sheet=str(tmp_path / "other.png"), person_pattern="("))


def test_one_damaged_file_of_the_deeper_ones_is_no_matter_of_depths() -> None:
    """The others of its depth are read beside those of 8 bits."""
    found = Survey()
    found.depths.update({(True, True): 5, (True, False): 1, (False, True): 5})
    assert look_depths.of_two_depths(found, windowed=False) == []
    del found.depths[True, True]
    (said,) = look_depths.of_two_depths(found, windowed=False)
    assert "1 deeper than 8 bits" in said and "5 of 8 bits" in said
