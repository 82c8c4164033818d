"""Which files Pillow is asked to open, and what is said of those that it is not, or that it would cut."""

from __future__ import annotations

import io
import struct
import subprocess
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from raysyn.data.picture import decode_picture
from raysyn.data.reading import Reading

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)


def file(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(COLOUR) if image is None else image).save(buffer, kind, **options)
    return buffer.getvalue()


def png(colours: int, rows: np.ndarray) -> bytes:
    """16 bits deep; `rows` (H, W, C)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = rows.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, 16, colours, 0, 0, 0)
    data = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("kind", ["BMP", "PNG", "PPM", "TIFF", "WEBP", "JPEG2000", "ICO", "PCX", "SGI", "TGA", "QOI"])
def test_what_pillow_decodes_by_itself_is_read(kind: str) -> None:
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {kind}")
    lossless = {"lossless": True} if kind == "WEBP" else {}
    assert (decode_picture(file(kind, **lossless), None) == COLOUR).all()


def test_no_program_is_started_for_what_a_file_says_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    started = list[Any]()
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    monkeypatch.setattr(subprocess, "check_call", lambda *given, **_: started.append(given))
    with pytest.raises(ValueError, match=r"^it is PostScript, which is not read: save it as PNG$"):
        decode_picture(file("EPS"), None)
    assert not started


def test_a_tiff_that_is_not_read_is_not_said_to_be_damaged() -> None:
    grey = file("TIFF", Image.fromarray(RNG.integers(0, 4096, (16, 16), dtype=np.uint16)))
    odd = grey.replace(struct.pack("<HHIH", 258, 3, 1, 16), struct.pack("<HHIH", 258, 3, 1, 17))
    assert odd != grey
    with pytest.raises(ValueError, match=r"^it is a TIFF of a kind that is not read: save it as plain grey or RGB$"):
        decode_picture(odd, None)


def test_16_bits_are_cut_of_colours_alone_and_it_is_told() -> None:
    values = RNG.integers(0, 2**16, (8, 12, 3), dtype=np.uint16)
    reading = Reading()
    assert (decode_picture(png(2, values), None, reading=reading) == values >> 8).all()
    assert reading.told() == "of 1 in 16-bit colour the upper 8 bits"
    grey = np.dstack([values[..., 0], np.full((8, 12), 2**16 - 1)])
    for reading in (Reading(), Reading(window=(0, 4095)), Reading(background="white")):
        with pytest.raises(ValueError, match=r"^it is grey of 16 bits with an alpha channel: save it without"):
            decode_picture(png(4, grey), None, reading=reading)


def test_a_picture_of_too_many_pixels_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"^it has more pixels than are read: save a smaller picture$"):
        decode_picture(file("PNG"), None)


def test_a_clear_colour_that_no_pixel_has_is_none() -> None:
    palette = Image.fromarray(COLOUR).convert("P", palette=Image.Palette.ADAPTIVE, colors=9)
    for image, clear in ((palette, 200), (Image.fromarray(COLOUR[..., 0] // 2), 255)):
        reading = Reading(background="white")
        found = decode_picture(file("PNG", image, transparency=clear), None, reading=reading)
        assert (found == np.asarray(image.convert("RGB"))[..., : found.shape[2]]).all() and not reading.told()
        assert (decode_picture(file("PNG", image, transparency=clear), None) == found).all()
