"""Images deeper than 8 bits are read by two numbers that are said, never by their own values, or refused."""

from __future__ import annotations

import io
import struct
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import both_readers
import numpy as np
import pytest
from both_readers import Read, privately
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from raysyn.data.deep import to_8_bits
from raysyn.data.described import described
from raysyn.data.images import DataConfig, load
from raysyn.data.picture import decode_picture
from raysyn.data.public import load_public
from raysyn.data.reading import Reading
from raysyn.data.streams import PublicConfig

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 4096, (8, 12), dtype=np.uint16)
LOW, HIGH = 500, 3000
EXPECTED = np.clip(np.rint((DEEP.astype(float) - LOW) / (HIGH - LOW) * 255), 0, 255)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))


folder = partial(both_readers.folder, ending=".png")
publicly = both_readers.publicly((8, 12, 1))
both = both_readers.both(publicly)


def tiff(values: np.ndarray, bits: int, kind: int, light: int, order: str = "<", packed: bool = False) -> bytes:
    """A grey TIFF of one strip: `kind` is 1 for whole numbers and 3 for floats, `light` 0 where 0 is white."""
    values = values.astype(values.dtype.newbyteorder(order))
    height, width = values.shape
    raw = zlib.compress(values.tobytes()) if packed else values.tobytes()
    tags = [
        (256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 8 if packed else 1), (262, 3, light),
        (273, 4, 200), (277, 3, 1), (278, 3, height), (279, 4, len(raw)), (339, 3, kind),
    ]  # fmt: skip
    head = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(tags))
    for tag, of, value in tags:
        one = struct.pack(order + ("I" if of == 4 else "HH"), *([value, 0][: 3 - of // 2]))
        head += struct.pack(f"{order}HHI", tag, of, 1) + one
    return (head + b"\0\0\0\0").ljust(200, b"\0") + raw


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


FILES = {
    "16-bit PNG": ("png", png(DEEP)),
    "16-bit TIFF": ("tif", tiff(DEEP, 16, 1, 1)),
    "16-bit TIFF whose 0 is white": ("tif", tiff(DEEP, 16, 1, 0)),
    "16-bit TIFF of the other order": ("tif", tiff(DEEP, 16, 1, 1, ">")),
    "16-bit TIFF of the other order whose 0 is white": ("tif", tiff(DEEP, 16, 1, 0, ">")),
    "32-bit TIFF without a sign": ("tif", tiff(DEEP.astype(np.uint32), 32, 1, 1)),
    "PGM of 12 bits": ("pgm", b"P5 12 8 4095\n" + DEEP.astype(">u2").tobytes()),
    "PGM of 16 bits": ("pgm", b"P5 12 8 65535\n" + DEEP.astype(">u2").tobytes()),
    "32-bit TIFF": ("tif", tiff(DEEP.astype(np.int32), 32, 2, 1)),
    "float TIFF": ("tif", tiff(DEEP.astype(np.float32), 32, 3, 1)),
}


def arrays(path: Path, images: np.ndarray) -> Path:
    """A .npz file, whose labels are in a column as MedMNIST's are."""
    several, labels = np.stack([images] * 3), np.zeros((3, 1), np.uint8)
    np.savez(
        path / "set.npz", train_images=several, train_labels=labels, val_images=several, val_labels=labels,
        test_images=several, test_labels=labels,
    )  # fmt: skip
    return path / "set.npz"


@both
@pytest.mark.parametrize("kind", FILES)
def test_a_window_maps_deep_files_linearly_and_clips(tmp_path: Path, kind: str, read: Read) -> None:
    ending, one = FILES[kind]
    with pytest.raises(ValueError, match=r"0\.\w+ cannot be used: .*: scale .* with --(data|public)\.window LOW HIGH"):
        read(folder(tmp_path, one, ending=f".{ending}"))
    found = read(folder(tmp_path, one, ending=f".{ending}"), window=(LOW, HIGH)).images_NHWC[:][0, ..., 0]
    assert (found == (255 - EXPECTED if "white" in kind else EXPECTED)).all()


def test_the_brighter_half_of_32_bits_is_bright() -> None:
    values = RNG.integers(0, 2**32, (8, 12), dtype=np.uint32)
    file = tiff(values, 32, 1, 1)
    found = decode_picture(file, None, None, Reading(window=(0, 2**32 - 1)))[..., 0]
    assert (found == np.rint(values / (2**32 - 1) * 255)).all()
    assert described(file).span == (values.min(), values.max())


KINDS = [(np.uint16, 1), (np.int16, 2), (np.int32, 2), (np.float32, 3)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("dtype", "kind"), KINDS)
def test_values_of_tiffs_are_those_of_their_files(dtype: Any, kind: int, packed: bool, order: str) -> None:
    values = (DEEP.astype(int) - 2048 * (kind > 1)).astype(dtype)
    file = tiff(values, 8 * values.dtype.itemsize, kind, 1, order, packed)
    # Once more as a second page.
    at, end = 8 + 2 + 12 * 10, len(file) + len(file) % 2
    pages = (file[:at] + struct.pack(f"{order}I", end) + file[at + 4 :]).ljust(end, b"\0") + file[8 : at + 4]
    for one in (file, pages):
        assert described(one).span == (values.min(), values.max())
        found = decode_picture(one, None, None, Reading(window=(LOW, HIGH)))[..., 0]
        assert (found == to_8_bits(values, LOW, HIGH)).all()


@both
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float64])
def test_a_window_maps_deep_arrays_the_same(tmp_path: Path, dtype: Any, read: Read) -> None:
    path = arrays(tmp_path, DEEP.astype(dtype))
    with pytest.raises(
        ValueError, match=r"train image 0 cannot be used: it is of .* values.*: scale .*window LOW HIGH"
    ):
        read(path)
    assert (read(path, window=(LOW, HIGH)).images_NHWC[:][2, ..., 0] == EXPECTED).all()


@both
def test_floats_from_0_to_1_need_no_window(tmp_path: Path, read: Read) -> None:
    floats = RNG.random((8, 12)).astype(np.float32)
    for path in (folder(tmp_path, tiff(floats, 32, 3, 1), ending=".tif"), arrays(tmp_path, floats)):
        assert (read(path).images_NHWC[:][0, ..., 0] == np.rint(floats.astype(float) * 255)).all()
    # By these two numbers and no others, though none of the values is near them.
    dim = np.full((8, 12), 0.25)
    assert (read(arrays(tmp_path, dim)).images_NHWC[:] == 64).all()


@both
@pytest.mark.parametrize("odd", [np.nan, np.inf, -0.01, 1.01])
def test_floats_that_are_no_brightness_are_refused(tmp_path: Path, odd: float, read: Read) -> None:
    floats = RNG.random((8, 12)).astype(np.float32)
    floats[3, 4] = odd
    fault = "outside 0 to 1: scale .*window LOW HIGH" if np.isfinite(odd) else "no numbers .*: mend them"
    with pytest.raises(ValueError, match=rf"train image 0 cannot be used: .* some are {fault}"):
        read(arrays(tmp_path, floats))
    with pytest.raises(ValueError, match=rf"file train/a/0.tif cannot be used: .* some are {fault}"):
        read(folder(tmp_path, tiff(floats, 32, 3, 1), ending=".tif"))


@both
def test_a_window_is_not_for_8_bits(tmp_path: Path, read: Read) -> None:
    shallow = png(np.zeros((8, 12), np.uint8))
    with pytest.raises(ValueError, match=r"1\.png cannot be used: its mode L is of 8 bits, .*window is not for: leave"):
        read(folder(tmp_path, png(DEEP), shallow), window=(LOW, HIGH))
    with pytest.raises(ValueError, match=r"window is 500 3000, which is for more than 8 bits, .*; leave it out"):
        read(arrays(tmp_path, np.zeros((8, 12), np.uint8)), window=(LOW, HIGH))


def test_a_window_is_for_all_splits(tmp_path: Path) -> None:
    labels = np.zeros(3, np.uint8)
    several = np.stack([DEEP] * 3)
    both = {"train_images": several, "test_images": several.astype(np.uint8)}
    np.savez(tmp_path / "set.npz", train_labels=labels, test_labels=labels, **both)
    with pytest.raises(ValueError, match=r"set\.npz': test has 8; leave it out, or bring all splits to one depth$"):
        privately(tmp_path / "set.npz", window=(LOW, HIGH))


def test_a_window_is_not_for_sets_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        ValueError, match=r"^public\.window is 500 3000, .* but public\.name='glyphs' has 8; leave it out"
    ):
        load_public(PublicConfig(window=(LOW, HIGH)), (8, 8, 1))
    assert not capsys.readouterr().err  # nothing was decoded yet


def test_what_was_scaled_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder(tmp_path, png(DEEP), png(DEEP))
    told = load(DataConfig(path=str(path), window=(0, 4095), size=8)).told
    assert told.endswith("; 4 deeper than 8 bits, values 0 to 4095 scaled to 0 to 255; 4 rescaled to 8x8 pixels")
    publicly(path, window=(0, 4095))
    assert "4 deeper than 8 bits, values 0 to 4095 scaled" in capsys.readouterr().err
    # Another window is another set.
    assert (publicly(path, window=(0, 1)).images_NHWC[:] >= 255 * (DEEP[..., None] > 0)).all()


@pytest.mark.parametrize("window", [(5, 5), (9, 1), (0, np.inf), (np.nan, 1)])
def test_what_is_no_window_is_refused(window: tuple[float, float]) -> None:
    for read, group in ((load, "data"), (lambda one: load_public(one, (8, 8, 1)), "public")):
        config: Any = DataConfig(window=window) if group == "data" else PublicConfig(window=window)
        with pytest.raises(ValueError, match=rf"^{group}\.window is .*: give two numbers, the smaller one first"):
            read(config)


@given(st.integers(-(2**31), 2**31 - 2), st.integers(1, 2**20))
def test_the_ends_of_a_window_are_black_and_white(low: int, width: int) -> None:
    values = np.array([low - 1, low, low + width, low + width + 1], np.int64)
    assert to_8_bits(values, low, low + width).tolist() == [0, 0, 255, 255]
    inside = to_8_bits(np.linspace(low, low + width, 50), low, low + width)
    assert (np.diff(inside.astype(int)) >= 0).all()


@both
@pytest.mark.parametrize("kind", ["arrays", "files"])
def test_masks_of_0_and_1_are_not_read_as_black(tmp_path: Path, read: Read, kind: str) -> None:
    mask = (DEEP % 2).astype(np.uint8)

    def written(values: np.ndarray) -> Path:
        return arrays(tmp_path, values) if kind == "arrays" else folder(tmp_path / str(values.max()), png(values))

    with pytest.raises(ValueError, match=r": (train|all) images have no values but 0 and 1 of 8 bits, .* by 255, or "):
        read(written(mask))
    for whole in (mask * 255, mask * 2, mask * 0):
        assert (read(written(whole)).images_NHWC[:][0, ..., 0] == whole).all()
    if kind == "arrays":
        assert (read(written(mask.astype(float))).images_NHWC[:][0, ..., 0] == mask * 255).all()
