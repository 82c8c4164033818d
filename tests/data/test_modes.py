"""Colours, transparency, pages: read as a user says, told, and refused where nothing is said."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

import both_readers
import numpy as np
import pytest
from both_readers import Read, privately
from PIL import Image

from raysyn.data.images import DataConfig, load
from raysyn.data.public import load_public
from raysyn.data.streams import PublicConfig

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (8, 12), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (8, 12, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (8, 12), dtype=np.uint8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))


def file(pixels: np.ndarray | Image.Image, kind: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


folder = partial(both_readers.folder, ending=".png")
publicly = both_readers.publicly((8, 12, 3))
both = both_readers.both(publicly)


def test_grey_and_colour_are_read_as_one_kind_where_one_is_said(tmp_path: Path) -> None:
    path = folder(tmp_path, file(GREY), file(COLOUR), file(GREY > 99), file(COLOUR, mode="P"))
    with pytest.raises(ValueError, match=r"1\.png is colour but .* or read them as one kind with --data.colour rgb"):
        privately(path)
    dataset = load(DataConfig(path=str(path), colour="rgb"))
    assert dataset.told.endswith("; 4 grey ones read as RGB") and dataset.train.shape == (8, 12, 3)
    assert (dataset.train.images_NHWC[0] == GREY[..., None]).all()
    assert (dataset.train.images_NHWC[1] == COLOUR).all()
    assert (dataset.train.images_NHWC[2] == 255 * (GREY > 99)[..., None]).all()
    dataset = load(DataConfig(path=str(path), colour="grey"))
    assert dataset.told.endswith("; 4 of colours read as grey") and dataset.train.shape == (8, 12, 1)
    luma = COLOUR @ np.array([299, 587, 114]) / 1000
    assert (np.abs(dataset.train.images_NHWC[1, ..., 0] - luma) <= 1).all()


@pytest.mark.parametrize(("colour", "channels"), [("grey", 1), ("rgb", 3)])
def test_arrays_and_sets_by_name_are_read_as_one_kind_too(tmp_path: Path, colour: Any, channels: int) -> None:
    dataset = load(DataConfig(colour=colour, limit=20))
    assert dataset.train.shape == (8, 8, channels)
    assert dataset.told == ("" if channels == 1 else "published; 40 grey ones read as RGB")
    pixels, labels = np.stack([COLOUR] * 2), np.zeros(2, np.uint8)
    np.savez(tmp_path / "a.npz", train_images=pixels, train_labels=labels, test_images=pixels, test_labels=labels)
    assert privately(tmp_path / "a.npz", colour=colour, size=8).shape == (8, 8, channels)


def test_colours_for_print_are_read_where_a_kind_is_said(tmp_path: Path) -> None:
    flat = np.full((8, 12, 3), (200, 100, 40), np.uint8)
    path = folder(tmp_path, file(flat, "JPEG", "CMYK", quality=100))
    with pytest.raises(ValueError, match=r"mode CMYK is not plain, .*: save it as RGB, or read it so with --data.colo"):
        privately(path)
    found = privately(path, colour="rgb").images_NHWC[:].astype(int)
    assert (np.abs(found - flat) < 6).all()
    with pytest.raises(ValueError, match=r"mode CMYK is not plain, but of colours for print: save it as RGB$"):
        publicly(path)


PALETTE = Image.fromarray(COLOUR).convert("P")
CLEAR = {
    "RGBA": file(np.dstack([COLOUR, ALPHA])),
    "LA": file(np.dstack([GREY, ALPHA])),
    "palette": file(PALETTE, transparency=PALETTE.tobytes()[0]),
    "one colour": file(COLOUR, transparency=tuple(int(value) for value in COLOUR[0, 0])),
    "one grey": file(GREY, transparency=int(GREY[0, 0])),
    "WebP": file(np.dstack([COLOUR, ALPHA]), "WEBP", lossless=True, exact=True),
}
SHOWN = {"white": (255, 255, 255), "black": (0, 0, 0), "#0080fF": (0, 128, 255)}


@both
@pytest.mark.parametrize("background", SHOWN)
@pytest.mark.parametrize("kind", CLEAR)
def test_what_shows_through_is_said_or_it_is_refused(tmp_path: Path, kind: str, background: str, read: Read) -> None:
    path = folder(tmp_path, CLEAR[kind])
    with pytest.raises(
        ValueError, match=r"0\.png cannot be used: .*transparency: save it without, or say .*ground whi"
    ):
        read(path)
    whole = np.asarray(Image.open(io.BytesIO(CLEAR[kind])).convert("RGBA")).astype(float)
    share = whole[..., 3:] / 255
    expected = share * whole[..., :3] + (1 - share) * np.array(SHOWN[background])
    found = read(path, background=background).images_NHWC[:]
    assert (np.abs(found[0] - expected) <= 1).all()
    greys = kind in ("LA", "one grey") and background != "#0080fF"
    assert read is publicly or found.shape[3] == (1 if greys else 3)


def test_a_background_is_told_and_must_be_a_colour(tmp_path: Path) -> None:
    path = folder(tmp_path, CLEAR["RGBA"], file(COLOUR))
    assert load(DataConfig(path=str(path), background="white")).told.endswith("; 2 with transparency over white")
    for wrong in ("", "red", "#12345", "#1234567", "112233", "#12345g"):
        with pytest.raises(ValueError, match=r"^data\.background is '.*': give white, black or #rrggbb"):
            load(DataConfig(path=str(path), background=wrong))
    with pytest.raises(
        ValueError, match=r"data\.background is white, which is for image files, but .* holds arrays; lea"
    ):
        load(DataConfig(background="white"))
    with pytest.raises(ValueError, match=r"public\.background is white, which is for image files"):
        load_public(PublicConfig(name=("digits",), background="white"), (8, 8, 1))


@both
@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PNG", "WEBP"])
def test_of_several_pages_or_frames_the_first_is_read_and_told(
    tmp_path: Path, kind: str, read: Read, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"lossless": True} if kind == "WEBP" else {}
    first, later = (
        np.full((8, 12), 40, np.uint8),
        [Image.fromarray(np.full((8, 12), 200 + n, np.uint8)) for n in (1, 2)],
    )
    path = folder(tmp_path, file(first, kind, save_all=True, append_images=later, **more))
    assert (read(path).images_NHWC[:] == 40).all()
    told = load(DataConfig(path=str(path))).told + capsys.readouterr().err
    assert "of 2 with several pages or frames the first" in told
