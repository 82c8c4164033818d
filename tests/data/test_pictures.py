"""A picture is read as viewers show it, or refused, and private and public ones are read alike."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysyn.data.images import DataConfig, Images, load, public_facts
from raysyn.data.picture import decode_picture
from raysyn.data.public import load_public
from raysyn.data.streams import PublicConfig

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (8, 12), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (8, 12, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))


def file(pixels: np.ndarray, kind: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


LOSSLESS: dict[str, dict[str, Any]] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}


def lying(pixels: np.ndarray, orientation: int, kind: str) -> bytes:
    """A file whose EXIF says how it is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return file(pixels, kind, exif=exif, **LOSSLESS.get(kind, {}))


def in_folder(path: Path, files: list[bytes], ending: str) -> str:
    for split in ("train", "test"):
        (path / "set" / split / "a").mkdir(parents=True)
        for number, one in enumerate(files):
            (path / "set" / split / "a" / f"{number}.{ending}").write_bytes(one)
    return str(path / "set")


def in_parquet(path: Path, files: list[bytes], ending: str) -> str:
    n = len(files)
    table = pa.table({"image": files * 2, "label": [0] * 2 * n, "split": ["train"] * n + ["test"] * n})
    pq.write_table(table, path / "set.parquet")
    return str(path / "set.parquet")


def privately(path: str, shape: tuple[int, int, int]) -> Images:
    return load(DataConfig(path=path)).train


def publicly(path: str, shape: tuple[int, int, int]) -> Images:
    return load_public(PublicConfig(path=(path,)), shape).train


both_sources = pytest.mark.parametrize("source", [in_folder, in_parquet])
both_readers = pytest.mark.parametrize("read", [privately, publicly])
Make = Callable[[Path, list[bytes], str], str]
Read = Callable[[str, tuple[int, int, int]], Images]

REFUSED = {
    "16-bit grey": (file(GREY.astype(np.uint16) * 257), "png", r"mode I;16 .* deeper than 8 bits: scale"),
    "32-bit grey": (file(GREY.astype(np.int32) * 70000, "TIFF"), "tif", r"mode I .* deeper than 8 bits: scale"),
    "floats": (file(GREY.astype(np.float32), "TIFF"), "tif", r"mode F .* some are outside 0 to 1: scale"),
    "print": (file(COLOUR, "JPEG", "CMYK"), "jpg", r"mode CMYK .* print: save it as RGB"),
    "transparent": (file(np.dstack([COLOUR, GREY])), "png", r"mode RGBA .* transparency: save it without"),
    "transparent grey": (file(np.dstack([GREY, GREY]), mode=None), "png", r"mode LA .* transparency"),
    "transparent palette": (file(GREY, mode="P", transparency=int(GREY[0, 0])), "png", r"mode P .* transparency"),
    "transparent colour": (file(COLOUR, transparency=tuple(COLOUR[0, 0].tolist())), "png", r"mode RGB .* transparency"),
    "cut": (file(np.tile(COLOUR, (8, 8, 1)), "JPEG")[:-999], "jpg", "truncated"),
    "empty": (b"", "png", "it is empty"),
    "noise": (b"x" * 200, "png", "no image file"),
    "DICOM": (b"\0" * 128 + b"DICM" + b"\0" * 64, "dcm", "DICOM file "),
}


@both_readers
@both_sources
@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_lose_something_is_refused_by_its_place(tmp_path: Path, kind: str, source: Make, read: Read) -> None:
    one, ending, words = REFUSED[kind]
    path = source(tmp_path, [one], ending)
    place = rf"file train/a/0\.{ending}" if source is in_folder else "row 0"
    with pytest.raises(ValueError, match=rf"^(data|public)\.path='.*': {place} cannot be used: .*{words}") as caught:
        read(path, (8, 12, 1))
    assert "\n" not in str(caught.value)


@both_readers
@both_sources
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_every_orientation_is_read_as_viewers_show_it(tmp_path: Path, kind: str, source: Make, read: Read) -> None:
    """Of the eight, those that swap the sides are stored lying, so that all show the same picture."""
    turned = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions, as a camera would lie
    shown = Image.fromarray(np.kron(COLOUR[:2, :3], np.ones((8, 8, 1), np.uint8)))
    stored = [shown, *(shown.transpose(turned[orientation]) for orientation in range(2, 9))]
    files = [lying(np.asarray(one), orientation, kind) for orientation, one in enumerate(stored, 1)]
    images = read(source(tmp_path, files, kind.lower()), (16, 24, 3)).images_NHWC[:]
    assert images.shape == (8, 16, 24, 3)
    assert (np.abs(images.astype(int) - np.asarray(shown)) <= (4 if kind == "JPEG" else 0)).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + b"\x07" * 40])
def test_damaged_exif_turns_nothing(exif: bytes) -> None:
    assert decode_picture(file(COLOUR, "JPEG", exif=exif), None).shape == (8, 12, 3)
    assert decode_picture(lying(COLOUR, 9, "PNG"), None).tolist() == COLOUR.tolist()


@both_readers
def test_a_full_alpha_channel_hides_nothing(tmp_path: Path, read: Read) -> None:
    full = np.full_like(GREY, 255)
    path = in_folder(tmp_path, [file(np.dstack([COLOUR, full])), file(COLOUR)], "png")
    assert (read(path, (8, 12, 3)).images_NHWC[:] == COLOUR).all()
    path = in_parquet(tmp_path, [file(np.dstack([GREY, full])), file(GREY)], "png")
    assert (read(path, (8, 12, 1)).images_NHWC[:][..., 0] == GREY).all()


@both_readers
def test_a_phone_s_file_of_two_pictures_is_the_one_that_is_shown(tmp_path: Path, read: Read) -> None:
    flat = np.full((8, 12, 3), 90, np.uint8)
    two = file(flat, "MPO", save_all=True, append_images=[Image.fromarray(flat[::2, ::2] * 0)])
    assert (np.abs(read(in_folder(tmp_path, [two], "jpg"), (8, 12, 3)).images_NHWC[:].astype(int) - 90) < 4).all()


PALETTE = Image.Palette.ADAPTIVE
GREYS = [file(GREY, "GIF"), file(GREY, mode="P")]


@both_sources
@pytest.mark.parametrize(
    ("files", "channels"),
    [
        (GREYS, 1),
        ([*GREYS, file(GREY)], 1),
        ([file(GREY), *GREYS], 1),
        ([file(COLOUR, mode="P"), *GREYS], 3),
        ([file(COLOUR), *GREYS], 3),
    ],
)
def test_a_palette_of_greys_is_grey_unless_the_first_is_colour(
    tmp_path: Path, source: Make, files: list[bytes], channels: int
) -> None:
    loaded = load(DataConfig(path=source(tmp_path, files, "png")))
    assert loaded.train.shape == loaded.test.shape == (8, 12, channels)
    for number, one in enumerate(files):
        shown = np.asarray(Image.open(io.BytesIO(one)).convert("L" if channels == 1 else "RGB"))
        assert (loaded.train.images_NHWC[number].squeeze() == shown).all()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([file(GREY), file(COLOUR)], r"file train/a/1\.png is colour but the first \(file train/a/0\.png\) is grey"),
        ([file(COLOUR), file(GREY)], r"file train/a/1\.png is grey but the first \(file train/a/0\.png\) is colour"),
        ([file(GREY), file(COLOUR, mode="P")], r"1\.png is colour but the first"),
        ([*GREYS, file(COLOUR, mode="P")], r"2\.png is colour but the first \(file train/a/0\.png\) is grey"),
    ],
)
def test_grey_among_colour_is_refused_with_both_places(tmp_path: Path, files: list[bytes], words: str) -> None:
    config = DataConfig(path=in_folder(tmp_path, files, "png"))
    with pytest.raises(ValueError, match=words + r".*; convert the odd ones, .* --data\.colour rgb"):
        load(config)
    # What a run knows at its beginning is of the first one.
    assert public_facts(config)[1] == (8, 12, 3 if files[0] == file(COLOUR) else 1)
